"""The mapping file of a migration: which variable goes to which path and key. Pure, and without a value.

It is JSON or TOML, of the same shape. In TOML::

    version = 1

    [variables]
    DATABASE_URL = "database/connection#url"
    REDIS_CONFIG = { to = "cache/redis", split = "json" }        # {"host": …, "port": …} becomes host and port
    "*_API_KEY" = { to = "api-keys/{1}#key", note = "all of them" }
    SENTRY_DSN = ""                                               # to be filled in: not migrated

A name without `*` comes before the patterns, and of those the first that matches counts. `{1}` is what the first `*`
stands for, in lower case, `{2}` the second, and so on.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from strongroom.config.env_names import EnvironmentMapping
from strongroom.errors import ConfigurationError, InvalidDataError, InvalidPathError
from strongroom.files.json_codec import read_json
from strongroom.paths import check_path, parse_reference

VERSION = 1

_FIELDS = ("to", "split", "note")
_SPLITS = ("json",)
_PATTERN = re.compile(r"[A-Za-z_*][A-Za-z0-9_*]*")
_PLACEHOLDER = re.compile(r"\{([0-9]+)\}")
_POSITION = re.compile(r"\(at (line \d+, column \d+|end of document)\)")


class Place(NamedTuple):
    """Where a variable goes: a path, and its key there; None where the value is split into keys of its own."""

    path: str
    key: str | None


@dataclass(frozen=True)
class Entry:
    """One line of the mapping.

    Attributes:
        variable: a variable's name, or a pattern with `*`.
        to: `PATH#KEY`, or `PATH` where the value is split; empty where nobody has decided yet. In it `{1}` stands for
            what the first `*` matched.
        split: "json" where the value is a JSON object whose names are the keys; else empty.
        note: what its author wants to remember.
    """

    variable: str
    to: str = ""
    split: str = ""
    note: str = ""

    def match(self, variable: str) -> Place | None:
        """Where that variable goes by this entry, or None where it is not about it, or not filled in.

        Raises:
            InvalidPathError: what the pattern makes of the name cannot be a path and a key.
        """
        found = self._expression.fullmatch(variable)
        if found is None or not self.to:
            return None
        to = _PLACEHOLDER.sub(lambda mark: found[int(mark[1])].lower(), self.to)
        return Place(check_path(to), None) if self.split else Place(*parse_reference(to))

    def is_about(self, variable: str) -> bool:
        """Whether the entry is the variable's, filled in or not."""
        return self._expression.fullmatch(variable) is not None

    @property
    def _expression(self) -> re.Pattern[str]:
        return re.compile("(.*)".join(map(re.escape, self.variable.split("*"))))

    @property
    def is_pattern(self) -> bool:
        """Whether it may be about several variables."""
        return "*" in self.variable


@dataclass(frozen=True)
class MappingFile:
    """A mapping: its entries, in the order of the file.

    Attributes:
        entries: one for each name or pattern.
        source: the file, for messages.
    """

    entries: tuple[Entry, ...]
    source: str = "the mapping"
    _by_name: Mapping[str, Entry] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_name", {entry.variable: entry for entry in self.entries})

    def entry(self, variable: str) -> Entry | None:
        """The entry that decides on a variable, or None where there is none."""
        if (named := self._by_name.get(variable)) is not None:
            return named
        return next((entry for entry in self.entries if entry.is_pattern and entry.is_about(variable)), None)

    def updated(self, newer: MappingFile) -> MappingFile:
        """This mapping, as it was edited, and after it the entries of the newer one that it says nothing about."""
        return MappingFile((*self.entries, *self.missing(newer)), self.source)

    def missing(self, newer: MappingFile) -> tuple[Entry, ...]:
        """The entries of the newer one for variables that this one says nothing about."""
        return tuple(entry for entry in newer.entries if self.entry(entry.variable) is None)


def current(mapping: EnvironmentMapping, variables: Iterable[str]) -> MappingFile:
    """The mapping as it is without a file: every row, and each of these variables that the table knows.

    Variables that it does not know have an entry to be filled in. What opens a store is never migrated, and has none.
    """
    rows = {variable: f"{path}#{key}" for variable, (path, key) in mapping.rows().items()}
    for variable in sorted(set(variables)):
        if variable in rows or mapping.is_reserved(variable) or not _is_name(variable):
            continue
        place = mapping.locate(variable)
        rows[variable] = "#".join(place) if place else ""
    return MappingFile(tuple(Entry(variable, to) for variable, to in rows.items()))


# --- reading ----------------------------------------------------------------------------------------------------------


def parse_json(text: str, source: str) -> MappingFile:
    """The mapping that the JSON text is.

    Raises:
        ConfigurationError: names `source`, the entry and the field.
    """
    fault = ""
    try:
        return _mapping(read_json(text), source)
    except InvalidDataError as error:
        fault = error.reason
    raise ConfigurationError(f"{source}: {fault}")


