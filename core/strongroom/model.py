"""The values that travel: secrets, their redaction, the rules for paths and data, and bytes in JSON. No I/O."""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, SupportsIndex, TypeAlias, TypeVar, cast, overload

from strongroom.errors import InvalidDataError, InvalidPathError

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema

Value: TypeAlias = "str | bytes | int | float | bool | Sequence[Value] | Mapping[str, Value] | None"
"""What a secret's key can hold. Strings and bytes survive exactly, numbers by value, and types are kept."""

Version: TypeAlias = "int | str"
"""A store's own name for one version of a secret: a number in Vault, an id in AWS. Opaque to everybody else."""

MAX_PATH_LENGTH = 1024
"""The longest path or key, in characters."""

MAX_DEPTH = 32
"""How deep a value may nest."""

REDACTED = "**********"

_T = TypeVar("_T")

# Control characters would forge log lines and request lines, the line separators too; a backslash is a separator to
# some stores; a lone surrogate has no UTF-8 form.
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f\\\u2028\u2029\ud800-\udfff]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")


class SensitiveStr(str):
    """A real `str` whose `repr` is redacted, so that logs of arguments and tracebacks with locals do not show it.

    Slices stay sensitive; copies are the object itself; a pickle holds a plain `str`. What does show it: `str()`,
    f-strings, `%s`, `+`, `.strip()`, `.encode()` and everything else that makes a new string.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return f"SensitiveStr('{REDACTED}')"

    def __getitem__(self, index: SupportsIndex | slice) -> SensitiveStr:
        return SensitiveStr(str.__getitem__(self, index))

    def __iter__(self) -> Iterator[SensitiveStr]:
        return map(SensitiveStr, str.__iter__(self))

    def __copy__(self) -> SensitiveStr:
        return self

    def __deepcopy__(self, memo: object) -> SensitiveStr:
        return self

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        return str, (str.__str__(self),)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Lets a pydantic model have a field of this type."""
        from pydantic_core import core_schema

        return core_schema.no_info_after_validator_function(cls, core_schema.str_schema())


class _SensitiveBytes(bytes):
    """Real `bytes` that no form of text shows: bytes have none but their `repr`. Slices stay sensitive."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"SensitiveBytes(b'{REDACTED}')"

    __str__ = __repr__

    @overload
    def __getitem__(self, index: SupportsIndex) -> int: ...
    @overload
    def __getitem__(self, index: slice) -> _SensitiveBytes: ...
    def __getitem__(self, index: SupportsIndex | slice) -> int | _SensitiveBytes:
        part = bytes.__getitem__(self, index)
        return part if isinstance(part, int) else _SensitiveBytes(part)

    def __copy__(self) -> _SensitiveBytes:
        return self

    def __deepcopy__(self, memo: object) -> _SensitiveBytes:
        return self

    def __reduce__(self) -> tuple[type[bytes], tuple[bytes]]:
        return bytes, (b"".join([self]),)


class _SensitiveList(list["Value"]):
    __slots__ = ()

    def __repr__(self) -> str:
        return f"SensitiveList({REDACTED})"

    def __rich_repr__(self) -> Iterator[str]:
        yield REDACTED

    def __copy__(self) -> _SensitiveList:
        return _SensitiveList(self)

    def __deepcopy__(self, memo: object) -> _SensitiveList:
        return _SensitiveList(map(protect, self))

    def __reduce__(self) -> tuple[type[list[Value]], tuple[list[Value]]]:
        return list, (list(self),)


class SensitiveDict(dict[str, "Value"]):
    """A real `dict` whose `repr` shows its keys and no value. The strings in it are `SensitiveStr`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"SensitiveDict({', '.join(f'{key!r}: {REDACTED}' for key in self)})"

    def __rich_repr__(self) -> Iterator[tuple[str, str]]:
        for key in self:
            yield key, REDACTED

    def __or__(self, other: Mapping[str, Any]) -> SensitiveDict:  # type: ignore[override]  # dict's has two overloads
        return protect_data({**self, **other})

    def copy(self) -> SensitiveDict:
        """A shallow copy, as redacted as this one."""
        return SensitiveDict(self)

    def __copy__(self) -> SensitiveDict:
        return self.copy()

    def __deepcopy__(self, memo: object) -> SensitiveDict:
        return protect_data(self)

    def __reduce__(self) -> tuple[type[dict[str, Value]], tuple[dict[str, Value]]]:
        return dict, (dict(self),)


