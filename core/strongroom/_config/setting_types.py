"""Types of settings and options: a value is read as its type hint, and a message names the hint in words.

A hint is that of an option in the signature of an opener, or of a field in a configuration type such as `CacheConfig`.
TOML types stay; text of a variable or a file is read as the requested type.

msgspec.convert was tried: 59 lines less, but 78 of 2,332 pairs of a value and a type came out otherwise (secrets in
lists as plain text, `null` as None, ` 1 ` refused), and its import costs 16 ms. cattrs reads `bool("false")` as True.
"""

from __future__ import annotations

import inspect
import math
import re
import types
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple, TypeAlias, Union, get_args, get_origin

from strongroom.encoding import read_scalar
from strongroom.errors import ConfigurationError, did_you_mean
from strongroom.formats import durations
from strongroom.secret import protect

MISMATCH: Final = object()
"""What `read_value` returns for a value that is not of the type. An error would carry the value."""

SCALARS: Mapping[object, str] = {
    str: "a string",
    int: "an integer",
    float: "a number",
    bool: "true or false",
    Path: "a file's path",
    type(None): "nothing",
}
"""The types without parts, in words."""
_PLURALS: Mapping[object, str] = {
    str: "strings",
    int: "integers",
    float: "numbers",
    bool: "booleans",
    Path: "paths",
    dict: "tables",
    list: "lists",
}


class Parser(NamedTuple):
    """Reads the values of a hint, as in `Annotated[float, Parser(parse_duration, "a duration")]`.

    Attributes:
        read: returns the value that a raw one stands for, or None.
        words: the values that it reads, for a message.
    """

    read: Callable[[object], object]
    words: str


class Limit(NamedTuple):
    """Restricts the values of a hint, as in `Annotated[str, Limit(bool, "a string that is not empty")]`.

    Attributes:
        holds: returns True for an allowed value.
        words: the allowed values, for a message.
        choices: the allowed texts, of which a message suggests the nearest.
    """

    holds: Callable[[Any], bool]
    words: str
    choices: tuple[str, ...] = ()


def at_least(least: int) -> Parser:
    """Return the parser of an integer, `least` or more."""

    def read(value: object) -> object:
        return value if isinstance(value, int) and not isinstance(value, bool) and value >= least else None

    return Parser(read, f"a whole number, {least} or more")


Text: TypeAlias = Annotated[str, Limit(bool, "a string that is not empty")]
Seconds: TypeAlias = Annotated[float, Parser(durations.parse_duration, durations.ALLOWED)]
PositiveSeconds: TypeAlias = Annotated[Seconds, Limit(bool, "more than zero")]
Count: TypeAlias = Annotated[int, at_least(1)]
FileSize: TypeAlias = Annotated[int, at_least(1 << 16)]


# --- the hours of a rotation ------------------------------------------------------------------------------------------


_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY = "|".join(_DAYS)
# Compiled at first use: most processes read no window.
_WINDOW = rf"(?:((?:{_DAY})(?:-(?:{_DAY}))?(?:,(?:{_DAY})(?:-(?:{_DAY}))?)*) )?(\d\d):(\d\d)-(\d\d):(\d\d)"
WINDOW_FORMAT = 'hours in UTC such as "02:00-05:00", or with days "Sat,Sun 22:00-04:00"'


class Window(NamedTuple):
    """The hours in which a rotation may start, in UTC.

    Attributes:
        start, end: seconds since midnight. The window crosses midnight if `end` is not later than `start`.
        days: weekdays on which it opens, where Monday is 0.
    """

    start: int
    end: int
    days: frozenset[int] = frozenset(range(7))


def parse_window(text: object) -> Window | None:
    """Return the window, or None if the value is not the text of one."""
    found = re.fullmatch(_WINDOW, text.strip().lower(), re.ASCII) if isinstance(text, str) else None
    if found is None:
        return None
    days, *numbers = found.groups()
    first_hour, first_minute, last_hour, last_minute = map(int, numbers)
    if max(first_minute, last_minute) > 59 or first_hour > 23 or last_hour > 24 or (last_hour == 24 and last_minute):
        return None
    start, end = (first_hour * 60 + first_minute) * 60, (last_hour * 60 + last_minute) * 60
    if start == end:
        return None
    return Window(start, end % 86_400, _weekdays(days) if days else frozenset(range(7)))


