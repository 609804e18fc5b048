"""Environment variables that hold the credentials of stores, and are not passed on to a command."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

from strongroom._boundary.translation import contained
from strongroom._config import Config, Rank, Setting, StoreConfig
from strongroom._config.hints import read_json
from strongroom._config.variables import option_variable
from strongroom._plugins.option_schema import OptionSchema, Schema
from strongroom.store.protocols import traits_of

Schemas: TypeAlias = Mapping[str, Sequence[Schema]]
"""The schemas of the plugins of each name: a store, an importer, an exporter and a rotator may share one."""

_STORES = "STRONGROOM_STORES_"
_PREFIXES = ("VAULT_", "BAO_")
_VARIABLE_SUFFIX = "_env"  # `jwt_env` and the like name a variable that holds a credential
_CREDENTIAL_WORDS = frozenset(
    {"TOKEN", "TOKENS", "SECRET", "SECRETS", "PASSWORD", "PASSWD", "PASSPHRASE"}
    | {"CREDENTIAL", "CREDENTIALS", "JWT", "UNSEAL"}
)


def without_credentials(variables: Mapping[str, str], config: Config, schemas: Schemas) -> dict[str, str]:
    """Return the variables without the credentials of stores.

    Removed are tokens, secret ids and passwords of Vault and OpenBao (`VAULT_TOKEN`, `BAO_SECRET_ID`); variables that
    set a secret option of any plugin (`VAULT_HEADERS`); `STRONGROOM_STORES_…`, except for options that are known not to
    be secret; variables that a secret option of a store or a rotator refers to with `{ env = … }` or an entry such as
    `jwt_env`; and those from which the library of a store in the chain reads credentials (`AWS_SECRET_ACCESS_KEY`).
    """
    public = {
        option_variable(name, option)
        for name, store in config.stores.items()
        for option, found in _options(schemas, store.plugin).items()
        if not any(schema.option.secret for schema in found)
    }
    secret = {*_references(config, schemas), *_ambient(schemas), *_library_variables(config, schemas)}
    return {
        name: value
        for name, value in variables.items()
        if not (_is_vault_credential(name) or name in secret or (name.startswith(_STORES) and name not in public))
    }


def _is_vault_credential(name: str) -> bool:
    name = name.upper()
    return name.startswith(_PREFIXES) and not _CREDENTIAL_WORDS.isdisjoint(name.split("_"))


def _ambient(schemas: Schemas) -> Iterator[str]:
    """Yield the variables that set a secret option of a plugin, even if no such store is configured."""
    for schema in (schema for found in schemas.values() for schema in found):
        for about in schema.options.values():
            if about.option.secret:
                yield from about.option.ambient


def _library_variables(config: Config, schemas: Schemas) -> Iterator[str]:
    """Yield the variables that the stores of the chain declare in their traits, and those that their options imply."""
    for link in config.chain:
        configured = config.store(link.store)
        plugin = configured.plugin
        for store in (store for schema in schemas.get(plugin, ()) for store in schema.stores):
            yield from traits_of(store, f"Plugin {plugin}").credential_variables
        options = _options(schemas, plugin)
        for name, given in configured.options.items():
            for implied in filter(None, (about.option.credential_variables for about in options.get(name, ()))):
                yield from contained(lambda: tuple(implied(_value(given))), plugin)  # noqa: B023  # called here


def _references(config: Config, schemas: Schemas) -> Iterator[str]:
    configured: list[StoreConfig] = [*config.stores.values(), *(row.rotator for row in config.rotations.values())]
    for about in configured:
        options = _options(schemas, about.plugin)
        for name, given in about.options.items():
            # An option that is in no schema counts as secret.
            if name not in options or any(schema.option.secret for schema in options[name]):
                yield from _names(_value(given))


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


def _options(schemas: Schemas, plugin: str) -> Mapping[str, Sequence[OptionSchema]]:
    """Return the schemas of each option of the plugins of that name."""
    found: dict[str, list[OptionSchema]] = {}
    for schema in schemas.get(plugin, ()):
        for name, option in schema.options.items():
            found.setdefault(name, []).append(option)
    return found
