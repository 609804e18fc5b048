"""The format of strongroom.toml: converts a parsed document and an environment to a `FileConfig`."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from strongroom._config import (
    TABLES,
    AgentsConfig,
    Config,
    HelperConfig,
    LinkConfig,
    Rank,
    RotationConfig,
    SecretConfig,
    Setting,
    StoreConfig,
)
from strongroom._config.document import Document, Table, listed, shown_key, suggest
from strongroom._config.setting_types import Count, declared, kind
from strongroom.errors import ConfigurationError, InvalidPathError, NewerFormatError, newer_format
from strongroom.paths import check_path
from strongroom.secret import SensitiveDict, SensitiveStr, conceal

FORMAT_VERSION = 1
"""The newest supported `version` of the file, and the default."""

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
"""The name of a store or an environment, which becomes a part of paths and variable names.

A longer name could fill the memory in the place of each `{environment}`.
"""

NAME_RULE = "use letters, digits, '.', '_', '-', at most 128"


class FileConfig(NamedTuple):
    """The settings of one file, merged with those of the selected environment: see `Config`. None is not set.

    Attributes:
        other_stores: the stores with a table in any environment.
        source: the file's name, for messages.
        exists: False if there is no such file.
        heeds_environment: it has environments, or `{environment}` in its stores.
    """

    environment: str | None = None
    production: bool = False
    settings: Mapping[str, Setting] = {}
    secrets: Mapping[str, SecretConfig] = {}
    stores: Mapping[str, StoreConfig] = {}
    rotations: Mapping[str, RotationConfig] = {}
    agents: AgentsConfig = AgentsConfig()
    helpers: tuple[HelperConfig, ...] = ()
    chain: tuple[LinkConfig, ...] | None = None
    other_stores: frozenset[str] = frozenset()
    source: str = ""
    exists: bool = True
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
    if version is not None and isinstance(version.value, int) and version.value > FORMAT_VERSION:
        raise NewerFormatError(f"{source}: {newer_format(version.value, FORMAT_VERSION)}")
    own = top.read(declared(Config, "environment"))
    environment = environment or top.text("environment")
    _check_environment(environment)
    secrets, agents, helpers = _secrets(top), _agents(top), _helpers(top)
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
        agents=agents,
        helpers=helpers,
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
    return FileConfig(environment=environment, source=source, exists=False)


def _check_environment(name: str | None) -> None:
    if name is not None and not NAME.fullmatch(name):
        raise ConfigurationError(f"The environment {shown_key(name)} is not a valid name: {NAME_RULE}")


def _secrets(top: Table) -> Mapping[str, SecretConfig]:
    if "secrets" not in top:
        return {}
    from strongroom._config.secrets_table import read_secrets  # many configurations have no such table

    return read_secrets(top.table("secrets"))


def _agents(top: Table) -> AgentsConfig:
    if "agents" not in top:
        return AgentsConfig()
    from strongroom._config.agents_table import read_agents  # as above

    return read_agents(top.table("agents"))


def _helpers(top: Table) -> tuple[HelperConfig, ...]:
    if "helpers" not in top:
        return ()
    from strongroom._config.helpers_table import read_helpers  # as above

    return read_helpers(top.table("helpers"))


class _Level(NamedTuple):
    """The settings that are allowed at the top and in an environment."""

    table: Table
    settings: Mapping[str, Setting] = {}
    chain: object = None
    stores: Mapping[str, Table] = {}
    rotations: Mapping[str, Table] = {}


def _level(table: Table) -> _Level:
    settings = table.read(declared(Config, "production", "timeout"))
    for name in TABLES:
        settings |= read_settings(name, table.table(name))
    level = _Level(table, settings, table.take("chain"), table.tables("stores"), table.tables("rotation"))
    table.close()
    return level


def read_settings(name: str, table: Table) -> dict[str, Setting]:
    """Return the settings of one of the `TABLES` by their names in `Config.settings`."""
    found = table.read(declared(TABLES[name]))
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


# --- tables of a chain, of stores and of rotations --------------------------------------------------------------------


def read_chain(
    chain: object,
    table: Table,
    *,
    production: bool,
    environment: str | None = None,
    stores: dict[str, StoreConfig] | None = None,
) -> tuple[LinkConfig, ...]:
    """Parse a chain: a list of store names, and of tables with a store name and the policy of the link.

    Args:
        chain: the list.
        table: the table that has it.
        production: the rules of production apply.
        environment: as in `read_store`.
        stores: for the argument `chain`, whose tables may have the plugin and options of a store: a mapping that these
            are added to. With None such keys are refused.

    Raises:
        ConfigurationError: a link is malformed, or a store is in the chain twice. Names the link.
    """
    if not isinstance(chain, Sequence) or isinstance(chain, str | bytes) or not chain:
        table.fail("chain", 'must be a list with at least one link, such as [{ store = "vault" }]')
    source = table.document.name
    links: dict[str, LinkConfig] = {}
    for number, entry in enumerate(chain):
        values = {"store": entry} if isinstance(entry, str) else entry
        name = f"{table.name}.chain[{number}]" if table.name else f"chain[{number}]"
        if not isinstance(values, Mapping):
            raise ConfigurationError(f"{source}: {name} must be a store's name or a table, not {kind(values)}")
        own = Table(conceal(values), table.document, name)
        link = _link(own, production=production)
        if link.store in links:
            raise ConfigurationError(f"{source}: {name}: the store {link.store} is in the chain already")
        links[link.store] = link
        if stores is not None:
            stores[link.store] = read_store(link.store, [own], environment)
        own.close()
    return tuple(links.values())


def _link(table: Table, *, production: bool) -> LinkConfig:
    store = table.text("store")
    if store is None:
        table.fail("store", "is missing: a link names its store")
    if not NAME.fullmatch(store):
        table.fail("store", f"is not a store name: {NAME_RULE}")
    settings = {"store": table.setting("store", store), **table.read(declared(LinkConfig))}
    values: dict[str, Any] = {name: setting.value for name, setting in settings.items()}
    return LinkConfig.default(store, production=production)._replace(**values, settings=settings)


_PLACEHOLDER = "{environment}"
_ANY_PLACEHOLDER = r"(?<!%)\{[A-Za-z_]+\}"  # `%{http_code}` in a script is for curl


def has_placeholder(value: object) -> bool:
    """Return True if the value contains `{environment}` at any depth."""
    if isinstance(value, Mapping):
        return any(map(has_placeholder, value.values()))
    if isinstance(value, list):
        return any(map(has_placeholder, value))
    return isinstance(value, str) and _PLACEHOLDER in value


def read_store(name: str, tables: Sequence[Table], environment: str | None) -> StoreConfig:
    """Merge the tables of a store; later ones override earlier ones option by option.

    Args:
        name: the name of the store.
        tables: its tables.
        environment: the value of `{environment}` in options; if None, using it is an error.
    """
    last = tables[-1]
    if not NAME.fullmatch(name):
        source = last.document.name
        raise ConfigurationError(f"{source}: [stores] {shown_key(name)}: is not a store name: {NAME_RULE}")
    plugin = name
    options: dict[str, Setting] = {}
    for table in tables:
        plugin = table.text("plugin") or plugin
        options |= _options(table, environment)
    return StoreConfig(name, plugin, last.where().removesuffix(":"), options)


def read_rotation(path: str, tables: Sequence[Table], environment: str | None) -> RotationConfig:
    """Merge the tables of one secret's rotation; later ones override earlier ones key by key.

    Args:
        path: the path of the secret.
        tables: its tables.
        environment: as in `read_store`.

    Raises:
        ConfigurationError: the path, the schedule or a setting is malformed. Names the file, the table and the key.
    """
    last = tables[-1]
    try:
        check_path(path)
    except InvalidPathError as error:
        fault = f"is not the path of a secret: {error.reason}"
    else:
        fault = ""
    if fault:
        last.fail("", fault)
    rotator: str | None = None
    settings: dict[str, Any] = {}
    options: dict[str, Setting] = {}
    for table in tables:
        rotator = table.text("rotator") or rotator
        settings |= table.values(declared(RotationConfig))
        options |= _options(table, environment)
    if rotator is None:
        last.fail("rotator", 'is missing: it names a rotator, such as "postgres"')
    if "every" not in settings and ("window" in settings or settings.get("jitter")):
        last.fail("every", 'is missing: `window` and `jitter` need a period such as every = "30d"')
    return RotationConfig(path, StoreConfig(path, rotator, last.where().removesuffix(":"), options), **settings)


def _options(table: Table, environment: str | None) -> dict[str, Setting]:
    """Return the keys of a table that were not read: the options of its plugin."""
    return {key: table.setting(key, _filled(table, key, value, environment)) for key, value in table.rest().items()}


def _filled(table: Table, key: str, value: Any, environment: str | None) -> Any:  # any TOML value
    """Replace `{environment}` in the value at any depth."""
    if isinstance(value, str):
        if _PLACEHOLDER in value and environment is None:
            table.fail(key, f"has {_PLACEHOLDER}, and no environment is selected: set STRONGROOM_ENVIRONMENT")
        filled = value.replace(_PLACEHOLDER, environment or "")
        # The placeholder is not shown, because it could be a part of a token.
        if re.search(_ANY_PLACEHOLDER, filled):
            table.fail(
                key,
                f"has a placeholder in braces, and there is only {_PLACEHOLDER}; a text with braces can come "
                "through { env = … } or { file = … }",
            )
        return SensitiveStr(filled) if filled != value else value
    if isinstance(value, Mapping):
        return SensitiveDict((name, _filled(table, key, item, environment)) for name, item in value.items())
    if isinstance(value, list):
        return [_filled(table, key, item, environment) for item in value]
    return value