def _weekdays(text: str) -> frozenset[int]:
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        begin, end = _DAYS.index(first), _DAYS.index(last or first)
        found.update((begin + offset) % 7 for offset in range((end - begin) % 7 + 1))
    return frozenset(found)


# --- reading ----------------------------------------------------------------------------------------------------------


def declared(schema: type, *names: str) -> dict[str, Any]:
    """Return the hint of each of these fields of a configuration type; by default of those that are its settings.

    Its settings are the fields with a default, but for `settings` itself.
    """
    hints = inspect.get_annotations(schema)
    return {name: hints[name] for name in names or schema._field_defaults if name != "settings"}  # type: ignore[attr-defined]  # of a named tuple


def members(hint: Any) -> tuple[Any, ...]:
    """Return the types of a union, or the hint itself."""
    return get_args(hint) if get_origin(hint) in {Union, types.UnionType} else (hint,)


def read_json(text: str) -> object:
    """Return the list or table that the text is as JSON, in redacted types; otherwise the text."""
    if text.lstrip().startswith(("[", "{")):
        from strongroom.errors import InvalidDataError
        from strongroom.formats.strict_json import read_json as read_strictly

        try:
            return protect(read_strictly(text))
        except InvalidDataError:
            pass
    return text


def convert(value: object, hint: Any, where: str, *, text: bool = False, folder: Path | None = None) -> Any:
    """Return the value as the type of its hint.

    Raises:
        ConfigurationError: the value is not of the type. The message begins with `where`, and does not show the value.
    """
    read = read_value(value, hint, text=text, folder=folder)
    if read is MISMATCH:
        raise ConfigurationError(f"{where} must be {_wanted(value, hint, text=text)}")
    return read


def _wanted(value: object, hint: Any, *, text: bool) -> str:
    """Return the allowed values of a hint in words, for a message about another value."""
    others = [member for member in members(hint) if member is not type(None)]
    hint = others[0] if len(others) == 1 else hint
    if get_origin(hint) is Annotated:
        read = _before_limits(value, hint, text=text, folder=None)
        wanted = Parser if read is MISMATCH else Limit
        for rule in hint.__metadata__:
            if isinstance(rule, wanted) and (isinstance(rule, Parser) or not rule.holds(read)):
                return rule.words + ("" if isinstance(rule, Parser) else did_you_mean(read, rule.choices))
    if Path in members(hint) and isinstance(value, str) and value.startswith("~"):
        return f"{type_name(hint)}: its home folder is not known"
    if get_origin(_bare(hint)) is Literal and (near := did_you_mean(value, map(str, get_args(_bare(hint))))):
        return f"{type_name(hint)}{near}"
    return f"{type_name(hint)}, not {'this text' if text else kind(value)}"


def read_value(value: object, hint: Any, *, text: bool, folder: Path | None = None) -> object:
    """Return the value as the type of its hint, or `MISMATCH`.

    Args:
        value: from TOML or from an argument; or text, of a variable or a file.
        hint: the type, which may have a `Parser` and `Limit`s.
        text: whether it comes from a variable or a file: text is read as the requested type.
        folder: the base of a relative path.
    """
    if get_origin(hint) is Annotated:
        read = _before_limits(value, hint, text=text, folder=folder)
        limits = [] if read is MISMATCH else [rule for rule in hint.__metadata__ if isinstance(rule, Limit)]
        return read if all(limit.holds(read) for limit in limits) else MISMATCH
    union = members(hint)
    if len(union) > 1:
        # Text is everything's string, and a string is a list of one: the other types are tried first.
        ordered = sorted(union, key=lambda member: 2 if list in {member, get_origin(member)} else member is str)
        each = (read_value(value, member, text=text, folder=folder) for member in ordered)
        return next((item for item in each if item is not MISMATCH), MISMATCH)
    if get_origin(hint) is tuple:  # of one type, of any length
        items = MISMATCH if isinstance(value, str) else _list(value, get_args(hint)[0], text=text, folder=folder)
        return tuple(items) if isinstance(items, list) else MISMATCH
    if hint is list or get_origin(hint) is list:
        return _list(value, *(get_args(hint) or (str,)), text=text, folder=folder)
    if hint is dict or get_origin(hint) is dict:
        return _dict(value, (get_args(hint) or (str, object))[1], text=text, folder=folder)
    return _single(value, hint, text=text, folder=folder)


