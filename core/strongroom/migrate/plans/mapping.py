"""The mapping file of a plan, which names it, and which `apply` reads again."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

from strongroom.bounded_file import read_text
from strongroom.config import Config, OptionValue, Rank
from strongroom.errors import ConfigurationError, MissingFileError, shown
from strongroom.migrate.plans.mapping_export import MAX_SIZE
from strongroom.migrate.plans.plan import PlannedMapping

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
        given = OptionValue(mapping.file, f"The mapping file {shown(mapping.file)} of the plan", Rank.ARGUMENT)
    file, fault = Path(str(given.value)), ""
    try:
        if _digest(file) != mapping.digest:
            fault = "it was changed since the plan. Plan again, or name an unchanged copy with --mapping-file"
    except MissingFileError:
        fault = "it no longer exists. Name it with --mapping-file, or plan again"
    if fault:
        raise ConfigurationError(f"The mapping file of the plan, {shown(str(file))}: {fault}")
    changed = replace(about, options={**about.options, MAPPING_FILE: given})
    return replace(config, stores={**config.stores, store: changed})


def _digest(file: Path) -> str:
    return hashlib.sha256(read_text(file, "The mapping", MAX_SIZE).encode()).hexdigest()
