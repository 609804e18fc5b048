"""The mapping file of a migration: the path and key of each variable, without values.

It is JSON or TOML of the same shape. In TOML::

    version = 1

    [variables]
    DATABASE_URL = "database/connection#url"
    REDIS_CONFIG = { to = "cache/redis", split = "json" }        # {"host": …, "port": …} becomes host and port
    "*_API_KEY" = { to = "api-keys/{1}#key", note = "all of them" }
    SENTRY_DSN = ""                                               # not filled in: not migrated

A plain name is preferred to patterns, and the first matching pattern counts. `{1}` stands for the text that the first
`*` matched, in lower case, `{2}` for the second, and so on.

An update keeps the comments of a TOML file, because it appends new tables as text. tomlkit would do the same through a
parsed document, and would replace about 15 lines with a dependency; tomllib would still be needed for positions in
errors.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from strongroom._config import Config, Rank, Setting
from strongroom._config import document as toml
from strongroom.errors import (
    ConfigurationError,
    InvalidDataError,
    InvalidPathError,
    MissingFileError,
    NewerFormatError,
    newer_format,
    shown,
)
from strongroom.files import private
from strongroom.files.bounded import read_text
from strongroom.formats.strict_json import read_json
from strongroom.formats.variables import EnvironmentMapping
from strongroom.migrate._plans.plan import PlannedMapping
from strongroom.paths import check_path, parse_reference

VERSION = 1

MAX_SIZE = 1 << 20
"""The largest mapping file that is read, in bytes."""

MAPPING_FILE = "mapping_file"
"""The name of the option of importers of variables."""

_FIELDS = ("to", "split", "note")
_SPLITS = ("json",)
_PATTERN = re.compile(r"[A-Za-z_*][A-Za-z0-9_.*-]*")
"""A name or pattern. A .env file can have names with dots and hyphens, such as those of Spring."""

_DIGITS = 6
_PLACEHOLDER = re.compile(r"\{([0-9]+)\}")


class Destination(NamedTuple):
    """The path and key of a variable. The key is None if the value is split into several keys."""

    path: str
    key: str | None


@dataclass(frozen=True)
class MappingEntry:
    """One entry of the mapping.

    Attributes:
        variable: a variable's name, or a pattern with `*`.
        to: `PATH#KEY`, or `PATH` if the value is split; empty if not filled in. `{1}` stands for the first `*`.
        split: "json" if the value is a JSON object whose names are the keys; otherwise empty.
        note: a comment of the author.
    """

    variable: str
    to: str = ""
    split: str = ""
    note: str = ""

    def match(self, variable: str) -> Destination | None:
        """Return the path and key of a variable, or None if the entry does not match or is not filled in.

        Raises:
            InvalidPathError: the pattern produces an invalid path or key.
        """
        found = self.captures(variable)
        if found is None or not self.to:
            return None
        to = _PLACEHOLDER.sub(lambda mark: found[int(mark[1]) - 1].lower(), self.to)
        return Destination(check_path(to), None) if self.split else Destination(*parse_reference(to))

    def captures(self, variable: str) -> list[str] | None:
        """Return the text that each `*` matched, the first ones as long as possible; None without a match.

        Each piece between two `*` is searched once, from the right: a regular expression would try all combinations.
        """
        first, *pieces = self.variable.split("*")
        if not pieces:
            return [] if variable == first else None
        start, end = len(first), len(variable) - len(pieces[-1])
        if start > end or not (variable.startswith(first) and variable.endswith(pieces[-1])):
            return None
        found: list[str] = []
        for piece in reversed(pieces[:-1]):
            at = variable.rfind(piece, start, end)
            if at < 0:
                return None
            found.append(variable[at + len(piece) : end])
            end = at
        return [variable[start:end], *reversed(found)]

    @property
    def is_pattern(self) -> bool:
        """True if it can match several variables."""
        return "*" in self.variable


@dataclass(frozen=True)
class MappingFile:
    """A mapping: its entries, in the order of the file."""

    entries: tuple[MappingEntry, ...]
    source: str = "the mapping"
    _by_name: Mapping[str, MappingEntry] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_name", {entry.variable: entry for entry in self.entries})

    def entry(self, variable: str) -> MappingEntry | None:
        """Return the entry that decides for a variable, or None."""
        if (named := self._by_name.get(variable)) is not None:
            return named
        return next(
            (entry for entry in self.entries if entry.is_pattern and entry.captures(variable) is not None), None
        )

    def missing(self, newer: MappingFile) -> tuple[MappingEntry, ...]:
        """Return the entries of the newer mapping for variables that this one does not match."""
        return tuple(entry for entry in newer.entries if self.entry(entry.variable) is None)


def current(mapping: EnvironmentMapping, variables: Iterable[str]) -> MappingFile:
    """Return the mapping that applies without a file: every configured row, and each of these variables.

    An unknown variable gets an entry to fill in. Credentials of stores are never migrated, and get none.
    """
    rows = {variable: f"{path}#{key}" for variable, (path, key) in mapping.rows().items()}
    for variable in sorted(set(variables)):
        if variable in rows or mapping.is_reserved(variable) or not _is_name(variable):
            continue
        place = mapping.locate(variable)
        rows[variable] = "#".join(place) if place else ""
    return MappingFile(tuple(MappingEntry(variable, to) for variable, to in rows.items()))


# --- reading ----------------------------------------------------------------------------------------------------------


def parse_json(text: str, source: str) -> MappingFile:
    """Parse a mapping in JSON.

    Raises:
        ConfigurationError: it is invalid. The message names `source`, the entry and the field.
    """
    fault = ""
    try:
        return _mapping(read_json(text), source)
    except InvalidDataError as error:
        fault = error.reason
    raise ConfigurationError(f"{source}: {fault}")


def parse_toml(text: str, source: str) -> MappingFile:
    """Parse a mapping in TOML.

    Raises:
        ConfigurationError: see `parse_json`.
    """
    return _mapping(toml.parse_toml(text, source), source)


def _mapping(document: Any, source: str) -> MappingFile:
    if not isinstance(document, dict):
        raise ConfigurationError(f"{source}: it is not a mapping, which is an object with `version` and `variables`")
    version = document.get("version")
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise ConfigurationError(f"{source}: version: it is missing or invalid, write `version` {VERSION}")
    if version > VERSION:
        raise NewerFormatError(f"{source}: {newer_format(version, VERSION)}")
    if unknown := document.keys() - {"version", "variables"}:
        raise ConfigurationError(f"{source}: unknown field {min(unknown)}, use version or variables")
    variables = document.get("variables", {})
    if not isinstance(variables, dict):
        raise ConfigurationError(f"{source}: variables: it is not a table of variables")
    return MappingFile(tuple(_entry(name, value, source) for name, value in variables.items()), source)


def _entry(name: str, value: Any, source: str) -> MappingEntry:
    where = f"{source}: {name if _PATTERN.fullmatch(name) else ascii(name)}"
    if not _PATTERN.fullmatch(name):
        raise ConfigurationError(f"{where}: not the name of a variable: letters, digits and _.-, and * in a pattern")
    if EnvironmentMapping.is_reserved(name):
        raise ConfigurationError(f"{where}: it is reserved for store credentials, which are never migrated: remove it")
    fields = {"to": value} if isinstance(value, str) else value
    if not isinstance(fields, dict):
        raise ConfigurationError(f"{where}: it is neither PATH#KEY nor a table with `to`")
    for field_name, content in fields.items():
        if field_name not in _FIELDS:
            raise ConfigurationError(
                f"{where}: unknown field {ascii(field_name)[1:-1]}, use one of {', '.join(_FIELDS)}"
            )
        if not isinstance(content, str):
            raise ConfigurationError(f"{where}: {field_name}: it is not text")
    entry = MappingEntry(name, **{field_name: str(content) for field_name, content in fields.items()})
    if fault := _fault(entry):
        raise ConfigurationError(f"{where}: {fault}")
    return entry


def _fault(entry: MappingEntry) -> str:  # noqa: PLR0911  # one for each mistake
    """Return the fault of an entry, beginning with the field, or an empty text."""
    if entry.split and entry.split not in _SPLITS:
        return f"split: {entry.split!a} is unknown, use {', '.join(_SPLITS)}"
    stars = entry.variable.count("*")
    if wrong := [mark for mark in _PLACEHOLDER.findall(entry.to) if len(mark) > _DIGITS or not 1 <= int(mark) <= stars]:
        return f"to: {{{wrong[0][:_DIGITS]}}} has no matching *"
    example = _PLACEHOLDER.sub("x", entry.to)
    if not example:
        return ""
    try:
        if entry.split:
            check_path(example)
            return "to: a split value takes no #KEY, its own names are the keys" if "#" in example else ""
        _, key = parse_reference(example)
    except InvalidPathError as error:
        return f"to: {error.reason}"
    if key is None:
        return "to: the #KEY is missing: write PATH#KEY, or split the value"
    if entry.is_pattern and example == entry.to:
        return "to: all variables of the pattern would get one path and key: use {1}"
    return ""


def _is_name(variable: str) -> bool:
    return _PATTERN.fullmatch(variable) is not None and "*" not in variable


# --- writing ----------------------------------------------------------------------------------------------------------


def as_json(mapping: MappingFile) -> str:
    """Return the mapping as JSON, in the order of its entries."""
    variables = {entry.variable: dict(_fields(entry)) for entry in mapping.entries}
    return json.dumps({"version": VERSION, "variables": variables}, indent=2, ensure_ascii=False) + "\n"


def as_toml(mapping: MappingFile) -> str:
    """Return the mapping as TOML, with a table for each entry."""
    return f"version = {VERSION}\n{as_toml_tables(mapping.entries)}"


def as_toml_tables(entries: Iterable[MappingEntry]) -> str:
    """Return the tables of the entries, to append to an existing file."""
    lines: list[str] = []
    for entry in entries:
        lines.append(f"\n[variables.{toml.toml_key(entry.variable)}]\n")
        lines += (f"{name} = {toml.toml_string(value)}\n" for name, value in _fields(entry))
    return "".join(lines)


def _fields(entry: MappingEntry) -> Iterator[tuple[str, str]]:
    yield "to", entry.to
    if entry.split:
        yield "split", entry.split
    if entry.note:
        yield "note", entry.note


# --- the file ---------------------------------------------------------------------------------------------------------


def read_mapping(file: Path) -> MappingFile:
    """Return the mapping of a file: TOML if its name ends in `.toml`, otherwise JSON.

    Raises:
        MissingFileError: the file does not exist.
        ConfigurationError: it is not a mapping. The message names the file, the entry and the field.
    """
    return _parsed(read_text(file, "The mapping", MAX_SIZE), file)


def write_mapping(file: Path, mapping: MappingFile) -> None:
    """Write the mapping to a new file.

    Raises:
        ConfigurationError: the file exists, or cannot be written.
    """
    if os.path.lexists(file):
        raise ConfigurationError(f"{file}: it exists already: --update adds to it and keeps your entries")
    _write(file, as_toml(mapping) if _is_toml(file) else as_json(mapping))


def update_mapping(file: Path, mapping: MappingFile) -> int:
    """Add the entries that the file lacks, and return their number.

    Existing entries stay in their order, with their notes, and in TOML with comments.

    Raises:
        MissingFileError: the file does not exist.
        ConfigurationError: it is not a mapping, or cannot be written.
    """
    text = read_text(file, "The mapping", MAX_SIZE)
    before = _parsed(text, file)
    added = before.missing(mapping)
    if added and _is_toml(file):
        after = f"{text.rstrip()}\n{as_toml_tables(added)}"
        _parsed(after, file)
        _write(file, after)
    elif added:
        _write(file, as_json(MappingFile((*before.entries, *added), before.source)))
    return len(added)


def _parsed(text: str, file: Path) -> MappingFile:
    return parse_toml(text, str(file)) if _is_toml(file) else parse_json(text, str(file))


def _is_toml(file: Path) -> bool:
    return file.suffix.lower() == ".toml"


def _write(file: Path, text: str) -> None:
    with private.faults_as(ConfigurationError, file):
        private.replace(file.absolute(), text.encode())


def planned_mapping(file: Path) -> PlannedMapping:
    """Return the name and the digest of a mapping file.

    Raises:
        ConfigurationError: it cannot be read.
    """
    file = file.absolute()
    return PlannedMapping(str(file), _digest(file))


def with_mapping(config: Config, store: str, mapping: PlannedMapping) -> Config:
    """Return the configuration in which a store reads the plan's mapping file, or that of the command line.

    Raises:
        ConfigurationError: the file differs from that of the plan, so it would select other secrets.
    """
    about = config.store(store)
    given = about.options.get(MAPPING_FILE)
    if given is None or given.rank < Rank.ARGUMENT:
        given = Setting(mapping.file, f"The mapping file {shown(mapping.file)} of the plan", Rank.ARGUMENT)
    file, fault = Path(str(given.value)), ""
    try:
        if _digest(file) != mapping.digest:
            fault = "it was changed since the plan. Plan again, or name an unchanged copy with --mapping-file"
    except MissingFileError:
        fault = "it no longer exists. Name it with --mapping-file, or plan again"
    if fault:
        raise ConfigurationError(f"The mapping file of the plan, {shown(str(file))}: {fault}")
    return config.with_store(about.with_options({MAPPING_FILE: given}))


def _digest(file: Path) -> str:
    return hashlib.sha256(read_text(file, "The mapping", MAX_SIZE).encode()).hexdigest()
