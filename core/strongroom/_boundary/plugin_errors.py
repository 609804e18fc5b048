"""Errors of the tree that a plugin raised: they are built anew, and their text shows no value that the call knows.

Separate from the translation, which is for exceptions of all kinds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeAlias

from strongroom.errors import Attempt, Check, CheckState, MigrationError, RotationError, StoreError, StrongroomError
from strongroom.secret import REDACTED, SensitiveStr

Known: TypeAlias = Sequence[Any] | Callable[[], Sequence[Any]] | None
"""Values that a call was given or has returned, in mappings and sequences, or a function that a failure alone calls.

None stands for a plugin of Strongroom's own, whose errors show no value.
"""

_Mask: TypeAlias = Callable[[str], str]
_OWN = "strongroom"


class _MalformedError(Exception):
    """An error's field is missing or of a wrong type."""


def is_own(kind: object) -> bool:
    """Return True for a class or function of the distribution `strongroom`.

    The packages of others may be named alike, such as `strongroom_corp`.
    """
    return str(getattr(kind, "__module__", "")).partition(".")[0] in _own_packages()


@lru_cache(maxsize=1)
def _own_packages() -> frozenset[str]:
    """Return the packages that the entry points of the distribution name."""
    from importlib import metadata

    try:
        points = metadata.distribution(_OWN).entry_points
    except metadata.PackageNotFoundError:
        return frozenset({_OWN})
    return frozenset({_OWN, *(point.module.partition(".")[0] for point in points)})


def rebuild(error: StrongroomError, path: str | None, store: str, known: Known = ()) -> StrongroomError:
    """Return an error with the fields of a plugin's error, and nothing else of it.

    It is of the nearest class of Strongroom: a subclass may have a `__str__`. Notes, other attributes, causes and
    frames are left out. Text that is a secret, and each value that is known, are replaced.

    Args:
        error: the plugin's error.
        path: the secret's path for an error that has none.
        store: the store's name for an error that has none.
        known: values that the text must not show.

    Raises:
        Exception: a field is of a wrong type.
        BaseException: an exception of the error's class, such as that of a property.
    """
    kind = _own_class(type(error))
    fields, mask = dict(vars(error)), _mask(known)
    others: dict[str, object] = {}
    if checks := _several(fields, "checks", Check):
        others["checks"] = tuple(_check(check, mask) for check in checks)
    if issubclass(kind, StoreError):
        made: StrongroomError = _store_error(kind, fields, mask, path, store)
        if "summary" in fields:
            others["summary"] = _text(fields["summary"], mask)
        others |= {name: fields[name] is True for name in ("path_only", "conclusive") if name in fields}
        if isinstance(seconds := fields.get("retry_after"), int | float):
            others["retry_after"] = float(seconds)
        return made.copy(**others) if others else made
    if issubclass(kind, RotationError):
        others |= {name: _text(fields.get(name, ""), mask) for name in ("path", "step")}
    elif issubclass(kind, MigrationError):
        others["report"] = None
    return kind.__new__(kind, *_message(error, mask)).copy(**others)


def _store_error(
    kind: type[StoreError], fields: Mapping[str, Any], mask: _Mask, path: str | None, store: str
) -> StoreError:
    named, inner, attempts = fields.get("path"), fields.get("store"), _several(fields, "attempts", Attempt)
    made = kind.__new__(kind)
    StoreError.__init__(  # the class may take other arguments
        made,
        path if named is None or named == path else _text(named, mask),
        _text(fields.get("reason", ""), mask),
        store=_text(inner, mask) if inner else store,
        hint=_text(fields.get("hint", kind.default_hint), mask),
        attempts=tuple(_attempt(attempt, mask) for attempt in attempts) if attempts else (),
    )
    return made


def _own_class(kind: type[StrongroomError]) -> type[StrongroomError]:
    if is_own(kind):
        return kind
    return next(base for base in kind.__mro__ if issubclass(base, StrongroomError) and is_own(base))


def _mask(known: Known) -> _Mask:
    values = known() if callable(known) else known
    if not values or not any(values):
        return _unmasked
    from strongroom._redaction.fingerprints import Fingerprints, leaves  # a call that does not fail does not need them

    fingerprints = Fingerprints()
    for leaf in leaves(values):
        fingerprints.add(leaf)
    return lambda text: fingerprints.mask(text, REDACTED)


def _unmasked(text: str) -> str:
    return text


def _text(given: object, mask: _Mask) -> str:
    if not isinstance(given, str):
        raise _MalformedError
    return REDACTED if isinstance(given, SensitiveStr) else mask(str.__str__(given))


def _message(error: StrongroomError, mask: _Mask) -> tuple[str, ...]:
    given: tuple[object, ...] = error.args
    return tuple(_text(text, mask) for text in given[:1])


def _several(fields: Mapping[str, Any], name: str, kind: type) -> tuple[Any, ...]:
    given = fields.get(name, ())
    if not isinstance(given, tuple) or (given and not all(isinstance(each, kind) for each in given)):
        raise _MalformedError
    return given


def _check(check: Check, mask: _Mask) -> Check:
    name, detail, hint = (_text(text, mask) for text in (check.name, check.detail, check.hint))
    return Check(name, CheckState(check.state), detail, hint)


def _attempt(attempt: Attempt, mask: _Mask) -> Attempt:
    return attempt._replace(store=_text(attempt.store, mask), reason=_text(attempt.reason, mask))
