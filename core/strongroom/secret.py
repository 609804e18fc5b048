"""Secrets, the types that redact them, and the rules for their data, versions and labels."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, NoReturn, Self, SupportsIndex, TypeAlias, overload

from strongroom.errors import InvalidDataError, InvalidPathError, MissingKeyError, SecretNotFoundError, shown
from strongroom.events import Listeners
from strongroom.paths import check_key, is_rotation_record

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema

Value: TypeAlias = "str | bytes | int | float | bool | Sequence[Value] | Mapping[str, Value] | None"
"""The value of a key. Strings and bytes survive exactly, numbers by value, and types are kept."""

Version: TypeAlias = int | str
"""A store's name for one version of a secret: a number in Vault, an id in AWS. Opaque to everybody else."""

MAX_DEPTH = 32
"""How deep a value may nest."""

REDACTED = "**********"

_MOST_KEYS = 20
"""How many keys an error names."""

_SURROGATE = r"[\ud800-\udfff]"  # compiled at first use


class SensitiveStr(str):
    """A `str` whose `repr` is redacted, so that logs of arguments and tracebacks with locals do not show it.

    Code that accepts subclasses of `str` takes it unchanged. Libraries that check for the exact type, such as asyncpg,
    oracledb, msgspec, msgpack and PyYAML, refuse it: give them `value.reveal()`.

    Slices stay sensitive; copies are the object itself; a pickle holds a plain `str`. It is shown by f-strings, `%s`,
    `+`, `.strip()`, `.encode()` and every other operation that makes a new string.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return f"SensitiveStr('{REDACTED}')"

    __sentry_repr__ = __repr__

    def reveal(self) -> str:
        """Return the value as a plain `str`."""
        return str.__str__(self)

    def __getitem__(self, index: SupportsIndex | slice) -> SensitiveStr:
        return SensitiveStr(str.__getitem__(self, index))

    def __iter__(self) -> Iterator[SensitiveStr]:
        return map(SensitiveStr, str.__iter__(self))

    def __copy__(self) -> SensitiveStr:
        return self

    def __deepcopy__(self, memo: object) -> SensitiveStr:
        return self

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        return str, (self.reveal(),)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Let a pydantic model have a field of this type."""
        from pydantic_core import core_schema

        return core_schema.no_info_after_validator_function(cls, core_schema.str_schema())


class SensitiveBytes(bytes):
    """`bytes` whose `repr` and `str` are redacted. Slices stay sensitive; `reveal` returns plain `bytes`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"SensitiveBytes(b'{REDACTED}')"

    __str__ = __sentry_repr__ = __repr__

    def reveal(self) -> bytes:
        """Return the value as plain `bytes`."""
        return b"".join([self])

    @overload
    def __getitem__(self, index: SupportsIndex) -> int: ...
    @overload
    def __getitem__(self, index: slice) -> SensitiveBytes: ...
    def __getitem__(self, index: SupportsIndex | slice) -> int | SensitiveBytes:
        part = bytes.__getitem__(self, index)
        return part if isinstance(part, int) else SensitiveBytes(part)

    def __copy__(self) -> SensitiveBytes:
        return self

    def __deepcopy__(self, memo: object) -> SensitiveBytes:
        return self

    def __reduce__(self) -> tuple[type[bytes], tuple[bytes]]:
        return bytes, (self.reveal(),)


class SensitiveList(list["Value"]):
    """A `list` whose `repr` shows no value, and neither does that of its slices, sums and copies.

    A number, boolean or null that is taken out of it has no redacted type.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return f"SensitiveList({REDACTED})"

    __sentry_repr__ = __repr__

    def __rich_repr__(self) -> Iterator[str]:
        yield REDACTED

    def reveal(self) -> list[Any]:
        """Return the values in plain built-in types, at every level."""
        return [_revealed(item) for item in self]

    @overload
    def __getitem__(self, index: SupportsIndex) -> Value: ...
    @overload
    def __getitem__(self, index: slice) -> SensitiveList: ...
    def __getitem__(self, index: SupportsIndex | slice) -> Any:
        part: Any = list.__getitem__(self, index)
        return SensitiveList(part) if isinstance(index, slice) else part

    def __add__(self, other: list[Any]) -> SensitiveList:  # type: ignore[override]  # list's has two overloads
        return SensitiveList(list.__add__(self, other))

    def __radd__(self, other: list[Any]) -> SensitiveList:
        return SensitiveList([*other, *self])

    def __mul__(self, count: SupportsIndex) -> SensitiveList:
        return SensitiveList(list.__mul__(self, count))

    __rmul__ = __mul__

    def copy(self) -> SensitiveList:
        """Return a shallow copy, as redacted as this one."""
        return SensitiveList(self)

    __copy__ = copy

    def __deepcopy__(self, memo: object) -> SensitiveList:
        return SensitiveList(map(protect, self))

    def __reduce__(self) -> tuple[type[list[Value]], tuple[list[Value]]]:
        return list, (list(self),)


