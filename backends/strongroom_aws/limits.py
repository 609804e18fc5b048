"""Names, versions, values and tags of AWS, and their limits, which are checked before a call. Pure.

Tags are the labels of both services.

AWS accepts names that are not valid paths. They are listed too; a read of one is refused, which reports it.

Sources: https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_limits.html,
https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_PutParameter.html,
https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_LabelParameterVersion.html and
https://docs.aws.amazon.com/general/latest/gr/ssm.html.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from strongroom.errors import InvalidDataError, InvalidPathError, SecretNotFoundError, SecretTooLargeError
from strongroom.secret import Version
from strongroom.store import VersionInfo
from strongroom.store.one_value import size_of
from strongroom_aws.errors import malformed

MAX_SECRET = 65_536
"""The largest secret of Secrets Manager, in bytes."""

MAX_STANDARD = 4_096
"""The largest standard parameter, in bytes."""

MAX_ADVANCED = 8_192
"""The largest advanced parameter, in bytes."""

_MAX_SECRET_NAME = 512
_MAX_PARAMETER_NAME = 1_011
_MAX_LEVELS = 15
_SECRET_NAME = re.compile(r"[A-Za-z0-9/_+=.@-]+")
_PARAMETER_NAME = re.compile(r"[A-Za-z0-9/_.-]+")
_PARAMETER_VERSION = re.compile(r"[1-9][0-9]{0,17}|(?!(?i:aws|ssm)|[0-9])[A-Za-z0-9_.-]{1,100}")

_MAX_TAGS = 50
_MAX_TAG_NAME = 128
_MAX_TAG_TEXT = 256
_TAG = re.compile(r"[\w\s.:/=+@-]*")
_RESERVED = "aws:"
"""The prefix of the tags that AWS reserves."""


def below(prefix: str, path: str) -> str:
    """Join the prefix and the path, either of which may be empty."""
    return f"{prefix}/{path}" if prefix and path else prefix or path


def find_version(versions: Sequence[VersionInfo], version: Version, path: str) -> VersionInfo:
    """Return the entry of a version.

    Raises:
        SecretNotFoundError: there is no such version.
    """
    for info in versions:
        if info.version == version:
            return info
    raise SecretNotFoundError(path, f"version {version} does not exist, or not any more")


def check_secret_name(name: str, path: str) -> str:
    """Return the name if Secrets Manager accepts it.

    Raises:
        InvalidPathError: names the rule that it breaks.
    """
    if not _SECRET_NAME.fullmatch(name):
        raise InvalidPathError(path, "Secrets Manager accepts only letters, digits and /_+=.@- in a name")
    if len(name) > _MAX_SECRET_NAME:
        raise InvalidPathError(path, f"{len(name):,} characters with the prefix, the most is {_MAX_SECRET_NAME}")
    return name


def check_parameter_name(name: str, path: str) -> str:
    """Return the name, which begins with a slash, if Parameter Store accepts it.

    Raises:
        InvalidPathError: names the rule that it breaks.
    """
    if not _PARAMETER_NAME.fullmatch(name):
        raise InvalidPathError(path, "Parameter Store accepts only letters, digits and _.-/ in a name")
    if len(name) > _MAX_PARAMETER_NAME:
        raise InvalidPathError(path, f"{len(name):,} characters with the prefix, the most is {_MAX_PARAMETER_NAME:,}")
    if name.count("/") > _MAX_LEVELS:
        raise InvalidPathError(path, f"{name.count('/')} levels with the prefix, the most is {_MAX_LEVELS}")
    if name[1:].lower().startswith(("aws", "ssm")):
        raise InvalidPathError(path, "Parameter Store reserves names that begin with aws or ssm")
    return name


def check_parameter_version(version: Version, path: str) -> Version:
    """Return the version if it is a valid number or label.

    Raises:
        SecretNotFoundError: it is neither, so no parameter has it.
    """
    named = str(version)
    if not _PARAMETER_VERSION.fullmatch(named) or (isinstance(version, int) and version < 1):
        raise SecretNotFoundError(path, "no version has that name, which is neither a number nor a label")
    return version


def check_size(content: str | bytes, most: int, path: str, what: str) -> None:
    """Check the size of content.

    Raises:
        SecretTooLargeError: it has more than `most` bytes.
    """
    if (size := size_of(content)) > most:
        raise SecretTooLargeError(path, f"{what} takes {size:,} bytes, the most is {most:,}")


def _check_tags(tags: Mapping[str, str], path: str) -> Mapping[str, str]:
    """Return the tags if AWS accepts them.

    Raises:
        InvalidDataError: names the tag and the rule, never the text of the tag.
    """
    if len(tags) > _MAX_TAGS:
        raise InvalidDataError(path, f"{len(tags)} labels, AWS takes {_MAX_TAGS} tags")
    for name, text in tags.items():
        if not name or len(name) > _MAX_TAG_NAME or not _TAG.fullmatch(name) or name.lower().startswith(_RESERVED):
            rule = f"AWS takes 1 to {_MAX_TAG_NAME} letters, digits, spaces and _.:/=+-@, and keeps aws: to itself"
            raise InvalidDataError(path, f"label {name!r} cannot be the name of a tag: {rule}")
        if len(text) > _MAX_TAG_TEXT or not _TAG.fullmatch(text):
            rule = f"AWS takes up to {_MAX_TAG_TEXT} letters, digits, spaces and _.:/=+-@"
            raise InvalidDataError(path, f"what label {name!r} says cannot be the text of a tag: {rule}")
    return tags


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
            if name.startswith(self._prefix) and len(name) > start and not name.lower().startswith(_RESERVED)
        }

    def of(self, labels: Mapping[str, str], path: str) -> list[dict[str, str]]:
        """Return the tags for labels.

        Raises:
            InvalidDataError: AWS does not accept a tag.
        """
        named = _check_tags({self._prefix + name: text for name, text in labels.items()}, path)
        return [{"Key": name, "Value": text} for name, text in named.items()]

    def change(
        self, before: Mapping[str, str], after: Mapping[str, str], path: str
    ) -> tuple[list[dict[str, str]], list[str]]:
        """Return the tags to set and the names of tags to remove between two states of labels. All other tags stay."""
        put = {name: text for name, text in after.items() if before.get(name) != text}
        self.of(after, path)
        return self.of(put, path), [self._prefix + name for name in before if name not in after]
