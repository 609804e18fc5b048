"""A secret's tags as its labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from strongroom_aws.errors import malformed
from strongroom_aws.limits import RESERVED, check_tags


class Change(NamedTuple):
    """What makes a resource's tags others: tags to set, and names to remove."""

    put: list[dict[str, str]]
    remove: list[str]


class Tags:
    """Which tags are labels: all but AWS's own, or those whose name begins with a prefix.

    Args:
        prefix: how the name of a tag begins that is a label; the label's name is the rest.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix

    def labels(self, tags: Iterable[Any], path: str) -> dict[str, str]:
        """The labels among the tags that AWS names."""
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
        """The tags that stand for labels.

        Raises:
            InvalidDataError: AWS takes no such tag.
        """
        named = check_tags({self._prefix + name: text for name, text in labels.items()}, path)
        return [{"Key": name, "Value": text} for name, text in named.items()]

    def change(self, before: Mapping[str, str], after: Mapping[str, str], path: str) -> Change:
        """What makes the labels `before` the labels `after`. Every other tag stays as it is."""
        put = {name: text for name, text in after.items() if before.get(name) != text}
        self.of(after, path)
        return Change(self.of(put, path), [self._prefix + name for name in before if name not in after])
