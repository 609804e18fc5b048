"""Environment variables that hold the credentials of stores, and are not passed on to a command."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from strongroom import _plugins as plugins
from strongroom._boundary.translation import guarded
from strongroom._config import Config, Rank, Setting, StoreConfig
from strongroom._config.setting_types import read_json
from strongroom._config.variables import option_variable
from strongroom._plugins.option_schema import OptionSchema, ambient_credentials
from strongroom.store.protocols import traits_of

_STORES = "STRONGROOM_STORES_"
_PREFIXES = ("VAULT_", "BAO_")
_VARIABLE_SUFFIX = "_env"  # `jwt_env` and the like name a variable that holds a credential
_CREDENTIAL_WORDS = frozenset(
    {"TOKEN", "TOKENS", "SECRET", "SECRETS", "PASSWORD", "PASSWD", "PASSPHRASE"}
    | {"CREDENTIAL", "CREDENTIALS", "JWT", "UNSEAL"}
)


def without_credentials(variables: Mapping[str, str], config: Config) -> dict[str, str]:
    """Return the variables without the credentials of stores.

    Removed are tokens, secret ids and passwords of Vault and OpenBao (`VAULT_TOKEN`, `BAO_SECRET_ID`); variables that
    set a secret option of a plugin (`VAULT_HEADERS`); `STRONGROOM_STORES_…`, except for options that are known not to
    be secret; variables that a secret option of a store or a rotator refers to with `{ env = … }` or an entry such as
    `jwt_env`; and those from which the library of a store in the chain reads credentials (`AWS_SECRET_ACCESS_KEY`).

    A plugin is imported only if the configuration uses it and its options decide: this runs before each command.

    Raises:
        PluginError: the import of such a plugin takes too long.
    """
    settings = [name for name in variables if name.startswith(_STORES)]
    secret = {
        *_references(config),
        *plugins.credential_variables(_configured_plugins(config)),
        *_library_variables(config),
        *(set(settings) - _public_settings(config) if settings else ()),
    }
    return {name: value for name, value in variables.items() if not (_is_vault_credential(name) or name in secret)}


def _configured_plugins(config: Config) -> set[str]:
    """Return the names of the plugins of the chain, of the other stores, and of the rotations."""
    chain = (config.store(link.store) for link in config.chain)
    rotators = (row.rotator for row in config.rotations.values())
    return {about.plugin for about in (*chain, *config.stores.values(), *rotators)}


def _is_vault_credential(name: str) -> bool:
    name = name.upper()
    return name.startswith(_PREFIXES) and not _CREDENTIAL_WORDS.isdisjoint(name.split("_"))


def _public_settings(config: Config) -> set[str]:
    """Return the variables of options that are known not to be secret."""
    return {
        option_variable(name, option)
        for name, store in config.stores.items()
        for option, found in _options(store.plugin).items()
        if not any(schema.option.secret for schema in found)
    }


def _library_variables(config: Config) -> Iterator[str]:
    """Yield the variables that the stores of the chain declare in their traits, and those that their options imply.

    Those that set a secret option are among them, if the entry points of the plugin lack one.
    """
    for link in config.chain:
        configured = config.store(link.store)
        plugin = configured.plugin
        for schema in plugins.schemas(plugin):
            yield from ambient_credentials(schema)
            for store in schema.stores:
                yield from traits_of(store, f"Plugin {plugin}").credential_variables
        options = _options(plugin)
        for name, given in configured.options.items():
            for implied in filter(None, (about.option.credential_variables for about in options.get(name, ()))):
                yield from guarded(lambda: tuple(implied(_value(given))), plugin)  # noqa: B023  # called here


def _references(config: Config) -> Iterator[str]:
    configured: list[StoreConfig] = [*config.stores.values(), *(row.rotator for row in config.rotations.values())]
    for about in configured:
        for name, given in about.options.items():
            if names := list(_names(_value(given))):
                known = _options(about.plugin).get(name)
                # An option that is in no schema counts as secret.
                if known is None or any(schema.option.secret for schema in known):
                    yield from names


def _value(given: Setting) -> object:
    return read_json(given.value) if given.rank is Rank.VARIABLE and isinstance(given.value, str) else given.value


def _names(value: object) -> Iterator[str]:
    """Yield the variables that a value refers to, at any depth."""
    if isinstance(value, Mapping):
        if value.keys() == {"env"} and isinstance(value["env"], str):
            yield str(value["env"])
        else:
            for name, item in value.items():
                if isinstance(name, str) and name.endswith(_VARIABLE_SUFFIX) and isinstance(item, str):
                    yield str(item)
                else:
                    yield from _names(item)
    elif isinstance(value, list):
        for item in value:
            yield from _names(item)


def _options(plugin: str) -> Mapping[str, Sequence[OptionSchema]]:
    """Return the schemas of each option of the plugins of that name."""
    found: dict[str, list[OptionSchema]] = {}
    for schema in plugins.schemas(plugin):
        for name, option in schema.options.items():
            found.setdefault(name, []).append(option)
    return found
