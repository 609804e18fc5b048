"""Checks of a plugin's answers, which no type checker may have seen. Pure functions.

Each returns the answer, or raises an `AnswerError` that names the method, and types instead of values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from types import CoroutineType
from typing import Any

from strongroom._boundary.translation import PLUGIN_BUG, AnswerError
from strongroom.errors import Check, CheckState, InvalidPathError, StoreError, StrongroomError
from strongroom.paths import check_path
from strongroom.secret import Secret, Value, Version, check_version, is_value
from strongroom.store.protocols import Health, VersionInfo


def unexpected(method: str, answer: object, expected: str, part: str = "") -> AnswerError:
    """Return the error for an answer, or a part of it, of another type than expected."""
    kind = type(answer).__name__
    if isinstance(answer, CoroutineType):
        answer.close()  # otherwise Python warns that it was never awaited
    return AnswerError(f"{method}() returned {f'{part} of type {kind}' if part else kind}, expected {expected}")


def check_fields(method: str, answer: object, **kinds: Any) -> None:
    """Raise an error if a field of an answer, or of a part of it, is not of its declared type."""
    title = type(answer).__name__
    for name, kind in kinds.items():
        if not isinstance(field := getattr(answer, name), kind):
            raise unexpected(method, field, f"the type that {title} declares", f"a {title} with {name}")


def as_secret(answer: Any, method: str, path: str, *_: object) -> Secret:
    """Return the secret at `path`."""
    if not isinstance(answer, Secret):
        raise unexpected(method, answer, "Secret")
    if answer.path != path:  # a mixed-up connection, or an alias
        raise AnswerError(f"{method}() returned the secret of another path")
    if not is_value(answer.data):
        raise _not_a_value(method, answer.data)
    version: Any = answer.version
    ttl: Any = answer.ttl
    if not (version is None or type(version) is int or _is_version(version)):
        raise unexpected(method, version, "int, str or None", "a version")
    created: Any = answer.created
    if created is not None and not (type(created) is datetime and created.tzinfo is UTC):
        as_time(method, created, "a creation time")
    if answer.metadata or type(answer.metadata) is not dict:
        as_labels(answer.metadata, method)
    if ttl is not None:
        _check_ttl(method, ttl)
    if answer.ends is not None:
        as_time(method, answer.ends, "an end")
    return answer


def as_value(answer: Any, method: str, *_: object) -> Value:
    """Return the value of a key."""
    if is_value(answer):
        value: Value = answer
        return value
    raise _not_a_value(method, answer)


def as_version(answer: object, method: str, *_: object) -> Version | None:
    """Return the answer to a write."""
    if answer is None or (isinstance(answer, int | str) and _is_version(answer)):
        return answer
    raise unexpected(method, answer, "int, str or None; the secret may have been written")


def as_nothing(answer: object, method: str) -> None:
    """Check the answer to a call that returns nothing."""
    if answer is not None:
        raise unexpected(method, answer, "None")


def as_deletion(answer: object, method: str, *_: object) -> None:
    """Check the answer to a delete of `delete_many`."""
    if answer is not None:
        raise unexpected(method, answer, "None; the secret may have been deleted")


def as_data(answer: Any, method: str) -> Mapping[str, Value]:
    """Return a mapping of keys to values."""
    if not isinstance(answer, Mapping):
        raise unexpected(method, answer, "a mapping of keys to values")
    if not is_value(answer):
        raise _not_a_value(method, answer)
    return answer


def as_names(answer: object, method: str, *_: object) -> tuple[str, ...]:
    """Return a sequence of names."""
    return tuple(as_text(name, method) for name in as_iterator(answer, method))


def as_versions(answer: object, method: str, *_: object) -> list[VersionInfo]:
    """Return the answer to `versions`."""
    if not isinstance(answer, Sequence):
        raise unexpected(method, answer, "a list of VersionInfo")
    if not answer:
        raise AnswerError(f"{method}() returned no version, expected SecretNotFoundError")
    return [as_version_info(info, method) for info in answer]


def as_version_info(info: object, method: str, *_: object) -> VersionInfo:
    """Return the description of one version."""
    if not isinstance(info, VersionInfo):
        raise unexpected(method, info, "VersionInfo", "an item")
    if not _is_version(info.version):
        raise unexpected(method, info.version, "int or str", "a version")
    for time in filter(None, (info.created, info.deleted_at)):
        as_time(method, time, "a time")
    check_fields(method, info, deleted=bool, destroyed=bool)
    return info


def as_count(answer: object, method: str, *_: object) -> int:
    """Return a number that is at least 1."""
    if isinstance(answer, bool) or not isinstance(answer, int):
        raise unexpected(method, answer, "int")
    if answer < 1:
        raise AnswerError(f"{method}() returned less than 1")
    return answer


def as_labels(answer: object, method: str, *_: object) -> dict[str, str]:
    """Return the labels of a secret."""
    if not isinstance(answer, Mapping):
        raise unexpected(method, answer, "a mapping of str to str", "labels")
    for part in (part for label in answer.items() for part in label):
        if not isinstance(part, str):
            raise unexpected(method, part, "str", "a label")
    return dict(answer)


def as_secret_of(answer: object, method: str, path: str, version: Version) -> Secret:
    """Return one version of the secret at `path`."""
    secret = as_secret(answer, method, path)
    if secret.version != version:
        raise AnswerError(f"{method}() returned another version")
    return secret


def as_health(answer: object, *_: object) -> Health:
    """Return the answer to `probe`."""
    if not isinstance(answer, Health):
        raise unexpected("probe", answer, "Health")
    error = StrongroomError | None
    check_fields("probe", answer, ok=bool, detail=str, facts=Mapping, checks=tuple | list, error=error)
    for part in (part for fact in answer.facts.items() for part in fact):
        if not isinstance(part, str):
            raise unexpected("probe", part, "str", "a fact")
    for check in answer.checks:
        if not isinstance(check, Check):
            raise unexpected("probe", check, "Check", "a check")
        check_fields("probe", check, name=str, detail=str, hint=str, state=CheckState)
    return answer


def as_iterator(answer: Any, method: str) -> Iterator[Any]:
    """Return an iterator over a list that a store returned."""
    if isinstance(answer, str | bytes) or not isinstance(answer, Iterable):
        raise unexpected(method, answer, "an iterator")
    return iter(answer)


def as_outcome(answer: object, method: str) -> tuple[str, Any]:
    """Return an item of a bulk operation, a path and its outcome."""
    if isinstance(answer, tuple) and len(answer) == 2:
        return as_text(answer[0], method), answer[1]
    raise unexpected(method, answer, "a path and its outcome", "an item")


def as_labeled(answer: object, method: str, *_: object) -> tuple[str, dict[str, str]]:
    """Return an item of `walk_labels`, a path and its labels."""
    path, labels = as_outcome(answer, method)
    return path, as_labels(labels, method)


def as_anything(answer: object, *_: object) -> object:
    """Return an answer that nothing depends on."""
    return answer


def as_text(answer: object, method: str, *_: object) -> str:
    """Return an item that is a text. A listed name or path may be invalid."""
    if isinstance(answer, str):
        return answer
    raise unexpected(method, answer, "str", "an item")


def subfolder(path: str, name: str) -> str | None:
    """Return the folder that this listed name is, without a slash; None if it is not one that can be listed.

    Names such as `/`, and the empty one, have themselves below them.
    """
    if not name.endswith("/"):
        return None
    try:
        return check_path(path.removesuffix("/"))
    except InvalidPathError:
        return None


def entry_error(name: str, prefix: str) -> InvalidPathError | None:
    """Return the error of a listed name with a slash inside, or None."""
    if "/" not in name.removesuffix("/"):
        return None
    return _listed(f"{prefix}/{name}" if prefix else name, "it has a slash inside")


def path_error(path: str, prefix: str) -> InvalidPathError | None:
    """Return the error of a listed path that is not below the prefix, or None."""
    return _listed(path, "it is not in the listed folder") if prefix and not path.startswith(f"{prefix}/") else None


def _listed(path: str, fault: str) -> InvalidPathError:
    return InvalidPathError(path, f"it lists this name, and {fault}", hint=PLUGIN_BUG)


def _is_version(version: object) -> bool:
    if isinstance(version, int | str):
        try:
            check_version("", version)
        except StoreError:
            return False
        return True
    return False


def _check_ttl(method: str, ttl: object) -> None:
    if not isinstance(ttl, int | float) or isinstance(ttl, bool):
        raise unexpected(method, ttl, "seconds or None", "a ttl")
    if not (math.isfinite(ttl) and ttl >= 0):
        raise AnswerError(f"{method}() returned a ttl that is negative or not finite")


def as_time(method: str, time: object, part: str) -> datetime:
    """Return a time with a time zone."""
    if not isinstance(time, datetime):
        raise unexpected(method, time, "datetime or None", part)
    if time.utcoffset() is None:
        raise AnswerError(f"{method}() returned {part} without a time zone")
    return time


def _not_a_value(method: str, answer: object) -> AnswerError:
    """Return the error for an answer that is not a `Value`. It names the type of the innermost wrong part."""
    stray = answer
    while isinstance(stray, Mapping | list | tuple):
        if isinstance(stray, Mapping):
            if odd := [name for name in stray if not isinstance(name, str)]:
                return unexpected(method, odd[0], "text", "a key")
            stray = list(stray.values())
        wrong = [part for part in stray if not is_value(part)]
        if not wrong:
            break
        stray = wrong[0]
    part = "" if stray is answer else "a value"
    return unexpected(method, stray, "text, bytes, number, boolean, null, list or mapping", part)


CHECKS: Mapping[str, Callable[..., Any]] = {
    "any": as_anything,
    "cautions": as_names,
    "count": as_count,
    "deletion": as_deletion,
    "health": as_health,
    "labels": as_labels,
    "labels of a path": as_labeled,
    "newest version": as_version_info,
    "secret": as_secret,
    "secret of a version": as_secret_of,
    "text": as_text,
    "value": as_value,
    "version": as_version,
    "versions": as_versions,
}
"""Kind of answer, as the table of operations names it -> its check.

A check takes the answer, the name of the method, and the arguments of the call.
"""
