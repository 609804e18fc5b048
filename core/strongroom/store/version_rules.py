"""The rules for what names a version and what labels a secret, in a call and in a store's answer. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from strongroom.errors import InvalidDataError, InvalidPathError
from strongroom.paths import check_key
from strongroom.secret import Secret, Value, Version, check_data
from strongroom.store import VersionInfo


def check_version(path: str, version: Version) -> Version:
    """The version itself, when it can be a store's name for one: a number, or a text that could be a key.

    Raises:
        InvalidPathError: it can never be one. The message does not repeat a text.
    """
    if isinstance(version, bool) or not isinstance(version, int | str):
        raise InvalidPathError(path, f"a version is a number or a text, not {type(version).__name__}")
    if isinstance(version, str):
        try:
            check_key(version, path)
        except InvalidPathError:
            pass
        else:
            return version
        raise InvalidPathError(path, "a version's name is not empty, not too long, and has no control character")
    return version


def check_labels(path: str, labels: Mapping[str, str]) -> dict[str, str]:
    """A copy of the labels, when every one is a name with a text.

    Raises:
        InvalidDataError: names the label, and never what it says.
    """
    if not isinstance(labels, Mapping):
        raise InvalidDataError(path, f"labels are a mapping of names to texts, not {type(labels).__name__}")
    given: Mapping[str, Value] = labels
    if given:
        check_data(path, given)
    odd = next((name for name, text in given.items() if not isinstance(text, str)), None)
    if odd is not None:
        raise InvalidDataError(path, f"label {odd!r} is not a text")
    return dict(labels)


# --- what a store answered: its author's type checker may not have been asked -----------------------------------------


def as_versions(answer: object) -> list[VersionInfo]:
    """What a store answered when it was asked for its versions."""
    if isinstance(answer, Sequence) and answer and all(isinstance(info, VersionInfo) for info in answer):
        return list(answer)
    raise TypeError


def as_count(answer: object) -> int:
    """What a store answered when it was asked how many versions it keeps."""
    if isinstance(answer, int) and not isinstance(answer, bool) and answer > 0:
        return answer
    raise TypeError


def as_labels(answer: object) -> dict[str, str]:
    """What a store answered when it was asked for labels."""
    if isinstance(answer, Mapping) and all(isinstance(part, str) for label in answer.items() for part in label):
        return dict(answer)
    raise TypeError


def of_version(secret: Secret, version: Version) -> Secret:
    """The secret that a store answered when it was asked for this version. Another version is another secret."""
    if secret.version == version:
        return secret
    raise LookupError
