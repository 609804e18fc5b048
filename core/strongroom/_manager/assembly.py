"""The parts of a manager: made from its configuration, replaced by those of a substitute, reset after a fork."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeAlias
from weakref import WeakSet, finalize

from strongroom._chain.chain import Chain
from strongroom._chain.link import Link
from strongroom._chain.threads import Threads
from strongroom._manager.declared_secrets import DeclaredTypes
from strongroom.errors import ConfigurationError
from strongroom.store import SecretStore, fork_safe_lock
from strongroom.store.protocols import traits_of

if TYPE_CHECKING:
    from strongroom._config import Config
    from strongroom._disk_cache.store_cache import StoreCache
    from strongroom._watch.watcher import Watcher
    from strongroom.secret import SensitiveDict

ChainEntry: TypeAlias = "str | Mapping[str, object] | SecretStore"

logger = logging.getLogger("strongroom.secrets_manager")

_forked: WeakSet[Chain | Threads] = WeakSet()
"""Reset in the child of a fork. Not the managers: `Versions`, for one, uses these and may outlive its manager."""


class Parts:
    """The parts of a manager.

    Attributes:
        config: its configuration.
        chain: the chain that answers its reads and takes its writes. That of a substitute, while there is one.
        peek: `Chain.peek` of that chain.
        threads: the threads in which its calls run for tasks.
        types: the types and files that `[secrets]` declares.
        replacements: path and key of each value that has a default or is composed.
    """

    def __init__(self, config: Config, links: list[Link], *, sources: str = "") -> None:
        named = {name: row for name, row in config.secrets.items() if row.extract is None}  # others are parts of values
        rows = named.values()
        defaults = {(row.path, row.key): row.default for row in rows if row.default is not None}
        composed = {(row.path, row.key): row.compose for row in rows if row.compose is not None}
        self.config = config
        self.types = DeclaredTypes(named)
        self.replacements = defaults.keys() | composed.keys()
        chain = Chain(
            links,
            timeout=config.timeout,
            defaults=defaults,
            composed=composed,
            sources=sources,
            locate=config.mapping.locate,
            offline=config.offline,
        )
        self._own_chain = chain
        self._own_watcher: Watcher | None = None
        self._closed = False
        self._watching = fork_safe_lock(self, "_watching")
        self.threads = Threads(config.timeout)
        self._end_audit = _audited(config, self)
        _forked.update((chain, self.threads))
        _all.add(self)
        self.answer_like(_substitutes[-1] if _substitutes else self)

    def answer_like(self, other: Parts) -> None:
        """Read, write and watch through the chain of these parts."""
        self._answering = other
        self.chain = other._own_chain  # another of this class
        self.peek = self.chain.peek

    @property
    def watcher(self) -> Watcher:
        """The watches of that chain. Most processes end without one, so it is made at its first use."""
        return self._answering.own_watcher()

    def own_watcher(self) -> Watcher:
        """Return the watches of the chain that was made for these parts."""
        with self._watching:
            if self._own_watcher is None:
                from strongroom._watch.watcher import Watcher

                chain, before = self._own_chain, partial(self.types.follow, self._own_chain.resolve)
                self._own_watcher = Watcher(chain.links, self.config.timeout, before=before)
                if self._closed:
                    self._own_watcher.close()
            return self._own_watcher

    def peek_whole(self, path: str) -> SensitiveDict | None:
        """Return the result of `get_secret(path)` if the first link has the secret in memory, current; else None."""
        if "#" in path or self.types.declares(path):  # it is refused, or has values to convert
            return None
        return self.chain.links[0].cache.whole(path)

    def close(self) -> None:
        """End the watches, close the stores and empty the cache, after the writes of tasks that are in progress."""
        self.threads.finish_writes()
        with self._watching:
            self._closed, watcher = True, self._own_watcher
        if watcher is not None:
            watcher.close()
        self._own_chain.close()
        self.threads.close()
        self.types.close()
        self._end_audit()


def assemble(config: Config, stores: Mapping[str, SecretStore], *, sources: str = "") -> Parts:
    """Return the parts of a manager with this configuration.

    Args:
        config: the configuration.
        stores: stores of the chain that are open already, by name.
        sources: the files that define the chain, in words.

    Raises:
        ConfigurationError, PluginError: a store of the chain is not installed, or its settings are wrong.
    """
    if config.left_out is not None and not _substitutes:
        logger.warning("%s", config.left_out)
        sources = ". ".join(filter(None, (str(config.left_out), sources)))
    disk = _disk_caches(config, stores)
    links = [
        Link(link, _opener(config, link.store, stores), config.cache, disk.get(link.store)) for link in config.chain
    ]
    if config.offline:
        _go_offline(config, links, stores)
    return Parts(config, links, sources=sources)


def _go_offline(config: Config, links: Sequence[Link], stores: Mapping[str, SecretStore]) -> None:
    """Let the caches alone answer for the stores that are not on this machine.

    A local store answers as it always does. It does not answer in the place of another one before it, whose cache lacks
    the path: online, that store may have another value.
    """
    from strongroom import _plugins as plugins

    local_follows = False
    for link in reversed(links):
        store = stores.get(link.name)
        if plugins.ConfiguredPlugin(config, link.name).is_local if store is None else traits_of(store, link.name).local:
            local_follows = True
        else:
            link.go_offline(config.offline, on_disk=config.cache.disk, local_follows=local_follows)


# --- substitution -----------------------------------------------------------------------------------------------------

_all: WeakSet[Parts] = WeakSet()
_substitutes: list[Parts] = []
"""The substitutes of open blocks. The last one counts."""


def substitute(parts: Parts) -> None:
    """Let every manager of the process answer like these parts, until `end_substitute`.

    An application may create its managers anywhere: at import, in a factory, in the code under test. All that are
    alive, and all that are made meanwhile, read and write through the chain of the substitute.
    """
    _substitutes.append(parts)
    for each in list(_all):
        each.answer_like(parts)


def end_substitute(parts: Parts) -> None:
    """End the substitution by these parts. The last of the others counts: blocks of two tasks may overlap."""
    _substitutes.remove(parts)
    for each in list(_all):
        each.answer_like(_substitutes[-1] if _substitutes else each)


# --- stores -----------------------------------------------------------------------------------------------------------


def _opener(config: Config, name: str, stores: Mapping[str, SecretStore]) -> Callable[[], SecretStore]:
    """Return the function that opens a store of the chain: see `plugins.prepare`. An open store is there already.

    While there is a substitute, its settings are resolved when it is opened, which a test does not need: a machine
    for tests may lack the credentials.
    """
    if name in stores:
        return lambda: stores[name]
    from strongroom import _plugins as plugins

    def prepare_and_open() -> SecretStore:
        return plugins.prepare(config, name)()

    return prepare_and_open if _substitutes else plugins.prepare(config, name)


# --- the argument `chain`, which may have open stores -----------------------------------------------------------------


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


def chain_entries(chain: Sequence[ChainEntry], stores: Mapping[str, SecretStore]) -> list[str | Mapping[str, object]]:
    """Return the argument as a configuration file has it: open stores by their names."""
    names = {id(store): name for name, store in stores.items()}
    return [entry if isinstance(entry, str | Mapping) else names[id(entry)] for entry in chain]


# --- disk cache, audit log, fork --------------------------------------------------------------------------------------


def _disk_caches(config: Config, stores: Mapping[str, SecretStore]) -> Mapping[str, StoreCache]:
    if not config.cache.disk or config.cache.ttl <= 0:
        return {}
    from strongroom._disk_cache.store_cache import disk_caches

    return disk_caches(config, stores)


def _audited(config: Config, parts: Parts) -> Callable[[], object]:
    """Begin the audit log that is configured; return the function that ends it. So does the end of the parts."""
    if config.audit.file is None:
        return lambda: None
    from strongroom.audit_log.subscription import begin

    end = finalize(parts, begin(config))
    end.atexit = False
    return end


def _reset_in_child() -> None:
    for part in list(_forked):
        part.reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_in_child)
