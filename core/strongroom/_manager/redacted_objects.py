"""Objects of the application's types whose `repr` shows no value of the secret that they were made of.

Text and bytes become `SensitiveStr` and `SensitiveBytes`. A number, date, path, URL or UUID in an object becomes one of
a subclass whose `repr` alone differs, made when it is first needed: the object's class, and so its `repr`, belongs to
the application.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import fields, is_dataclass
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from pathlib import PurePath
from typing import Any
from uuid import UUID

from strongroom.secret import REDACTED, SensitiveBytes, SensitiveDict, SensitiveList, SensitiveStr

_SCALARS = (int, float, complex, Decimal, date, time, timedelta, UUID, PurePath, IPv4Address, IPv6Address)
"""The types that a subclass redacts, with their subclasses such as `datetime`. None is known by its class alone."""

_PROTECTED: dict[type, Callable[[Any], Any]] = {
    str: SensitiveStr,
    bytes: SensitiveBytes,
    bytearray: SensitiveBytes,
    list: lambda made: SensitiveList(map(_redacted_part, made)),
    dict: lambda made: SensitiveDict((key, _redacted_part(item)) for key, item in made.items()),
    tuple: lambda made: tuple(map(_redacted_part, made)),
    set: lambda made: set(map(_redacted_part, made)),
    frozenset: lambda made: frozenset(map(_redacted_part, made)),
}


def redacted(made: Any) -> Any:
    """Return the object with every value in it in a type whose `repr` is redacted, at every level.

    Booleans, null and the members of an enum stay, and so does a number, date or path that is the object itself.
    """
    if (protected := _PROTECTED.get(type(made))) is not None:
        return protected(made)
    if isinstance(made, tuple):
        make: Any = getattr(made, "_make", None)
        return made if make is None else make(map(_redacted_part, made))
    pydantic: Any = sys.modules.get("pydantic")
    msgspec: Any = sys.modules.get("msgspec")
    if is_dataclass(made):
        for name in (field.name for field in fields(made) if hasattr(made, field.name)):
            object.__setattr__(made, name, _redacted_part(getattr(made, name)))  # also of a frozen one
    elif msgspec is not None and isinstance(made, msgspec.Struct):
        for name in made.__struct_fields__:
            msgspec.structs.force_setattr(made, name, _redacted_part(getattr(made, name)))
    elif pydantic is not None and isinstance(made, pydantic.BaseModel):
        for held in (made.__dict__, made.__pydantic_extra__ or {}):
            held.update({name: _redacted_part(item) for name, item in held.items()})
    elif _is_url(made):  # it may hold a password
        return _redacted_scalar(made)
    return made


def _is_url(made: Any) -> bool:
    """Return True for the URLs of pydantic, whose two bases have no public name."""
    pydantic: Any = sys.modules.get("pydantic")
    return pydantic is not None and isinstance(made, (pydantic.AnyUrl.__bases__[0], pydantic.PostgresDsn.__bases__[0]))


def _redacted_part(made: Any) -> Any:
    """Return an item or field of an object: as `redacted`, and a number, date or path too."""
    if isinstance(made, _SCALARS) and not isinstance(made, bool | Enum):
        return _redacted_scalar(made)
    return redacted(made)


def _redacted_scalar(made: Any) -> Any:
    if isinstance(made, RedactedScalar):
        return made
    return _rebuilt(made, _subclass(made.__class__, _RedactedUrl if _is_url(made) else RedactedScalar))


class RedactedScalar:
    """Redacts the `repr` of the other base. Copies are redacted, pickles hold an object of that base."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({REDACTED})"

    __sentry_repr__ = __repr__

    def __rich_repr__(self) -> Iterator[str]:
        yield REDACTED

    def __copy__(self) -> Any:
        return self

    def __deepcopy__(self, memo: object) -> Any:
        return self

    def __reduce_ex__(self, protocol: Any) -> Any:
        return copy, (_rebuilt(self, type(self).__bases__[1]),)


class _RedactedUrl(RedactedScalar):
    """Equals a URL of pydantic, which compares classes too."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self).__bases__[1]) and str(self) == str(other)

    def __hash__(self) -> int:
        return super().__hash__()


@lru_cache(maxsize=256)
def _subclass(kind: Any, redacting: type[RedactedScalar]) -> Any:
    name: str = kind.__name__
    shown = kind.__repr__ if kind.__str__ is object.__str__ else kind.__str__  # of numbers, `str` is `repr`
    members = {"__slots__": (), "__str__": shown, "__module__": kind.__module__}
    return type(f"Sensitive{name[0].upper()}{name[1:]}", (redacting, kind), members)


def _rebuilt(value: Any, kind: Any) -> Any:
    """Return an object of this class with the state of another one, as `copy` makes one of the same class."""
    plain: Any = super(RedactedScalar, value) if isinstance(value, RedactedScalar) else value
    make, arguments, *rest = plain.__reduce_ex__(2)
    own = type(value)
    made = (kind if make is own else make)(*(kind if part is own else part for part in arguments))
    if rest and rest[0] is not None:
        if hasattr(made, "__setstate__"):
            made.__setstate__(rest[0])
        else:
            made.__dict__.update(rest[0])
    return made