def its_keys(data: Iterable[str]) -> str:
    """Return the names of a secret's keys as the hint of an error about a missing one."""
    keys = [shown(key) for key in data]
    rest = f" and {len(keys) - _MOST_KEYS} more" if len(keys) > _MOST_KEYS else ""
    return f"Its keys are {', '.join(keys[:_MOST_KEYS])}{rest}"


class SensitiveDict(dict[str, "Value"]):
    """A `dict` whose `repr` shows its keys and no value. The strings in it are `SensitiveStr`.

    A number, boolean or null that is taken out of it has no redacted type: a traceback that shows local variables shows
    a variable that holds one.

    A whole secret that a manager returned raises `MissingKeyError`, a `KeyError`, for a key that it lacks.
    """

    __slots__ = ("_origin",)

    _origin: tuple[str, str]

    def __repr__(self) -> str:
        return f"SensitiveDict({', '.join(f'{key!r}: {REDACTED}' for key in self)})"

    __sentry_repr__ = __repr__

    def __rich_repr__(self) -> Iterator[tuple[str, str]]:
        for key in self:
            yield key, REDACTED

    def of_store(self, path: str, store: str) -> SensitiveDict:
        """Set the path and the store that `MissingKeyError` names, and return this dict."""
        self._origin = path, store
        return self

    def __missing__(self, key: object) -> NoReturn:
        origin = getattr(self, "_origin", None)
        if origin is None:
            raise KeyError(key)
        name = repr(key) if isinstance(key, str) else f"of type {type(key).__name__}"
        raise MissingKeyError(origin[0], f"it has no key {shown(name)}", store=origin[1], hint=its_keys(self))

    def _give_origin(self, twin: SensitiveDict) -> SensitiveDict:
        origin = getattr(self, "_origin", None)
        return twin if origin is None else twin.of_store(*origin)

    def reveal(self) -> dict[str, Any]:
        """Return the secret in plain built-in types, at every level."""
        return {_revealed(key): _revealed(value) for key, value in self.items()}

    def __or__(self, other: Mapping[str, Any]) -> SensitiveDict:  # type: ignore[override]  # dict's has two overloads
        return protect_data({**self, **other})

    def __ror__(self, other: Mapping[str, Any]) -> SensitiveDict:  # type: ignore[override]  # dict's has two overloads
        return protect_data({**other, **self})

    def copy(self) -> SensitiveDict:
        """Return a shallow copy, as redacted as this one."""
        return self._give_origin(SensitiveDict(self))

    __copy__ = copy

    def __deepcopy__(self, memo: object) -> SensitiveDict:
        return self._give_origin(protect_data(self))

    def __reduce__(self) -> tuple[type[dict[str, Value]], tuple[dict[str, Value]]]:
        return dict, (dict(self),)


SENSITIVE = (SensitiveStr, SensitiveBytes, SensitiveList, SensitiveDict)
"""The types whose `repr` is redacted."""


def _revealed(value: Any) -> Any:
    """Return a value in plain built-in types, at every level."""
    if isinstance(value, SensitiveStr | SensitiveBytes | SensitiveList | SensitiveDict):
        return value.reveal()
    if isinstance(value, dict):  # the caller may have put plain containers in
        return {key: _revealed(item) for key, item in value.items()}
    return [_revealed(item) for item in value] if isinstance(value, list) else value


