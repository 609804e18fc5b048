"""Conversion between the tags of a secret and its labels, for both services."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from strongroom_aws.errors import malformed
from strongroom_aws.limits import RESERVED, check_tags


class Tags:
    """Selects the tags that are labels: all except reserved ones, or those with a prefix.

    Args:
        prefix: the prefix of tags that are labels, which their names lack.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix

    def labels(self, tags: Iterable[Any], path: str) -> dict[str, str]:
        """Return the labels among the tags of a reply."""
        try:
            named = {str(tag["Key"]): str(tag.get("Value", "")) for tag in tags}
        except (KeyError, TypeError, AttributeError):
            named = None
        if named is None:
            raise malformed(path)
        start = len(self._prefix)
        return {
            name[start:]: text
            for name, text in named.items()
            if name.startswith(self._prefix) and len(name) > start and not name.lower().startswith(RESERVED)
        }

    def of(self, labels: Mapping[str, str], path: str) -> list[dict[str, str]]:
        """Return the tags for labels.

        Raises:
            InvalidDataError: AWS does not accept a tag.
        """
        named = check_tags({self._prefix + name: text for name, text in labels.items()}, path)
        return [{"Key": name, "Value": text} for name, text in named.items()]

    def change(
        self, before: Mapping[str, str], after: Mapping[str, str], path: str
    ) -> tuple[list[dict[str, str]], list[str]]:
        """Return the tags to set and the names of tags to remove between two states of labels. All other tags stay."""
        put = {name: text for name, text in after.items() if before.get(name) != text}
        self.of(after, path)
        return self.of(put, path), [self._prefix + name for name in before if name not in after]
