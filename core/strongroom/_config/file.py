"""The format of strongroom.toml: converts a parsed document and an environment to a `FileConfig`."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from strongroom._config import LinkConfig, Rank, RotationConfig, SecretConfig, StoreConfig
from strongroom._config.chain_table import NAME, NAME_RULE, OptionReader, has_placeholder, read_chain, read_store
from strongroom._config.document import Table, listed, shown_key, suggest
from strongroom.errors import ConfigurationError

FORMAT_VERSION = 1
"""The newest supported `version` of the file, and the default."""

_DURATIONS = ("ttl", "max_stale", "missing_ttl")


class FileConfig(NamedTuple):
    """The settings of one file, merged with those of the selected environment: see `Config`. None is not set.

    Attributes:
        other_stores: the stores with a table in any environment.
        source: the file's name, for messages.
        heeds_environment: it has environments, or `{environment}` in its stores.
        origins: setting to its place in the file; see `Config.origins`.
    """

    environment: str | None = None
    production: bool = False
    timeout: float | None = None
    cache: Mapping[str, Any] = MappingProxyType({})
    audit: Mapping[str, Any] = MappingProxyType({})
    secrets: Mapping[str, SecretConfig] = MappingProxyType({})
    stores: Mapping[str, StoreConfig] = MappingProxyType({})
    rotations: Mapping[str, RotationConfig] = MappingProxyType({})
    chain: tuple[LinkConfig, ...] | None = None
    other_stores: frozenset[str] = frozenset()
    source: str = ""
    heeds_environment: bool = False
    origins: Mapping[str, str] = MappingProxyType({})


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
    top = Table(document, source)
    version = top.integer("version", 1)
    if version is not None and version > FORMAT_VERSION:
        top.fail("version", f"{version} is a newer format than this Strongroom reads ({FORMAT_VERSION}): upgrade it")
    environment = environment or top.text("environment")
    top.take("environment")
    _check_environment(environment)
    secrets = _secrets(top)
    environments = {name: _level(table, folder) for name, table in top.tables("environments").items()}
    _check_selected(environment, environments, source)
    base = _level(top, folder)
    # The other environments are read too, so that a mistake in production's table shows in development.
    for other in environments.values():
        if other.chain is not None:  # that at the top is read below, once
            _chain(base, other)
    level = environments.get(environment or "") or _level(Table({}, source), folder)
    reader = OptionReader(environment, source if found else "", folder)
    return FileConfig(
        environment=environment,
        production=_is_production(base, level),
        timeout=base.timeout if level.timeout is None else level.timeout,
        cache={**base.cache, **level.cache},
        audit={**base.audit, **level.audit},
        secrets=secrets,
        stores={name: read_store(name, tables, reader) for name, tables in _merged(base, level, "stores")},
        rotations=_rotations(base, level, reader),
        chain=_chain(base, level),
        other_stores=frozenset(name for other in environments.values() for name in other.stores),
        source=source,
        heeds_environment=bool(environments) or has_placeholder(document.get("stores")),
        origins={**base.origins, **level.origins},
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
    """The settings that are allowed at the top and in an environment. None is not set."""

    table: Table
    production: bool | None
    timeout: float | None
    cache: Mapping[str, Any]
    audit: Mapping[str, Any]
    chain: object
    stores: Mapping[str, Table]
    rotations: Mapping[str, Table]
    origins: Mapping[str, str]


def _level(table: Table, folder: Path | None) -> _Level:
    cache, audit = table.table("cache"), table.table("audit")
    level = _Level(
        table=table,
        production=table.flag("production"),
        timeout=table.seconds("timeout", positive=True),
        cache=_cache(cache, folder),
        audit=read_audit(audit, folder),
        chain=table.take("chain"),
        stores=table.tables("stores"),
        rotations=table.tables("rotation"),
        origins={**table.origins(), **_origins("cache", cache), **_origins("audit", audit)},
    )
    table.close()
    return level


def _origins(name: str, table: Table) -> dict[str, str]:
    return {f"{name}.{key}": where for key, where in table.origins().items()}


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
    return bool(base.production if level.production is None else level.production)


def _chain(base: _Level, level: _Level) -> tuple[LinkConfig, ...] | None:
    """Return the chain of the environment, or that at the top."""
    owner = base if level.chain is None else level
    if owner.chain is None:
        return None
    return read_chain(owner.chain, owner.table, production=_is_production(base, level))


def _rotations(base: _Level, level: _Level, reader: OptionReader) -> dict[str, RotationConfig]:
    tables = dict(_merged(base, level, "rotations"))
    if not tables:
        return {}
    from strongroom._config.rotation_table import read_rotation

    return {path: read_rotation(path, tables[path], reader) for path in tables}


def _merged(
    base: _Level, level: _Level, name: Literal["stores", "rotations"]
) -> Iterator[tuple[str, list[tuple[Table, Rank]]]]:
    """Yield the tables of each store or rotation: that at the top, then that of the environment."""
    below: Mapping[str, Table] = getattr(base, name)
    above: Mapping[str, Table] = getattr(level, name)
    ranked = (below, Rank.FILE), (above, Rank.FILE_ENVIRONMENT)
    for key in {**below, **above}:
        yield key, [(tables[key], rank) for tables, rank in ranked if key in tables]


def _cache(table: Table, folder: Path | None) -> dict[str, Any]:
    """Return the settings by their names in `CacheConfig`."""
    found: dict[str, Any] = {key: table.seconds(key) for key in _DURATIONS}
    found |= {key: table.integer(key, 1) for key in ("max_entries", "max_bytes")}
    found |= {"disk": table.flag("disk"), "never": table.texts("never") or None}
    found["folder"] = _path(table, "folder", folder)
    table.close()
    return {key: value for key, value in found.items() if value is not None}


def read_audit(table: Table, folder: Path | None) -> dict[str, Any]:
    """Return the settings of `[audit]` by their names in `AuditConfig`."""
    found: dict[str, Any] = {"application": table.text("application"), "max_size": table.integer("max_size", 1 << 16)}
    found |= {key: _path(table, key, folder) for key in ("file", "key_file")}
    for key, allowed in (("on_failure", ("fail", "warn")), ("sync", ("changes", "always", "never"))):
        found[key] = table.text(key)
        if found[key] not in {None, *allowed}:
            table.fail(key, f"must be {' or '.join(map(repr, allowed))}")
    table.close()
    return {key: value for key, value in found.items() if value is not None}


def _path(table: Table, key: str, folder: Path | None) -> Path | None:
    named = table.text(key)
    return None if named is None else Path(folder or "", expand_home(named, table.where(key)))


def expand_home(text: str, where: str) -> Path:
    """Return the file or folder that a setting names.

    Raises:
        ConfigurationError: it is below the home folder of an unknown user.
    """
    try:
        return Path(text).expanduser()
    except RuntimeError:
        pass
    raise ConfigurationError(f"{where.removesuffix(':')}: the home folder is not known")