_AS_THEY_ARE = frozenset({SensitiveStr, int, float, bool, type(None)})


def protect(value: Value) -> Value:
    """Return the value in redacted types, at every level. Numbers, booleans and null stay."""
    if type(value) in _AS_THEY_ARE:  # nearly every value: the checks of abstract classes below take ten times as long
        return value
    if isinstance(value, str):
        return SensitiveStr(value)
    if isinstance(value, Mapping):
        return protect_data(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return SensitiveBytes(value)
    if isinstance(value, Sequence):
        return SensitiveList(map(protect, value))
    return value


def protect_data(data: Mapping[str, Value]) -> SensitiveDict:
    """Return a secret's data as a new `SensitiveDict` that shares nothing mutable with `data`."""
    # In place, for nearly every value: a call takes as long as the rest.
    return SensitiveDict({key: v if type(v) in _AS_THEY_ARE else protect(v) for key, v in data.items()})


ROTATION_STATE = "strongroom:rotation"
"""The key of a rotation's record that holds its state, in which `new` and `old` are credentials."""


def credential_parts(path: str, data: Mapping[str, Value]) -> Iterator[Mapping[str, Value]]:
    """Yield those parts of a secret's data that are secret: all of it, but for the record of a rotation only its
    credentials, which are the pending secret, and the new and the old values. Its other words are in every log.
    """
    state = data.get(ROTATION_STATE) if is_rotation_record(path) else None
    if not isinstance(state, Mapping):
        yield data
        return
    yield SensitiveDict({key: value for key, value in data.items() if key != ROTATION_STATE})
    for name in ("new", "old"):
        if isinstance(part := state.get(name), Mapping):
            yield part


_observers: Listeners[Callable[[str, Mapping[str, Value]], None]] = Listeners()


def observe(observer: Callable[[str, Mapping[str, Value]], None]) -> None:
    """Call a function with the path and data of every secret that a store returns from now on.

    Of a rotation's record it gets each of the `credential_parts`. It must be quick and must not raise. Nothing ends it:
    it is for the redaction of logs.
    """
    _observers.add(observer)


def observed(path: str, data: Mapping[str, Value]) -> None:
    """Tell the observers of values that a store returned other than as a `Secret`."""
    if not _observers:  # each read of a key comes here
        return
    for part in credential_parts(path, data):
        for observer in _observers.each():
            observer(path, part)


@dataclass(frozen=True)
class Secret:
    """One secret as one store holds it.

    Attributes:
        path: its path in the store.
        data: its keys and values, as a `SensitiveDict`.
        version: the store's name for this version, or None if it has no versions.
        created: when this version was written, with a time zone, or None if the store does not tell.
        metadata: the secret's labels (custom metadata, tags). Never a value.
        ttl: its remaining lifetime in seconds, or None if it does not expire. It is not cached for longer, not even in
            an outage.
        ends: when the credential in it stops working, with a time zone, or None if it does not, or the store does not
            tell. Not earlier than `ttl`, after which a read may return another credential while this one still works.
    """

    path: str
    data: Mapping[str, Value]
    version: Version | None = None
    created: datetime | None = None
    metadata: Mapping[str, str] = field(default_factory=dict, repr=False)
    ttl: float | None = field(default=None, compare=False)
    ends: datetime | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "data", protect_data(self.data))
        observed(self.path, self.data)


class AgedSecret(Secret):
    """A secret from a cache on disk. `age` is in seconds since the store answered."""

    # Not a field: each method that a dataclass generates is compiled when a process starts.
    age = 0.0

    def aged(self, seconds: float) -> Self:
        """Return the secret itself, with its age."""
        object.__setattr__(self, "age", seconds)
        return self


class AgedAbsence(SecretNotFoundError):  # noqa: N818  # an answer, which is raised where an absence is
    """An absence from a cache. `age` is in seconds since the store answered."""

    age = 0.0

    def aged(self, seconds: float) -> Self:
        """Return the absence itself, with its age."""
        self.age = seconds
        return self