def parse_toml(text: str, source: str) -> MappingFile:
    """The mapping that the TOML text is.

    Raises:
        ConfigurationError: as `parse_json` does.
    """
    position = ""
    try:
        document = tomllib.loads(str(text))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        found = _POSITION.search(str(error))
        position = found[1] if found else "somewhere"
    else:
        return _mapping(document, source)
    raise ConfigurationError(f"{source}, {position}: it is not TOML")


def _mapping(document: Any, source: str) -> MappingFile:
    if not isinstance(document, dict):
        raise ConfigurationError(f"{source}: it is no mapping: an object with `version` and `variables`")
    version = document.get("version")
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise ConfigurationError(f"{source}: version: the file must begin with `version`, which is {VERSION}")
    if version > VERSION:
        raise ConfigurationError(f"{source}: version: {version} is of a later Strongroom, this one reads {VERSION}")
    if unknown := document.keys() - {"version", "variables"}:
        raise ConfigurationError(f"{source}: there is no field {min(unknown)}; it is version or variables")
    variables = document.get("variables", {})
    if not isinstance(variables, dict):
        raise ConfigurationError(f"{source}: variables: it is not a table of variables")
    return MappingFile(tuple(_entry(name, said, source) for name, said in variables.items()), source)


def _entry(name: str, said: Any, source: str) -> Entry:
    where = f"{source}: {name if _PATTERN.fullmatch(name) else ascii(name)}"
    if not _PATTERN.fullmatch(name):
        raise ConfigurationError(f"{where}: not the name of a variable: letters, digits and _, and * in a pattern")
    if EnvironmentMapping.is_reserved(name):
        raise ConfigurationError(f"{where}: it is reserved for what opens a store, and is never migrated: take it out")
    fields = {"to": said} if isinstance(said, str) else said
    if not isinstance(fields, dict):
        raise ConfigurationError(f"{where}: it is neither PATH#KEY nor a table with `to`")
    for field_name, value in fields.items():
        if field_name not in _FIELDS:
            raise ConfigurationError(
                f"{where}: there is no field {ascii(field_name)[1:-1]}; it is one of {', '.join(_FIELDS)}"
            )
        if not isinstance(value, str):
            raise ConfigurationError(f"{where}: {field_name}: it is not text")
    entry = Entry(name, **{field_name: str(value) for field_name, value in fields.items()})
    if fault := _fault(entry):
        raise ConfigurationError(f"{where}: {fault}")
    return entry


def _fault(entry: Entry) -> str:  # noqa: PLR0911  # one for each mistake
    """What is wrong with an entry, in words that begin with the field."""
    if entry.split and entry.split not in _SPLITS:
        return f"split: {entry.split!a} is not known: it is {', '.join(_SPLITS)}"
    stars = entry.variable.count("*")
    if wrong := [mark for mark in _PLACEHOLDER.findall(entry.to) if not 1 <= int(mark) <= stars]:
        return f"to: there is no * number {wrong[0]} for {{{wrong[0]}}} to stand for"
    example = _PLACEHOLDER.sub("x", entry.to)
    if not example:
        return ""
    try:
        if entry.split:
            check_path(example)
            return "to: a value that is split has no #KEY: its names are the keys" if "#" in example else ""
        _, key = parse_reference(example)
    except InvalidPathError as error:
        return f"to: {error.reason}"
    if key is None:
        return "to: the #KEY is missing: write PATH#KEY, or split the value"
    if entry.is_pattern and example == entry.to:
        return "to: every variable of the pattern would go to one place: use {1}"
    return ""


def _is_name(variable: str) -> bool:
    return _PATTERN.fullmatch(variable) is not None and "*" not in variable


# --- writing ----------------------------------------------------------------------------------------------------------


def as_json(mapping: MappingFile) -> str:
    """The mapping as JSON, in the order of its entries."""
    variables = {entry.variable: dict(_said(entry)) for entry in mapping.entries}
    return json.dumps({"version": VERSION, "variables": variables}, indent=2, ensure_ascii=False) + "\n"


def as_toml(mapping: MappingFile) -> str:
    """The mapping as TOML, a table for each entry."""
    return f"version = {VERSION}\n{as_toml_tables(mapping.entries)}"


def as_toml_tables(entries: Iterable[Entry]) -> str:
    """The entries alone, to stand below what is in a file already: so that its comments stay."""
    return "".join(f"\n[variables.{_toml_key(entry.variable)}]\n{_toml_fields(entry)}" for entry in entries)


def _said(entry: Entry) -> Iterator[tuple[str, str]]:
    yield "to", entry.to
    if entry.split:
        yield "split", entry.split
    if entry.note:
        yield "note", entry.note


def _toml_key(name: str) -> str:
    return name if _is_name(name) else json.dumps(name)


def _toml_fields(entry: Entry) -> str:
    # A basic string of TOML is one of JSON, where everything odd is escaped: https://toml.io/en/v1.0.0#string
    return "".join(f"{name} = {_toml_string(value)}\n" for name, value in _said(entry))


def _toml_string(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
