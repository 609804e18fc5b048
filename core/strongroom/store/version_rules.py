"""Rules for the versions and labels of a call. Pure functions, apart from the guard for migrations."""

from __future__ import annotations

from collections.abc import Mapping

from strongroom.errors import InvalidDataError, InvalidPathError
from strongroom.paths import check_key
from strongroom.secret import Value, Version, check_data


def check_version(path: str, version: Version) -> Version:
    """Return the version if it is a number or a valid text.

    Raises:
        InvalidPathError: it is neither. The message does not repeat a text.
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
    """Return a copy of the labels if each maps a name to a text.

    Raises:
        InvalidDataError: a label is invalid. The message names the label and never shows its text.
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
