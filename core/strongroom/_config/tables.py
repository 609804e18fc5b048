"""Parsing of the tables of a chain, of stores and of rotations: their policies, plugins and raw options. Pure."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from strongroom._config import LinkConfig, RotationConfig, Setting, StoreConfig
from strongroom._config.document import Table, shown_key
from strongroom._config.hints import declared, kind
from strongroom.errors import ConfigurationError, InvalidPathError
from strongroom.paths import check_path
from strongroom.secret import SensitiveDict, SensitiveStr, conceal

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
"""The name of a store or an environment, which becomes a part of paths and variable names.

A longer name could fill the memory in the place of each `{environment}`.
"""

NAME_RULE = "use letters, digits, '.', '_', '-', at most 128"


def read_chain(chain: object, table: Table, *, production: bool) -> tuple[LinkConfig, ...]:
    """Parse a chain: a list of store names, and of tables with a store name and the policy of the link.

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
        link = _link(Table(values, table.document, name), production=production)
        if link.store in links:
            raise ConfigurationError(f"{source}: {name}: the store {link.store} is in the chain already")
        links[link.store] = link
    return tuple(links.values())


def split_entry(entry: Mapping[str, object]) -> tuple[dict[str, object], dict[str, object]]:
    """Return the settings of the link, and the plugin and options of its store, of an entry of the argument `chain`."""
    keys = {"store", *declared(LinkConfig)}
    link = {key: value for key, value in entry.items() if key in keys}
    return link, conceal({key: value for key, value in entry.items() if key not in keys})


def _link(table: Table, *, production: bool) -> LinkConfig:
    store = table.text("store")
    if store is None:
        table.fail("store", "is missing: a link names its store")
    if not NAME.fullmatch(store):
        table.fail("store", f"is not a store name: {NAME_RULE}")
    settings = {"store": table.setting("store", store), **table.read(declared(LinkConfig))}
    table.close()
    values: dict[str, Any] = {name: setting.value for name, setting in settings.items()}
    return LinkConfig.default(store, production=production)._replace(**values, settings=settings)


_PLACEHOLDER = "{environment}"
_ANY_PLACEHOLDER = r"\{[A-Za-z_]+\}"


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
