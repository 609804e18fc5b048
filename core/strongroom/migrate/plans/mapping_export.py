"""The mapping file on disk: read, written anew, and brought up to date with what a person put into it kept."""

from __future__ import annotations

from pathlib import Path

from strongroom.bounded_file import read_text
from strongroom.errors import ConfigurationError
from strongroom.files import private_file
from strongroom.migrate.plans.mapping_file import MappingFile, as_json, as_toml, as_toml_tables, parse_json, parse_toml

MAX_SIZE = 1 << 20
"""The largest mapping file that is read, in bytes."""


def read_mapping(file: Path) -> MappingFile:
    """The mapping of a file: TOML where its name ends in `.toml`, else JSON.

    Raises:
        MissingFileError: there is no such file.
        ConfigurationError: it is no mapping; names the file, the entry and the field.
    """
    text = read_text(file, "The mapping", MAX_SIZE)
    return parse_toml(text, str(file)) if _is_toml(file) else parse_json(text, str(file))


def write_mapping(file: Path, mapping: MappingFile) -> None:
    """Writes the mapping into a new file.

    Raises:
        ConfigurationError: there is something of that name already, or it cannot be written.
    """
    if file.exists() or file.is_symlink():
        raise ConfigurationError(f"{file}: it is there already: --update adds to it, and keeps what you wrote")
    _write(file, as_toml(mapping) if _is_toml(file) else as_json(mapping))


def update_mapping(file: Path, mapping: MappingFile) -> int:
    """Adds what the mapping has and the file says nothing about; returns how many entries those are.

    Entries of the file stay as they are, with their notes and in their order; in TOML its comments do too.

    Raises:
        MissingFileError: there is no such file.
        ConfigurationError: it is no mapping, or cannot be written.
    """
    text = read_text(file, "The mapping", MAX_SIZE)
    before = parse_toml(text, str(file)) if _is_toml(file) else parse_json(text, str(file))
    added = before.missing(mapping)
    if added and _is_toml(file):
        after = f"{text.rstrip()}\n{as_toml_tables(added)}"
        parse_toml(after, str(file))
        _write(file, after)
    elif added:
        _write(file, as_json(before.updated(mapping)))
    return len(added)


def _is_toml(file: Path) -> bool:
    return file.suffix.lower() == ".toml"


def _write(file: Path, text: str) -> None:
    fault = ""
    try:
        private_file.replace(file.absolute(), text.encode())
    except OSError as error:
        fault = error.strerror or "it cannot be written"
    if fault:
        raise ConfigurationError(f"{file}: {fault}")
