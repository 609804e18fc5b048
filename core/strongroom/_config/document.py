"""Documents in TOML: quoting, parsing of a file that a stranger may have written, and reading table by table.

A mistake is an error that names the file, and its position or the table and the key.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, NoReturn, TypeVar, cast

from strongroom._config import Rank, Setting
from strongroom._config.setting_types import Text, convert, kind, plain
from strongroom.errors import ConfigurationError, InvalidPathError, nearest
from strongroom.secret import SensitiveDict, protect_data

_T = TypeVar("_T")

BARE_KEY = r"[A-Za-z0-9_-]+"
"""The pattern of a key that TOML allows without quotes."""
_SHOWN = 1024
"""The longest name that a message shows in full, in characters: that of a path."""
_LISTED = 40

MAX_DOTS = 100
"""The longest dotted key. The parser's time grows with the square of it."""

# Compiled at first use: most processes read no file.
_DOTTED = rf"""(?<![A-Za-z0-9_.-])(?:(?:[A-Za-z0-9_-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){{{MAX_DOTS + 1}}}"""

_REPEATED = r"(Cannot (declare|overwrite|redefine|mutate)|Duplicate) "
"""The beginning of the parser's message for a repeated table or key."""

_POSITION = r"\(at (line \d+, column \d+|end of document)\)"


_REMOVED: Mapping[tuple[str, str], str] = {
    ("cache", "key"): "the root key is a file in the folder of the cache",
}
"""What takes the place of a setting that an earlier release had, by its table. A plugin declares its own options."""


class Document(NamedTuple):
    """The document of a table.

    Attributes:
        name: its name, for messages: a file or an argument.
        rank: the precedence of its settings.
        found_file: as in `Setting`.
        folder: the base of relative paths.
    """

    name: str
    rank: Rank = Rank.FILE
    found_file: str = ""
    folder: Path | None = None