def plain(value: Any) -> Any:  # any type of a setting
    """Return a value without redacted types: no setting is secret."""
    if isinstance(value, tuple):
        return tuple(map(plain, value)) if type(value) is tuple else value
    return str(value) if isinstance(value, str) else value


def _before_limits(value: object, hint: Any, *, text: bool, folder: Path | None) -> object:
    for rule in hint.__metadata__:
        if isinstance(rule, Parser):
            read = rule.read(value)
            return MISMATCH if read is None else read
    return read_value(value, hint.__origin__, text=text, folder=folder)


def _single(value: object, hint: Any, *, text: bool, folder: Path | None) -> object:
    if hint is type(None):
        return None if value is None else MISMATCH
    if get_origin(hint) is Literal:
        return _literal(value, get_args(hint), text=text)
    if hint in {object, Any}:
        return value
    if hint is Path:
        return _path(value, folder)
    if text and isinstance(value, str) and hint is not str:
        return MISMATCH if (read := read_scalar(value, hint)) is None else read
    return _scalar(value, hint)


def _literal(value: object, allowed: Sequence[object], *, text: bool) -> object:
    for item in allowed:
        if value == item and isinstance(value, bool) == isinstance(item, bool):
            return item
        if text and value == str(item):
            return item
    return MISMATCH


def _list(value: object, hint: Any, *, text: bool, folder: Path | None) -> object:
    if isinstance(value, str | Path):
        value = [value]
    if not isinstance(value, Sequence) or isinstance(value, bytes):
        return MISMATCH
    items = [read_value(item, hint, text=text, folder=folder) for item in value]
    return MISMATCH if any(item is MISMATCH for item in items) else items


def _dict(value: object, hint: Any, *, text: bool, folder: Path | None) -> object:
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        return MISMATCH
    items = {name: read_value(item, hint, text=text, folder=folder) for name, item in value.items()}
    return MISMATCH if any(item is MISMATCH for item in items.values()) else items


def _path(value: object, folder: Path | None) -> object:
    if not isinstance(value, str | Path) or not str(value) or "\0" in str(value):
        return MISMATCH
    try:
        path = Path(str(value)).expanduser()
    except RuntimeError:
        return MISMATCH
    return path if folder is None else folder / path


def _scalar(value: object, hint: Any) -> object:
    if hint is bool or isinstance(value, bool):
        return value if hint is bool and isinstance(value, bool) else MISMATCH
    if hint is float and isinstance(value, int | float):
        return _finite(value)
    return value if isinstance(value, hint) else MISMATCH


def _finite(value: float) -> object:
    try:
        number = float(value)
    except OverflowError:
        return MISMATCH
    return number if math.isfinite(number) else MISMATCH


# --- words ------------------------------------------------------------------------------------------------------------


def kind(value: object) -> str:
    """Return the type of a value in TOML's terms, never the value."""
    if isinstance(value, bool):
        return "true or false"
    names: tuple[tuple[type | tuple[type, ...], str], ...] = (
        (str, "a string" if value else "an empty string"),
        (int, "an integer"),
        (float, "a number"),
        (Mapping, "a table"),
        ((list, tuple), "a list"),
    )
    return next((name for types, name in names if isinstance(value, types)), type(value).__name__)


def type_name(hint: Any) -> str:
    """Return a hint in words."""
    if get_origin(hint) is Annotated:
        return type_name(hint.__origin__)
    if hint in SCALARS:
        return SCALARS[hint]
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(f'"{item}"' if isinstance(item, str) else str(item) for item in get_args(hint))
    for container, words in ((list, "a list"), (tuple, "a list"), (dict, "a table")):
        if container in {hint, get_origin(hint)}:
            items = [item for item in get_args(hint) if item is not ...] or [None]
            of = _PLURALS.get(get_origin(_bare(items[-1])) or _bare(items[-1]))
            return f"{words} of {of}" if of else words
    return " or ".join(type_name(member) for member in members(hint) if member is not type(None))


def _bare(hint: Any) -> Any:
    return hint.__origin__ if get_origin(hint) is Annotated else hint
