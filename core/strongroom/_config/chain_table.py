"""Parsing of the tables of a chain, and of its stores: their plugins and raw options."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from strongroom._config import LINK_TIMEOUT, WATCH_INTERVAL, LinkConfig, OnAnswer, Rank, Setting, StoreConfig
from strongroom._config.document import Table, kind, shown_key
from strongroom.errors import ConfigurationError
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
    links: dict[str, LinkConfig] = {}
    for number, entry in enumerate(chain):
        values = {"store": entry} if isinstance(entry, str) else entry
        name = f"{table.name}.chain[{number}]" if table.name else f"chain[{number}]"
        if not isinstance(values, Mapping):
            raise ConfigurationError(f"{table.source}: {name} must be a store's name or a table, not {kind(values)}")
        link = _link(Table(values, table.source, name), production=production)
        if link.store in links:
            raise ConfigurationError(f"{table.source}: {name}: the store {link.store} is in the chain already")
        links[link.store] = link
    return tuple(links.values())


_LINK_KEYS = ("store", "paths", "timeout", "on_unavailable", "on_denied", "on_missing_key", "watch_interval", "disk")


def split_entry(entry: Mapping[str, object]) -> tuple[dict[str, object], dict[str, object]]:
    """Return the settings of the link, and the plugin and options of its store, of an entry of the argument `chain`."""
    link = {key: value for key, value in entry.items() if key in _LINK_KEYS}
    return link, conceal({key: value for key, value in entry.items() if key not in _LINK_KEYS})


def _link(table: Table, *, production: bool) -> LinkConfig:
    store = table.text("store")
    if store is None:
        table.fail("store", "is missing: a link names its store")
    if not NAME.fullmatch(store):
        table.fail("store", f"is not a store name: {NAME_RULE}")
    strict: OnAnswer = "fail" if production else "next"
    link = LinkConfig(
        store=store,
        paths=table.texts("paths"),
        timeout=table.seconds("timeout", positive=True) or LINK_TIMEOUT,
        on_unavailable=_on_answer(table, "on_unavailable", strict),
        on_denied=_on_answer(table, "on_denied", "fail"),
        on_missing_key=_on_answer(table, "on_missing_key", strict),
        watch_interval=table.seconds("watch_interval", positive=True) or WATCH_INTERVAL,
        disk=table.flag("disk") is not False,
        origins=table.origins(),
    )
    table.close()
    return link


def _on_answer(table: Table, key: str, default: OnAnswer) -> OnAnswer:
    match table.text(key):
        case None:
            return default
        case "next":
            return "next"
        case "fail":
            return "fail"
        case _:
            return table.fail(key, 'must be "next" or "fail"')


_PLACEHOLDER = "{environment}"
_ANY_PLACEHOLDER = r"\{[A-Za-z_]+\}"


def has_placeholder(value: object) -> bool:
    """Return True if the value contains `{environment}` at any depth."""
    if isinstance(value, Mapping):
        return any(map(has_placeholder, value.values()))
    if isinstance(value, list):
        return any(map(has_placeholder, value))
    return isinstance(value, str) and _PLACEHOLDER in value


class OptionReader(NamedTuple):
    """Reads the options of a store from one file.

    Attributes:
        environment: the value of `{environment}`; if None, using it is an error.
        found_file: the file, if it was found in the working directory rather than named.
        folder: the base of relative paths.
    """

    environment: str | None
    found_file: str
    folder: Path | None

    def given(self, table: Table, key: str, value: object, rank: Rank) -> Setting:
        """Return the value of one option."""
        return Setting(self._filled(table, key, value), table.where(key), rank, self.found_file, self.folder)

    def _filled(self, table: Table, key: str, value: Any) -> Any:  # any TOML value
        """Replace `{environment}` in the value at any depth."""
        if isinstance(value, str):
            if _PLACEHOLDER in value and self.environment is None:
                table.fail(key, f"has {_PLACEHOLDER}, and no environment is selected: set STRONGROOM_ENVIRONMENT")
            filled = value.replace(_PLACEHOLDER, self.environment or "")
            # The placeholder is not shown, because it could be a part of a token.
            if re.search(_ANY_PLACEHOLDER, filled):
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


def read_store(name: str, tables: list[tuple[Table, Rank]], reader: OptionReader) -> StoreConfig:
    """Merge the tables of a store; later ones override earlier ones option by option."""
    last = tables[-1][0]
    if not NAME.fullmatch(name):
        raise ConfigurationError(f"{last.source}: [stores] {shown_key(name)}: is not a store name: {NAME_RULE}")
    plugin = name
    options: dict[str, Setting] = {}
    for table, rank in tables:
        plugin = table.text("plugin") or plugin
        options |= {key: reader.given(table, key, value, rank) for key, value in table.rest().items()}
    return StoreConfig(name, plugin, last.where().removesuffix(":"), options)