def age_of(answer: Secret | SecretNotFoundError) -> float:
    """Return the seconds since the store answered; zero if it has just answered."""
    return answer.age if isinstance(answer, AgedSecret | AgedAbsence) else 0.0


def conceal(data: object) -> Any:
    """Return the same data, unchecked, in redacted types: for a frame that holds it while it is checked."""
    if isinstance(data, SensitiveDict):
        return data
    if isinstance(data, Mapping):
        return SensitiveDict(data)
    return protect(data) if isinstance(data, str | bytes | bytearray | memoryview | list | tuple) else data


def conceal_deeply(data: Mapping[str, Any]) -> SensitiveDict:
    """Return a copy, unchecked, in redacted types at every level: `protect_data` for data that need not be values."""
    return protect_data(data)


def check_data(path: str, data: Mapping[str, Value]) -> SensitiveDict:
    """Return a redacted copy of `data`, if every store could return it exactly.

    Raises:
        InvalidDataError: names the key, never the value: a type that is not a `Value`, a number that is not finite, a
            lone surrogate, a key that is not a string, or more than `MAX_DEPTH` levels.
    """
    given, data = type(data), conceal(data)
    if not isinstance(data, SensitiveDict):
        # The message names the built-in base of a redacting class.
        kind = next(base.__name__ for base in given.__mro__ if base.__module__ != __name__)
        raise InvalidDataError(path, f"a secret is a mapping of keys to values, not {kind}")
    if not data:
        raise InvalidDataError(path, "a secret has at least one key")
    for key in data:  # no variable of this frame holds a value: a traceback may show it
        check_key(key, path)
        if fault := _fault(data[key], MAX_DEPTH):
            raise InvalidDataError(path, f"key {key!r}: {fault}")
    return protect_data(data)


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


_SURVIVE = (int, bytes)
"""Types whose every value can be stored exactly."""


def _fault(value: object, depth: int) -> str | None:  # noqa: PLR0911  # one for each kind of value
    """Return the reason why a value cannot be stored exactly, or None."""
    if isinstance(value, str):
        return "a string with a lone surrogate" if not value.isascii() and re.search(_SURROGATE, value) else None
    if value is None or isinstance(value, _SURVIVE):
        return None
    if isinstance(value, float):
        return None if math.isfinite(value) else "a number that is not finite"
    if depth == 0:
        return f"more than {MAX_DEPTH} levels"
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) and not re.search(_SURROGATE, key) for key in value):
            return "a name in it is not a string, or has a lone surrogate"
        return next((fault for item in value.values() if (fault := _fault(item, depth - 1))), None)
    if isinstance(value, list | tuple):
        return next((fault for item in value if (fault := _fault(item, depth - 1))), None)
    return f"a value of type {type(value).__name__}"


def is_value(value: object) -> bool:
    """Return True if it is a `Value` at every level: a store may return it, exact or not."""
    if type(value) in _AS_THEY_ARE:
        return True
    if isinstance(value, Mapping):
        for key, item in value.items():  # no call for nearly every value, as in `protect_data`
            if not isinstance(key, str) or not (type(item) in _AS_THEY_ARE or is_value(item)):
                return False
        return True
    if isinstance(value, list | tuple):
        return all(map(is_value, value))
    return value is None or isinstance(value, str | bytes | int | float)


def same(left: Value, right: Value) -> bool:
    """Return True if two values are equal: numbers by value, and all others by type too, at every level."""
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple) and isinstance(right, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    return kind(left) == kind(right) and left == right


def changed_keys(before: Mapping[str, Value], after: Mapping[str, Value]) -> tuple[str, ...]:
    """Return the keys that only one of two states has, or that have another value in each, sorted by name."""
    both = before.keys() & after.keys()
    return tuple(sorted((before.keys() ^ after.keys()) | {key for key in both if not same(before[key], after[key])}))


def kind(value: Value) -> str:
    """Return the name of a value's type: `number` for both kinds, because JSON has only one."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else "boolean"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str | bytes):
        return "text" if isinstance(value, str) else "bytes"
    return "mapping" if isinstance(value, Mapping) else "list"
