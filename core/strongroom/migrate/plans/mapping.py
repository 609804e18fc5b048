"""The mapping file of a plan: it is named in the plan, and read again by whoever carries the plan out."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

from strongroom.bounded_file import read_text
from strongroom.config import Config, Given, Rank
from strongroom.errors import ConfigurationError, MissingFileError, shown
from strongroom.migrate.plans.mapping_export import MAX_SIZE
from strongroom.migrate.plans.plan import PlannedMapping

MAPPING_FILE = "mapping_file"
"""The option of the importers of variables."""


def planned_mapping(file: Path) -> PlannedMapping:
    """The mapping file as it is now.

    Raises:
        ConfigurationError: it cannot be read.
    """
    file = file.absolute()
    return PlannedMapping(str(file), _digest(file))


def with_mapping(config: Config, store: str, mapping: PlannedMapping) -> Config:
    """The configuration in which that store reads the mapping file of the plan, or the one of a command line.

    Raises:
        ConfigurationError: it is not what the plan was made with: another mapping would find other secrets.
    """
    about = config.store(store)
    given = about.options.get(MAPPING_FILE)
    if given is None or given.rank < Rank.ARGUMENT:
        given = Given(mapping.file, f"The mapping file {shown(mapping.file)} of the plan", Rank.ARGUMENT)
    file, fault = Path(str(given.value)), ""
    try:
        if _digest(file) != mapping.digest:
            fault = "it was changed since the plan was made. Plan again, or name the file as it was with --mapping-file"
    except MissingFileError:
        fault = "it is not there any more. Name it with --mapping-file, or plan again"
    if fault:
        raise ConfigurationError(f"The mapping file of the plan, {shown(str(file))}: {fault}")
    changed = replace(about, options={**about.options, MAPPING_FILE: given})
    return replace(config, stores={**config.stores, store: changed})


def _digest(file: Path) -> str:
    return hashlib.sha256(read_text(file, "The mapping", MAX_SIZE).encode()).hexdigest()
