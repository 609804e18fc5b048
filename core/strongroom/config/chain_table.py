"""Parsing of a chain from the file or from an argument. Both use it, so it has a module."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from strongroom.config import LinkConfig, OnAnswer
from strongroom.config.document import Table, kind
from strongroom.errors import ConfigurationError

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
        timeout=table.seconds("timeout", positive=True) or LinkConfig.timeout,
        on_unavailable=_on_answer(table, "on_unavailable", strict),
        on_denied=_on_answer(table, "on_denied", "fail"),
        on_missing_key=_on_answer(table, "on_missing_key", strict),
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
