"""The format of strongroom.toml: converts a parsed document and an environment to a `FileConfig`."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from strongroom._config import (
    AuditConfig,
    CacheConfig,
    Config,
    LinkConfig,
    Rank,
    RotationConfig,
    SecretConfig,
    Setting,
    StoreConfig,
)
from strongroom._config.document import Document, Table, listed, shown_key, suggest
from strongroom._config.hints import Count, declared
from strongroom._config.tables import NAME, NAME_RULE, has_placeholder, read_chain, read_rotation, read_store
from strongroom.errors import ConfigurationError

FORMAT_VERSION = 1
"""The newest supported `version` of the file, and the default."""


class FileConfig(NamedTuple):
    """The settings of one file, merged with those of the selected environment: see `Config`. None is not set.

    Attributes:
        other_stores: the stores with a table in any environment.
        source: the file's name, for messages.
        heeds_environment: it has environments, or `{environment}` in its stores.
    """

    environment: str | None = None
    production: bool = False
    settings: Mapping[str, Setting] = {}
    secrets: Mapping[str, SecretConfig] = {}
    stores: Mapping[str, StoreConfig] = {}
    rotations: Mapping[str, RotationConfig] = {}
    chain: tuple[LinkConfig, ...] | None = None
    other_stores: frozenset[str] = frozenset()
    source: str = ""
    heeds_environment: bool = False


def read_file(
    document: Mapping[str, object],
    source: str,
    *,
    environment: str | None = None,
    found: bool = False,
    folder: Path | None = None,
) -> FileConfig:
    """Read the settings of a document for an environment.

    Args:
        document: the parsed TOML.
        source: the file's name, for messages.
        environment: the environment that an argument or a variable selects; it overrides the file's own.
        found: the file was found in the working directory rather than named.
        folder: the base of relative paths.

    Raises:
        ConfigurationError: names the file, the table and the key.
    """
    top = Table(document, Document(source, found_file=source if found else "", folder=folder))
    version = top.read({"version": Count}).get("version")
    if version is not None and version.value != FORMAT_VERSION:
        newer = f"{version.value} is a newer format than this Strongroom reads ({FORMAT_VERSION}): upgrade it"
        top.fail("version", newer)
    own = top.read(declared(Config, "environment"))
    environment = environment or top.text("environment")
    _check_environment(environment)
    secrets = _secrets(top)
    environments = {
        name: _level(table.ranked(Rank.FILE_ENVIRONMENT)) for name, table in top.tables("environments").items()
    }
    _check_selected(environment, environments, source)
    base = _level(top)
    # The other environments are read too, so that a mistake in production's table shows in development.
    for other in environments.values():
        if other.chain is not None:  # that at the top is read below, once
            _chain(base, other)
    level = environments.get(environment or "", _Level(top))
    stores, rotations = _merged(base.stores, level.stores), _merged(base.rotations, level.rotations)
    return FileConfig(
        environment=environment,
        production=_is_production(base, level),
        settings={**own, **base.settings, **level.settings},
        secrets=secrets,
        stores={name: read_store(name, tables, environment) for name, tables in stores},
        rotations={path: read_rotation(path, tables, environment) for path, tables in rotations},
        chain=_chain(base, level),
        other_stores=frozenset(name for other in environments.values() for name in other.stores),
        source=source,
        heeds_environment=bool(environments) or has_placeholder(document.get("stores")),
    )


def no_file(source: str, *, environment: str | None = None) -> FileConfig:
    """Return the settings of a file that does not exist: all have their defaults.

    Args:
        source: the file's name, for messages.
        environment: the environment that an argument or a variable selects.

    Raises:
        ConfigurationError: the environment is not a valid name.
    """
    _check_environment(environment)
    return FileConfig(environment=environment, source=source)


def _check_environment(name: str | None) -> None:
    if name is not None and not NAME.fullmatch(name):
        raise ConfigurationError(f"The environment {shown_key(name)} is not a valid name: {NAME_RULE}")


def _secrets(top: Table) -> Mapping[str, SecretConfig]:
    if "secrets" not in top:
        return {}
    from strongroom._config.secrets_table import read_secrets  # many configurations have no such table

    return read_secrets(top.table("secrets"))


class _Level(NamedTuple):
    """The settings that are allowed at the top and in an environment."""

    table: Table
    settings: Mapping[str, Setting] = {}
    chain: object = None
    stores: Mapping[str, Table] = {}
    rotations: Mapping[str, Table] = {}


def _level(table: Table) -> _Level:
    settings = table.read(declared(Config, "production", "timeout"))
    for name, schema in (("cache", CacheConfig), ("audit", AuditConfig)):
        settings |= read_settings(name, table.table(name), schema)
    level = _Level(table, settings, table.take("chain"), table.tables("stores"), table.tables("rotation"))
    table.close()
    return level


def read_settings(name: str, table: Table, schema: type) -> dict[str, Setting]:
    """Return the settings of `[cache]` or `[audit]` by their names in `Config.settings`."""
    found = table.read(declared(schema))
    table.close()
    return {f"{name}.{key}": setting for key, setting in found.items()}


def _check_selected(environment: str | None, environments: Mapping[str, object], source: str) -> None:
    if environments and environment is None:
        raise ConfigurationError(
            f"{source}: it has environments and none is selected: set STRONGROOM_ENVIRONMENT to one of "
            f"{listed(list(environments))}"
        )
    if environments and environment not in environments:
        known = suggest(environment or "", environments)
        raise ConfigurationError(f"{source}: it has no environment {environment}; {known}")


def _is_production(base: _Level, level: _Level) -> bool:
    production = {**base.settings, **level.settings}.get("production")
    return production is not None and production.value is True


def _chain(base: _Level, level: _Level) -> tuple[LinkConfig, ...] | None:
    """Return the chain of the environment, or that at the top."""
    owner = base if level.chain is None else level
    if owner.chain is None:
        return None
    return read_chain(owner.chain, owner.table, production=_is_production(base, level))


def _merged(base: Mapping[str, Table], level: Mapping[str, Table]) -> Iterator[tuple[str, list[Table]]]:
    """Yield the tables of each store or rotation: that at the top, then that of the environment."""
    for name in {**base, **level}:
        yield name, [tables[name] for tables in (base, level) if name in tables]
