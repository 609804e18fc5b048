"""Merging of the sources of a configuration: arguments, variables, the file, ambient variables. Pure."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from os import PathLike
from typing import Any, NamedTuple

from strongroom._config import (
    DOTENV,
    FALLBACKS,
    VAULT,
    VAULT_ADDRESSES,
    VAULT_CREDENTIALS,
    Ambient,
    AuditConfig,
    CacheConfig,
    Config,
    LeftOut,
    LinkConfig,
    Rank,
    SecretConfig,
    Setting,
    StoreConfig,
    setting_hint,
)
from strongroom._config.document import Document, Table
from strongroom._config.file import FileConfig, read_chain, read_settings
from strongroom._config.setting_types import convert
from strongroom._config.variables import Variables, option_variable
from strongroom.errors import ConfigurationError
from strongroom.formats.variables import EnvironmentMapping


class Arguments(NamedTuple):
    """The arguments of the application, as `discovery.load` takes them. None is not set."""

    vault_url: str | Sequence[str] | None = None
    vault_token: str | None = None
    cache_ttl: float | None = None
    disk_cache: bool | None = None
    enable_fallback: bool = True
    chain: Sequence[str | Mapping[str, object]] | None = None
    environment: str | None = None
    audit: str | PathLike[str] | Mapping[str, object] | None = None

    def __repr__(self) -> str:
        return f"Arguments(environment={self.environment!r})"

    def settings(self) -> dict[str, Setting]:
        """Return the settings that belong to no store: see `Config.settings`.

        Raises:
            ConfigurationError: one is not of its type.
        """
        found: dict[str, Setting] = {}
        audit: object = self.audit
        if isinstance(audit, Mapping):
            table = Table(audit, Document("the argument audit", Rank.ARGUMENT))
            found, audit = read_settings("audit", table), None
        elif audit is not None:
            if not isinstance(audit, str | PathLike) or not os.fspath(audit):
                raise ConfigurationError("The argument audit must be a file, or a mapping as [audit] has it")
            audit = str(audit)
        for setting, name, value in (
            ("environment", "environment", self.environment),
            ("cache.ttl", "cache_ttl", self.cache_ttl),
            ("cache.disk", "disk_cache", self.disk_cache),
            ("audit.file", "audit", audit),
        ):
            if value is not None:
                read = convert(value, setting_hint(setting), f"The argument {name}")
                found[setting] = Setting(read, f"the argument {name}", Rank.ARGUMENT)
        return found

    def options(self) -> dict[str, Setting]:
        """Return the options of a Vault store."""
        named = {"url": ("vault_url", self.vault_url), "token": ("vault_token", self.vault_token)}
        return {
            option: Setting(value, f"the argument {name}", Rank.ARGUMENT)
            for option, (name, value) in named.items()
            if value is not None
        }


def build(
    arguments: Arguments,
    variables: Variables,
    file: FileConfig,
    ambient: Sequence[Ambient],
    plugins: Callable[[], Iterable[str]] = tuple,
) -> Config:
    """Merge the sources; the first in this order counts.

    Args:
        arguments: those of the application.
        variables: the STRONGROOM_* variables.
        file: the configuration file, with its environment selected.
        ambient: the process's own variables, then those of `./.env`; production has only the first.
        plugins: returns the names of installed plugins: see `Variables.options`.

    Raises:
        ConfigurationError: a source is wrong, which it names; or an environment is selected that changes nothing.
    """
    # An environment must not silently get development's rules. A chain in code does not depend on the file.
    lenient = not (file.heeds_environment or file.production)
    if file.environment and lenient and arguments.chain is None:
        cause = "is not there: create it, or select no environment"
        if file.exists:
            cause = (
                "has neither environments nor {environment} nor production = true: add one of them, or select no "
                "environment"
            )
        raise ConfigurationError(f"The environment {file.environment} is selected, and {file.source} {cause}")
    argument_stores: dict[str, StoreConfig] = {}
    left_out: LeftOut | None = None
    if arguments.chain is not None:
        table = Table({}, Document("the argument chain", Rank.ARGUMENT))
        production, selected = file.production, file.environment
        chain = read_chain(arguments.chain, table, production=production, environment=selected, stores=argument_stores)
    elif file.chain is not None:
        chain = file.chain
    else:
        chain, left_out = _default_chain(arguments, variables, file, ambient)
    stores = _stores(chain, variables, file, plugins)
    for name, given in argument_stores.items():
        own = stores[name] if given.plugin in {name, stores[name].plugin} else given
        stores[name] = own.with_options(given.options)
    if argument_options := arguments.options():
        vaults = [link.store for link in chain if stores[link.store].plugin == VAULT]
        if not vaults:
            names = " and ".join(given.origin.removeprefix("the argument ") for given in argument_options.values())
            raise ConfigurationError(f"{names} would do nothing: no store in the chain has the plugin {VAULT}")
        stores |= {name: stores[name].with_options(argument_options) for name in vaults}
    if not arguments.enable_fallback:
        chain = tuple(link for link in chain if stores[link.store].plugin not in FALLBACKS)
        if not chain:
            raise ConfigurationError(
                "enable_fallback=False leaves no store in the chain: configure one, or set VAULT_ADDR"
            )
    settings = {**file.settings, **variables.settings, **arguments.settings()}
    return Config(
        environment=file.environment,
        production=file.production,
        timeout=_values(settings, "").get("timeout", Config.timeout),
        chain=chain,
        left_out=left_out,
        stores=stores,
        secrets=file.secrets,
        rotations=file.rotations,
        agents=file.agents,
        helpers=file.helpers,
        cache=CacheConfig(**_values(settings, "cache.")),
        audit=AuditConfig(**_values(settings, "audit.")),
        mapping=_mapping(file),
        ambient=tuple(ambient),
        settings=settings,
    )


def _default_chain(
    arguments: Arguments, variables: Variables, file: FileConfig, ambient: Sequence[Ambient]
) -> tuple[tuple[LinkConfig, ...], LeftOut | None]:
    """Return the default links, and Vault if only the lack of an address keeps it out: a credential of it is set."""
    has_vault = (
        bool(arguments.options())
        or VAULT in file.stores
        or option_variable(VAULT, "url") in variables.stores
        or any(source.values.get(name) for source in ambient for name in VAULT_ADDRESSES)
    )
    names = [VAULT] * has_vault + [name for name in FALLBACKS if not (file.production and name == DOTENV)]
    links = tuple(LinkConfig.default(name, production=file.production) for name in names)
    own = (option_variable(VAULT, option) for option in ("token", "auth"))
    origins = [
        *(f"the environment variable {name}" for name in own if name in variables.stores),
        *(found.origin for source in ambient for name in VAULT_CREDENTIALS if (found := source.setting(name))),
    ]
    if has_vault or not origins:
        return links, None
    hint = f"Set {VAULT_ADDRESSES[-1]}, or unset the credential"
    return links, LeftOut(VAULT, f"{origins[0]} is set without an address", hint)


def _stores(
    chain: Sequence[LinkConfig], variables: Variables, file: FileConfig, plugins: Callable[[], Iterable[str]]
) -> dict[str, StoreConfig]:
    """Every store that is configured, is in the chain, or needs no table, with its variables laid over it."""
    stores = dict(file.stores)
    for link in chain:
        bare = StoreConfig.bare(link.store)
        named = link.settings.get("store")
        stores.setdefault(link.store, bare._replace(origin=f"{named.origin} {link.store}") if named else bare)
    for name in (VAULT, *FALLBACKS):
        stores.setdefault(name, StoreConfig.bare(name))
    # A variable for a store of another environment is allowed, and ignored here.
    for name, options in variables.options({*stores, *file.other_stores}, plugins).items():
        if name in file.other_stores and name not in stores:
            continue
        stores.setdefault(name, StoreConfig.bare(name))
        given = {
            option: Setting(text, f"the environment variable {variable}", Rank.VARIABLE)
            for option, (variable, text) in options.items()
        }
        stores[name] = stores[name].with_options(given)
    return stores


def _values(settings: Mapping[str, Setting], prefix: str) -> dict[str, Any]:
    """Return the values of the settings whose names begin with the prefix, by the rest of their names."""
    return {name.removeprefix(prefix): setting.value for name, setting in settings.items() if name.startswith(prefix)}


def environment_mapping(rows: Mapping[str, SecretConfig], *, derive: bool = True) -> EnvironmentMapping:
    """Return the names of environment variables for the rows of `[secrets]`.

    The variable of a row with `extract` holds a part of the value, so it is not a name of the whole one.

    Raises:
        ConfigurationError: see `EnvironmentMapping`.
    """
    for variable, row in rows.items():
        if row.extract is not None:
            EnvironmentMapping({variable: (row.path, row.key)})  # refuse a name that no variable can have
    return EnvironmentMapping(
        {variable: (row.path, row.key) for variable, row in rows.items() if row.extract is None},
        derive=derive,
        files=[variable for variable, row in rows.items() if row.as_path],
    )


def _mapping(file: FileConfig) -> EnvironmentMapping:
    try:
        return environment_mapping(file.secrets, derive=not file.production)
    except ConfigurationError as error:
        raise ConfigurationError(f"{file.source}: {error}") from None
