"""The format of strongroom.toml: a parsed document and the name of an environment become what the file says."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from strongroom.config import Given, LinkConfig, Rank, SecretConfig, StoreConfig
from strongroom.config.chain import NAME, NAME_RULE, read_chain
from strongroom.config.document import Table, kind, shown, suggest
from strongroom.errors import ConfigurationError, InvalidDataError, InvalidPathError
from strongroom.model import SensitiveDict, SensitiveStr, Value, check_data, check_key, check_path, parse_reference

FORMAT_VERSION = 1
"""The newest `version` of the file that is understood, and the one of a file that says none."""

_PLACEHOLDER = "{environment}"
_ANY_PLACEHOLDER = re.compile(r"\{[A-Za-z_]+\}")
_DURATIONS = ("ttl", "max_stale", "missing_ttl")


@dataclass(frozen=True)
class FileConfig:
    """What one file says, with the selected environment laid over it. A file that is not there says nothing.

    Attributes:
        environment: the selected environment, or None.
        production: whether it is one.
        timeout: seconds, or None where the file says nothing.
        cache: the settings of `[cache]` that it has.
        secrets: variable to what it stands for.
        stores: the stores that have a table.
        chain: the links, or None where the file has no chain.
        source: the file's name, for messages.
    """

    environment: str | None = None
    production: bool = False
    timeout: float | None = None
    cache: Mapping[str, float] = field(default_factory=dict)
    secrets: Mapping[str, SecretConfig] = field(default_factory=dict)
    stores: Mapping[str, StoreConfig] = field(default_factory=dict)
    chain: tuple[LinkConfig, ...] | None = None
    source: str = ""


def read_file(
    document: Mapping[str, object],
    source: str,
    *,
    environment: str | None = None,
    found: bool = False,
    folder: Path | None = None,
) -> FileConfig:
    """What the document says for an environment.

    Args:
        document: the parsed TOML.
        source: the file's name, for messages.
        environment: the environment that an argument or a variable selects; it wins over the file's own.
        found: whether the file was found in the working directory, and not named by anybody.
        folder: what relative paths in it are relative to.

    Raises:
        ConfigurationError: names the file, the table and the key.
    """
    top = Table(document, source)
    version = top.integer("version", 1)
    if version is not None and version > FORMAT_VERSION:
        top.fail("version", f"{version} is a newer format than this Strongroom reads ({FORMAT_VERSION}): upgrade it")
    environment = environment or top.text("environment")
    top.take("environment")
    if environment is not None and not NAME.fullmatch(environment):
        raise ConfigurationError(f"The environment {shown(environment)} is no name: {NAME_RULE}")
    secrets = dict(_secrets(top.table("secrets")))
    levels = [top, *_selected(top, environment)]
    reading = _Options(environment, source if found else "", folder)
    names: dict[str, list[tuple[Table, Rank]]] = {}
    production = False
    timeout: float | None = None
    cache: dict[str, float] = {}
    chains: list[tuple[Table, object]] = []
    for level, rank in zip(levels, (Rank.FILE, Rank.FILE_ENVIRONMENT), strict=False):
        production = (level.flag("production") or False) if "production" in level else production
        timeout = level.seconds("timeout", positive=True) if "timeout" in level else timeout
        cache |= _cache(level.table("cache"))
        chains += [(level, level.take("chain"))] if "chain" in level else []
        for name, table in level.tables("stores").items():
            names.setdefault(name, []).append((table, rank))
    for level in levels:
        level.close()
    return FileConfig(
        environment=environment,
        production=production,
        timeout=timeout,
        cache=cache,
        secrets=secrets,
        stores={name: _store(name, tables, reading) for name, tables in names.items()},
        chain=read_chain(chains[-1][1], chains[-1][0], production=production) if chains else None,
        source=source,
    )


def _selected(top: Table, environment: str | None) -> list[Table]:
    """The table of the environment, in a file that has environments."""
    environments = top.tables("environments")
    if not environments:
        return []
    listed = ", ".join(map(shown, environments))
    if environment is None:
        raise ConfigurationError(
            f"{top.source}: it has environments and none is selected: set STRONGROOM_ENVIRONMENT to one of {listed}"
        )
    if environment not in environments:
        raise ConfigurationError(
            f"{top.source}: it has no environment {environment}; {suggest(environment, environments)}"
        )
    return [environments[environment]]


def _cache(table: Table) -> dict[str, float]:
    found: dict[str, float] = {key: duration for key in _DURATIONS if (duration := table.seconds(key)) is not None}
    entries = table.integer("max_entries", 1)
    table.close()
    return found if entries is None else {**found, "max_entries": entries}


def _secrets(table: Table) -> Iterator[tuple[str, SecretConfig]]:
    for variable, value in table.rest().items():
        if isinstance(value, Mapping):
            row = table.table(variable)
            reference = row.text("at")
            if reference is None:
                row.fail("at", 'is missing: it says where the secret is, as "PATH#KEY"')
            default, required = _default(row), row.flag("required")
            row.close()
            path, key = _place(reference, table, variable)
            yield variable, SecretConfig(path, key, default, default is None if required is None else required)
        elif isinstance(value, str):
            yield variable, SecretConfig(*_place(value, table, variable))
        else:
            table.fail(variable, f'must be "PATH#KEY" or a table with `at`, not {kind(value)}')


def _default(row: Table) -> Value:
    value = row.take("default")
    if value is None:
        return None
    try:
        return check_data("default", {"default": value})["default"]  # type: ignore[dict-item]  # that is what it checks
    except InvalidDataError:
        fault = f"must be a string, number, boolean, list or table, not {kind(value)}"
    return row.fail("default", fault)


def _place(reference: str, table: Table, variable: str) -> tuple[str, str]:
    """`PATH#KEY`; and `PATH/KEY`, where there is no `#`."""
    try:
        path, key = parse_reference(str(reference))
        if key is None:
            path, _, key = path.rpartition("/")
            check_key(key, check_path(path))
    except InvalidPathError as error:
        table.fail(variable, f'must be "PATH#KEY": {error}')
    return path, key


# --- stores -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Options:
    """How the options of a store are read from this file."""

    environment: str | None
    found: str
    folder: Path | None

    def given(self, table: Table, key: str, value: object, rank: Rank) -> Given:
        return Given(self._filled(table, key, value), table.where(key), rank, self.found, self.folder)

    def _filled(self, table: Table, key: str, value: Any) -> Any:  # whatever TOML holds
        """The value with the environment's name in the place of its placeholder, all the way down."""
        if isinstance(value, str):
            if _PLACEHOLDER in value and self.environment is None:
                table.fail(key, f"has {_PLACEHOLDER}, and no environment is selected: set STRONGROOM_ENVIRONMENT")
            filled = value.replace(_PLACEHOLDER, self.environment or "")
            # Which one is not shown: it may be a part of a token.
            if _ANY_PLACEHOLDER.search(filled):
                table.fail(
                    key,
                    f"has a placeholder in braces, and there is only {_PLACEHOLDER}; a text with braces can come "
                    "through { env = … } or { file = … }",
                )
            return SensitiveStr(filled) if filled != value else value
        if isinstance(value, Mapping):
            return SensitiveDict((name, self._filled(table, key, item)) for name, item in value.items())
        if isinstance(value, list):
            return [self._filled(table, key, item) for item in value]
        return value


def _store(name: str, tables: list[tuple[Table, Rank]], reading: _Options) -> StoreConfig:
    """The store's tables laid over each other, the last one on top; an option's own table replaces the one below it."""
    last = tables[-1][0]
    if not NAME.fullmatch(name):
        raise ConfigurationError(f"{last.source}: [stores] {shown(name)}: is no name of a store: {NAME_RULE}")
    plugin = name
    options: dict[str, Given] = {}
    for table, rank in tables:
        plugin = table.text("plugin") or plugin
        options |= {key: reading.given(table, key, value, rank) for key, value in table.rest().items()}
    return StoreConfig(name, plugin, last.where().removesuffix(":"), options)
