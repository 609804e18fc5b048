"""Which variables open a store: a command that is given some secrets is not given the key to all of them. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from strongroom.config import Config, OptionValue, Rank
from strongroom.config.variables import option_variable
from strongroom.plugins.coercion import read_json
from strongroom.plugins.option_schema import OptionSchema, Schema

_STORES = "STRONGROOM_STORES_"
_PREFIXES = ("VAULT_", "BAO_")
_NAMES_A_VARIABLE = "_env"  # the end of an entry's name: what it names is read when a store logs in
_CREDENTIAL_WORDS = frozenset(
    {"TOKEN", "TOKENS", "SECRET", "SECRETS", "PASSWORD", "PASSWD", "PASSPHRASE"}
    | {"CREDENTIAL", "CREDENTIALS", "JWT", "UNSEAL"}
)


def without_credentials(variables: Mapping[str, str], config: Config, schemas: Mapping[str, Schema]) -> dict[str, str]:
    """The variables less those that hold what a store is opened with.

    These are the tokens, secret ids and passwords of Vault and OpenBao (`VAULT_TOKEN`, `BAO_SECRET_ID`); what gives
    any plugin an option that is never shown (`VAULT_HEADERS`); every `STRONGROOM_STORES_…` that is not known to be an
    option which may be shown; and what the credentials of a store refer to with `{ env = … }`, or name in an entry such
    as `jwt_env`.

    Args:
        variables: of this process.
        config: the configuration.
        schemas: the schema of each installed plugin.
    """
    shown = {
        option_variable(name, option)
        for name, store in config.stores.items()
        for option, schema in _options(schemas, store.plugin).items()
        if not schema.option.secret
    }
    secret = {*_referred(config, schemas), *_ambient(schemas)}
    return {
        name: value
        for name, value in variables.items()
        if not (_is_vaults(name) or name in secret or (name.startswith(_STORES) and name not in shown))
    }


def _is_vaults(name: str) -> bool:
    name = name.upper()
    return name.startswith(_PREFIXES) and not _CREDENTIAL_WORDS.isdisjoint(name.split("_"))


def _ambient(schemas: Mapping[str, Schema]) -> Iterator[str]:
    """The variables that give a secret option of a plugin by themselves, whether a store of it is configured or not."""
    for schema in schemas.values():
        for about in schema.options.values():
            if about.option.secret:
                yield from about.option.ambient


def _referred(config: Config, schemas: Mapping[str, Schema]) -> Iterator[str]:
    for store in config.stores.values():
        options = _options(schemas, store.plugin)
        for name, given in store.options.items():
            # An option that no schema knows is taken for a secret one.
            if name not in options or options[name].option.secret:
                yield from _names(_value(given))


def _value(given: OptionValue) -> object:
    return read_json(given.value) if given.rank is Rank.VARIABLE and isinstance(given.value, str) else given.value


def _names(value: object) -> Iterator[str]:
    """The variables that an option's value refers to, all the way down."""
    if isinstance(value, Mapping):
        if value.keys() == {"env"} and isinstance(value["env"], str):
            yield str(value["env"])
        else:
            for name, item in value.items():
                if isinstance(name, str) and name.endswith(_NAMES_A_VARIABLE) and isinstance(item, str):
                    yield str(item)
                else:
                    yield from _names(item)
    elif isinstance(value, list):
        for item in value:
            yield from _names(item)


def _options(schemas: Mapping[str, Schema], plugin: str) -> Mapping[str, OptionSchema]:
    return schemas[plugin].options if plugin in schemas else {}