class Table:
    """One table, read key by key. `close` refuses keys that were not read.

    Args:
        values: the table as a TOML parser gives it.
        document: the document of the table.
        name: the table's dotted name; the top table has none.
    """

    def __init__(self, values: Mapping[str, object], document: Document, name: str = "") -> None:
        self._values = values
        self._read: dict[str, None] = {}
        self.document = document
        self.name = name

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def where(self, key: str = "") -> str:
        """Return the file, the table and the key, for a message."""
        named = f"{self.document.name}:", self.name and f"[{self.name}]", shown_key(key)
        return " ".join(part for part in named if part)

    def fail(self, key: str, message: str) -> NoReturn:
        """Raise a ConfigurationError about a key."""
        raise ConfigurationError(f"{self.where(key).removesuffix(':')}: {message}")

    def take(self, key: str) -> object:
        """Return the raw value of a key; None if it is missing."""
        self._read[key] = None
        return self._values.get(key)

    def setting(self, key: str, value: object) -> Setting:
        """Return the value of a key with its origin."""
        _, rank, found_file, folder = self.document
        return Setting(value, self.where(key), rank, found_file, folder)

    def read(self, hints: Mapping[str, Any]) -> dict[str, Setting]:
        """Return the settings with these hints that the table has, in plain types.

        Raises:
            ConfigurationError: a value is not of its hint. Names the file, the table, the key and the hint.
        """
        found: dict[str, Setting] = {}
        for key, hint in hints.items():
            if (value := self.take(key)) is not None:
                read = convert(value, hint, f"{self.where(key)}:", folder=self.document.folder)
                found[key] = self.setting(key, plain(read))
        return found

    def values(self, hints: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values of `read` without their origins."""
        return {key: setting.value for key, setting in self.read(hints).items()}

    def text(self, key: str) -> str | None:
        """Return a non-empty string, or None."""
        return cast("str | None", self.values({key: Text}).get(key))

    def parsed(self, key: str, parse: Callable[[str], _T], text: str, wanted: str = "") -> _T:
        """Return `parse(text)`. Its InvalidPathError or ValueError becomes the fault of the key, after `wanted`."""
        try:
            return parse(text)
        except (InvalidPathError, ValueError) as error:
            fault = str(error)
        return self.fail(key, f"{wanted}{fault}")

    def table(self, key: str) -> Table:
        """Return a table, empty if the key is missing."""
        value = self.take(key)
        if value is None:
            value = {}
        if not isinstance(value, Mapping):
            self.fail(key, f"must be a table, not {kind(value)}")
        return Table(value, self.document, f"{self.name}.{shown_key(key)}" if self.name else shown_key(key))

    def tables(self, key: str) -> dict[str, Table]:
        """Return a table of tables, by name."""
        outer = self.table(key)
        return {name: outer.table(name) for name in outer.rest()}

    def ranked(self, rank: Rank) -> Table:
        """Return the table, unread, with this rank of its settings."""
        return Table(self._values, self.document._replace(rank=rank), self.name)

    def rest(self) -> dict[str, object]:
        """Return the keys that were not read so far, and mark them as read."""
        return {key: self.take(key) for key in self._values if key not in self._read}

    def close(self) -> None:
        """Refuse the first key that was not read."""
        for key in self._values:
            if key not in self._read:
                removed = _REMOVED.get((self.name.rpartition(".")[2], key))
                self.fail(key, f"unknown key; {suggest(key, self._read)}" if removed is None else gone(removed))


def gone(instead: str) -> str:
    """Return the message about a setting of an earlier release."""
    return f"it was removed: {instead}"


def toml_key(name: str) -> str:
    """Return a name as a key of TOML, quoted if it must be."""
    return name if re.fullmatch(BARE_KEY, name) else toml_string(name)


def toml_string(text: str) -> str:
    """Return text as a string of TOML, which is one of JSON with DEL escaped: https://toml.io/en/v1.0.0#string"""
    import json

    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def parse_toml(text: str, source: str) -> SensitiveDict:
    """Parse a TOML document.

    Raises:
        ConfigurationError: names `source` and the position, and shows no content.
    """
    import tomllib

    if dotted := re.search(_DOTTED, text):
        line = text.count("\n", 0, dotted.start()) + 1
        del text, dotted
        raise ConfigurationError(f"{source}, line {line}: a key with more than {MAX_DOTS} dots")
    fault = ""
    reason = "it is not TOML"
    floats: list[object] = []

    def number(digits: str) -> object:
        floats.append(_number(digits))
        return floats[-1]

    try:
        tree = tomllib.loads(str(text), parse_float=number)
        if not floats:
            return protect_data(tree)
        from strongroom.formats.strict_json import TOO_PRECISE, inexact_key

        if (key := inexact_key(tree)) is None:
            return protect_data(tree)
        fault, reason = f"key {key!r}", TOO_PRECISE
        del tree
    except (ValueError, RecursionError) as error:  # TOMLDecodeError, and that of a number of too many digits
        position = re.search(_POSITION, str(error))
        fault = position[1] if position else "somewhere"
        if re.match(_REPEATED, str(error)):
            reason = "a table or a key stands there for the second time"
    # Outside the `except`, and without the parser's message: either may hold content of the file.
    del text
    floats.clear()
    raise ConfigurationError(f"{source}, {fault}: {reason}")


def _number(digits: str) -> object:
    """Return the float that these digits denote, or a mark that no float does."""
    if digits.lstrip("+-") in {"inf", "nan"}:
        return float(digits)
    from strongroom.formats.strict_json import float_or_mark

    return float_or_mark(digits)


def shown_key(key: str) -> str:
    """Return a key for a message: bare if TOML allows it, otherwise quoted, escaped and cut."""
    if not key or re.fullmatch(BARE_KEY, key):
        return key[:_SHOWN]
    return ascii(key[:_SHOWN]) if not key.isprintable() else f'"{key[:_SHOWN]}"'


def listed(names: Sequence[str]) -> str:
    """Return the first `_LISTED` names for a message, and how many more there are."""
    more = f" and {len(names) - _LISTED:,} more" if len(names) > _LISTED else ""
    return f"{', '.join(map(shown_key, names[:_LISTED]))}{more}"


def suggest(name: str, known: Iterable[str], synonyms: Mapping[str, str] = MappingProxyType({})) -> str:
    """Return a suggestion for an unknown name: a near match, if there is one, and the known names.

    Args:
        name: the unknown name.
        known: the known names.
        synonyms: words that others use for a known name, each with that name.
    """
    names = sorted(known)
    near = nearest(name, names, synonyms)
    allowed = f"known here: {listed(names)}" if names else "nothing is known here"
    return allowed if near is None else f'did you mean "{near}"? {allowed}'
