"""Reading a configuration document table by table: a mistake is an error that names the file, the table and the key."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NoReturn

from strongroom import durations
from strongroom.errors import ConfigurationError

BARE_KEY = r"[A-Za-z0-9_-]+"
"""The pattern of a key that TOML allows without quotes."""
_SHOWN = 1024
"""The longest name that a message shows in full, in characters: that of a path."""
_LISTED = 40


class Table:
    """One table, read key by key. `close` refuses keys that were not read.

    Args:
        values: the table as a TOML parser gives it.
        source: the name of the document, for messages: a file or an argument.
        name: the table's dotted name; the top table has none.
    """

    def __init__(self, values: Mapping[str, object], source: str, name: str = "") -> None:
        self._values = values
        self._read: dict[str, None] = {}
        self.source = source
        self.name = name

    def __repr__(self) -> str:
        return f"Table({self.where()!r})"

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def where(self, key: str = "") -> str:
        """Return the file, the table and the key, for a message."""
        return " ".join(part for part in (f"{self.source}:", self.name and f"[{self.name}]", shown_key(key)) if part)

    def fail(self, key: str, message: str) -> NoReturn:
        """Raise a ConfigurationError about a key."""
        raise ConfigurationError(f"{self.where(key).removesuffix(':')}: {message}")

    def origins(self) -> dict[str, str]:
        """Return the place of each key, for messages."""
        return {key: self.where(key) for key in self._values}

    def take(self, key: str) -> object:
        """Return the raw value of a key; None if it is missing."""
        self._read[key] = None
        return self._values.get(key)

    def text(self, key: str) -> str | None:
        """Return a non-empty string, or None."""
        value = self.take(key)
        if value is None or (isinstance(value, str) and value):
            return value if value is None else str(value)
        return self.fail(key, f"must be a string that is not empty, not {kind(value)}")

    def flag(self, key: str) -> bool | None:
        """Return a boolean, or None."""
        value = self.take(key)
        if value is None or isinstance(value, bool):
            return value
        return self.fail(key, f"must be true or false, not {kind(value)}")

    def integer(self, key: str, least: int) -> int | None:
        """Return an integer, `least` or more, or None."""
        value = self.take(key)
        if value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= least):
            return value
        return self.fail(key, f"must be a whole number, {least} or more")

    def seconds(self, key: str, *, positive: bool = False) -> float | None:
        """Return a duration in seconds, or None."""
        value = self.take(key)
        if value is None:
            return None
        duration = durations.parse_duration(value)
        if duration is None:
            self.fail(key, f"must be {durations.ALLOWED}")
        if positive and duration == 0:
            self.fail(key, "must be more than zero")
        return duration

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list of non-empty strings, empty if the key is missing."""
        value = self.take(key)
        if value is None:
            return ()
        if not isinstance(value, list | tuple) or not all(isinstance(item, str) and item for item in value):
            self.fail(key, "must be a list of strings")
        return tuple(map(str, value))

    def table(self, key: str) -> Table:
        """Return a table, empty if the key is missing."""
        value = self.take(key)
        if value is None:
            value = {}
        if not isinstance(value, Mapping):
            self.fail(key, f"must be a table, not {kind(value)}")
        return Table(value, self.source, f"{self.name}.{shown_key(key)}" if self.name else shown_key(key))

    def tables(self, key: str) -> dict[str, Table]:
        """Return a table of tables, by name."""
        outer = self.table(key)
        return {name: outer.table(name) for name in outer.rest()}

    def rest(self) -> dict[str, object]:
        """Return the keys that were not read so far, and mark them as read."""
        return {key: self.take(key) for key in self._values if key not in self._read}

    def close(self) -> None:
        """Refuse the first key that was not read."""
        for key in self._values:
            if key not in self._read:
                self.fail(key, f"unknown key; {suggest(key, self._read)}")


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


def shown_key(key: str) -> str:
    """Return a key for a message: bare if TOML allows it, otherwise quoted, escaped and cut."""
    if not key or re.fullmatch(BARE_KEY, key):
        return key[:_SHOWN]
    return ascii(key[:_SHOWN]) if not key.isprintable() else f'"{key[:_SHOWN]}"'


def listed(names: Sequence[str]) -> str:
    """Return the first `_LISTED` names for a message, and how many more there are."""
    more = f" and {len(names) - _LISTED:,} more" if len(names) > _LISTED else ""
    return f"{', '.join(map(shown_key, names[:_LISTED]))}{more}"


def suggest(name: str, known: Iterable[str]) -> str:
    """Return a suggestion for an unknown name: a near match, if there is one, and the known names."""
    import difflib

    names = sorted(known)
    near = difflib.get_close_matches(name.lower(), names, n=1)
    allowed = f"known here: {listed(names)}" if names else "nothing is known here"
    return f'did you mean "{near[0]}"? {allowed}' if near else allowed