SENSITIVE = (SensitiveStr, _SensitiveBytes, _SensitiveList, SensitiveDict)
"""The types whose `repr` is redacted."""

_AS_THEY_ARE = frozenset({SensitiveStr, int, float, bool, type(None)})


def protect(value: Value) -> Value:
    """The same value in types whose `repr` shows nothing, all the way down. Numbers, booleans and null stay."""
    if type(value) in _AS_THEY_ARE:  # nearly every value: asking the abstract classes below takes ten times as long
        return value
    if isinstance(value, str):
        return SensitiveStr(value)
    if isinstance(value, Mapping):
        return protect_data(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return _SensitiveBytes(value)
    if isinstance(value, Sequence):
        return _SensitiveList(map(protect, value))
    return value


def protect_data(data: Mapping[str, Value]) -> SensitiveDict:
    """`protect` for a secret's data: a new `SensitiveDict` that shares nothing mutable with `data`."""
    return SensitiveDict((key, protect(value)) for key, value in data.items())


@dataclass(frozen=True)
class Secret:
    """One secret as one store holds it.

    Attributes:
        path: where it is, relative to the store.
        data: its keys and values, as a `SensitiveDict`.
        version: the store's name for this version, or None where it has none.
        created: when this version was written, with a time zone, or None where the store does not say.
        metadata: the store's own labels (custom metadata, tags). Never a value.
        ttl: for how many seconds from now on it is good, or None where it does not end. Nothing keeps it for longer, in
            an outage neither.
    """

    path: str
    data: Mapping[str, Value]
    version: Version | None = None
    created: datetime | None = None
    metadata: Mapping[str, str] = field(default_factory=dict, repr=False)
    ttl: float | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "data", protect_data(self.data))


# --- paths ------------------------------------------------------------------------------------------------------------


def check_path(path: str) -> str:
    """The path itself, when it can name a secret.

    A path is segments joined by single slashes: no empty segment, no `.` or `..`, no control character, backslash or
    lone surrogate, at most `MAX_PATH_LENGTH` characters. Each of these has been an alias for another secret, or a way
    out of the mount, in some client.

    Raises:
        InvalidPathError: says which rule the path breaks.
    """
    if not isinstance(path, str):
        raise InvalidPathError(None, f"a path is a string, not {type(path).__name__}")
    if not path:
        raise InvalidPathError(path, "the path is empty")
    if len(path) > MAX_PATH_LENGTH:
        raise InvalidPathError(path, f"{len(path):,} characters, the most is {MAX_PATH_LENGTH:,}")
    if _FORBIDDEN.search(path):
        raise InvalidPathError(path, "it has a control character, a backslash or a lone surrogate")
    for segment in path.split("/"):
        if segment in {"", ".", ".."}:
            what = f"a segment that is {segment!r}" if segment else "a leading, trailing or double slash"
            raise InvalidPathError(path, f"it has {what}", hint="Write it as segments joined by single slashes")
    return path


def check_prefix(prefix: str) -> str:
    """The folder to list, without its trailing slash; the empty string is the top.

    Raises:
        InvalidPathError: as `check_path` does.
    """
    return check_path(prefix.removesuffix("/") or prefix) if prefix else prefix


def check_key(key: str, path: str | None = None) -> str:
    """The key itself, when it can name a field of a secret.

    Raises:
        InvalidPathError: it is empty, too long, not a string, or has a control character or a lone surrogate.
    """
    if not isinstance(key, str):
        raise InvalidPathError(path, f"a key is a string, not {type(key).__name__}")
    if not key or len(key) > MAX_PATH_LENGTH or _FORBIDDEN.search(key.replace("\\", "")):
        raise InvalidPathError(path, "the key is empty, too long, or has a control character or a lone surrogate")
    return key


