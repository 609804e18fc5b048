"""The entries of the argument `chain`, which may be open stores. Separate from the manager: it is about arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

from strongroom.errors import ConfigurationError
from strongroom.store import SecretStore

if TYPE_CHECKING:
    from strongroom.config import Config

ChainEntry: TypeAlias = "str | Mapping[str, object] | SecretStore"


def open_stores(chain: Sequence[ChainEntry]) -> dict[str, SecretStore]:
    """Return the open stores in a chain, by names made of their classes."""
    stores: dict[str, SecretStore] = {}
    for place, entry in enumerate(chain, 1):
        if not isinstance(entry, str | Mapping):
            _check_store(entry, f"The argument chain: entry {place}")
            base = type(entry).__name__.removesuffix("Store").lower() or "store"
            count = sum(name.partition("-")[0] == base for name in stores)
            stores[f"{base}-{count + 1}" if count else base] = entry
    return stores


def _check_store(entry: object, place: str) -> None:
    if isinstance(entry, type) or not isinstance(entry, SecretStore):
        given = f"the class {entry.__name__}" if isinstance(entry, type) else f"of type {type(entry).__name__}"
        raise ConfigurationError(f"{place} is not a store but {given}: give a name, a table or an open store")


def entries(chain: Sequence[ChainEntry], stores: Mapping[str, SecretStore]) -> list[str | Mapping[str, object]]:
    """Return the argument as a configuration file has it: open stores by their names."""
    names = {id(store): name for name, store in stores.items()}
    return [entry if isinstance(entry, str | Mapping) else names[id(entry)] for entry in chain]


def opener(config: Config, name: str, stores: Mapping[str, SecretStore]) -> Callable[[], SecretStore]:
    """Return the function that opens a store of the chain: see `plugins.prepare`. An open store is there already."""
    if name in stores:
        return lambda: stores[name]
    from strongroom import plugins

    return plugins.prepare(config, name)
