"""Read, create and update a mapping file.

An update keeps the comments of a TOML file, because it appends new tables as text. tomlkit would do the same through a
parsed document, and would replace about 15 lines here and in `mapping_file` with a dependency; tomllib would still be
needed for positions in errors.
"""

from __future__ import annotations

from pathlib import Path

from strongroom.bounded_file import read_text
from strongroom.errors import ConfigurationError
from strongroom.files import private_file
from strongroom.migrate.plans.mapping_file import MappingFile, as_json, as_toml, as_toml_tables, parse_json, parse_toml

MAX_SIZE = 1 << 20
"""The largest mapping file that is read, in bytes."""


def read_mapping(file: Path) -> MappingFile:
    """Return the mapping of a file: TOML if its name ends in `.toml`, otherwise JSON.

    Raises:
        MissingFileError: the file does not exist.
        ConfigurationError: it is not a mapping. The message names the file, the entry and the field.
    """
    text = read_text(file, "The mapping", MAX_SIZE)
    return parse_toml(text, str(file)) if _is_toml(file) else parse_json(text, str(file))


def write_mapping(file: Path, mapping: MappingFile) -> None:
    """Write the mapping to a new file.

    Raises:
        ConfigurationError: the file exists, or cannot be written.
    """
    if file.exists() or file.is_symlink():
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