def parse_reference(reference: str) -> tuple[str, str | None]:
    """`PATH#KEY` as path and key, `PATH` as path and None. The last `#` divides, since a path may hold one.

    Raises:
        InvalidPathError: as `check_path` and `check_key` do.
    """
    path, mark, key = reference.rpartition("#")
    if not mark:
        return check_path(reference), None
    return check_path(path), check_key(key, path)


# --- data -------------------------------------------------------------------------------------------------------------


def conceal(data: object) -> Any:
    """The same data, unchecked, under a `repr` that shows no value: for a frame that holds it while it is checked."""
    if isinstance(data, Mapping):
        return SensitiveDict(data)
    return protect(data) if isinstance(data, str | bytes | bytearray | memoryview | list | tuple) else data


def check_data(path: str, data: Mapping[str, Value]) -> SensitiveDict:
    """A redacted copy of `data`, when every store could give it back exactly.

    Raises:
        InvalidDataError: names the key, never the value: a type that is not a `Value`, a number that is not finite, a
            lone surrogate, a key that is not a string, or more than `MAX_DEPTH` levels.
    """
    # Of ours, which redact, the name of the class that was given is the base's.
    kind = next(base.__name__ for base in type(data).__mro__ if base.__module__ != __name__)
    data = conceal(data)
    if not isinstance(data, Mapping):
        raise InvalidDataError(path, f"a secret is a mapping of keys to values, not {kind}")
    if not data:
        raise InvalidDataError(path, "a secret has at least one key")
    for key in data:
        check_key(key, path)
    fault = next((f"key {key!r}: {fault}" for key, value in data.items() if (fault := _fault(value, MAX_DEPTH))), None)
    if fault:
        raise InvalidDataError(path, fault)
    return protect_data(data)


def _fault(value: object, depth: int) -> str | None:  # noqa: PLR0911  # one for each kind of value
    """What keeps a value from being stored exactly, or None."""
    if value is None or isinstance(value, bool | int | bytes):
        return None
    if isinstance(value, str):
        return "a string with a lone surrogate" if _SURROGATE.search(value) else None
    if isinstance(value, float):
        return None if math.isfinite(value) else "a number that is not finite"
    if depth == 0:
        return f"more than {MAX_DEPTH} levels"
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) and not _SURROGATE.search(key) for key in value):
            return "a name in it is not a string, or has a lone surrogate"
        return next((fault for item in value.values() if (fault := _fault(item, depth - 1))), None)
    if isinstance(value, list | tuple):
        return next((fault for item in value if (fault := _fault(item, depth - 1))), None)
    return f"a value of type {type(value).__name__}"


def is_value(value: object) -> bool:
    """Whether it is a `Value`, all the way down: what a store may answer with, exact or not."""
    if type(value) in _AS_THEY_ARE:
        return True
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and is_value(item) for key, item in value.items())
    if isinstance(value, list | tuple):
        return all(map(is_value, value))
    return value is None or isinstance(value, str | bytes | int | float)


_BYTES = "strongroom:bytes"


def to_json(value: Value) -> Any:
    """The value in JSON's types, an exact inverse of `from_json`.

    Bytes become `{"strongroom:bytes": "<base64>"}`; a mapping that looks like that is wrapped once more.
    """
    if isinstance(value, bytes):
        return {_BYTES: base64.b64encode(value).decode("ascii")}
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        inner = {key: to_json(item) for key, item in value.items()}
        return {_BYTES: inner} if set(inner) == {_BYTES} else inner
    if isinstance(value, Sequence):
        return [to_json(item) for item in value]
    return value


def from_json(value: Any) -> Value:
    """The value that `to_json` wrote, in redacted types. What it did not write comes back as it stands."""
    if isinstance(value, dict):
        if len(value) == 1 and _BYTES in value:
            inner = value[_BYTES]
            if isinstance(inner, str):
                try:
                    return _SensitiveBytes(base64.b64decode(inner, validate=True))
                except (binascii.Error, ValueError):
                    return SensitiveDict({_BYTES: SensitiveStr(inner)})
            if isinstance(inner, dict) and len(inner) == 1 and _BYTES in inner:
                return SensitiveDict({_BYTES: from_json(inner[_BYTES])})
        return SensitiveDict((key, from_json(item)) for key, item in value.items())
    if isinstance(value, list):
        return _SensitiveList(map(from_json, value))
    return SensitiveStr(value) if isinstance(value, str) else cast("Value", value)


