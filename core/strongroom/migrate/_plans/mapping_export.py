"""Read, create and update a mapping file, and tie it to the plan that uses it.

An update keeps the comments of a TOML file, because it appends new tables as text. tomlkit would do the same through a
parsed document, and would replace about 15 lines here and in `mapping_file` with a dependency; tomllib would still be
needed for positions in errors.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from strongroom._config import Config, Rank, Setting
from strongroom.errors import ConfigurationError, MissingFileError, shown
from strongroom.files import private
from strongroom.files.bounded import read_text
from strongroom.migrate._plans.mapping_file import MappingFile, as_json, as_toml, as_toml_tables, parse_json, parse_toml
from strongroom.migrate._plans.plan import PlannedMapping

MAX_SIZE = 1 << 20
"""The largest mapping file that is read, in bytes."""


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


MAPPING_FILE = "mapping_file"
"""The name of the option of importers of variables."""


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