def to_json_text(value: Value) -> str:
    """The value as compact JSON text: what `as_text` shows of a number, a boolean or a container."""
    import json

    return json.dumps(to_json(value), ensure_ascii=False, separators=(",", ":"))


# --- types ------------------------------------------------------------------------------------------------------------

_TRUE = frozenset({"true", "1", "yes", "on"})
_FALSE = frozenset({"false", "0", "no", "off"})


def as_text(value: Value, path: str, key: str) -> SensitiveStr:
    """A string as it is; a number, boolean or container as JSON text, so that Vault's 5432 equals the environment's.

    Raises:
        InvalidDataError: null and bytes have no text; the message names `as_=`.
    """
    if isinstance(value, str):
        return value if type(value) is SensitiveStr else SensitiveStr(value)
    if value is None or isinstance(value, bytes):
        kind, wanted = ("null", "object") if value is None else ("bytes", "bytes")
        raise InvalidDataError(path, f"key {key!r} holds {kind}, not text", hint=f"Ask for it with as_={wanted}")
    return SensitiveStr(to_json_text(value))


def convert(value: Value, wanted: type[_T], path: str, key: str) -> _T:
    """The value as `wanted`: str, bytes, int, float, bool, dict, list, or object for the value as it is stored.

    Text is read as the type that is asked for, since an environment variable has no other; a boolean is one of true,
    false, 1, 0, yes, no, on, off. Nothing is rounded or cut.

    Raises:
        InvalidDataError: the stored value is not of that type. The message does not show it.
        TypeError: `wanted` is no class.
    """
    if not isinstance(wanted, type):
        value = None
        raise TypeError("as_ is one of str, bytes, int, float, bool, dict, list and object")
    if wanted is object:
        return cast("_T", value)
    converted = _converted(value, wanted, path, key)
    if not isinstance(converted, wanted) or (wanted is int and isinstance(converted, bool)):
        value = None
        raise InvalidDataError(path, f"key {key!r} does not hold {wanted.__name__}")
    return converted


def _converted(value: Value, wanted: type, path: str, key: str) -> object:
    """The value as it is read for `wanted`, or None. A parser's own error quotes the text that it could not read."""
    if wanted is str or wanted is SensitiveStr:
        return as_text(value, path, key)
    try:
        return _parsed(value, wanted)
    except (ValueError, OverflowError, RecursionError):
        return None


def _parsed(value: Value, wanted: type) -> object:
    if wanted is bytes:
        return _SensitiveBytes(value.encode()) if isinstance(value, str) else value
    if wanted is bool and isinstance(value, str):
        word = value.strip().lower()
        return True if word in _TRUE else False if word in _FALSE else None
    if wanted is int:
        value = int(_decimal(value)) if isinstance(value, str) else value
        return int(value) if isinstance(value, float) and value.is_integer() else value
    if wanted is float:
        value = _number(value) if isinstance(value, str) else value
        number = float(value) if isinstance(value, int) and not isinstance(value, bool) else value
        exact = not isinstance(value, int) or number == value  # above 2^53 not every integer is a float
        return number if exact and isinstance(number, float) and math.isfinite(number) else None
    if wanted in {dict, list} and isinstance(value, str):
        import json

        return from_json(json.loads(value, object_pairs_hook=_unique, parse_float=_finite, parse_constant=_finite))
    return value


def _number(text: str) -> int | float:
    """Text as an integer where it is one: as a float it might be rounded."""
    text = _decimal(text)
    return float(text) if any(mark in text for mark in ".eEnN") else int(text)


def _decimal(text: str) -> str:
    """The text itself, where it is no number to Python alone, which takes 1_000 and the digits of every script."""
    if "_" in text or not text.isascii():
        raise ValueError
    return text


def _unique(items: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON text in which every name stands once: of two values one would be dropped."""
    if len(found := dict(items)) < len(items):
        raise ValueError
    return found


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError
    return number
