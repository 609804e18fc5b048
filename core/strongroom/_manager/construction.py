"""How a manager is made from arguments or a configuration, forked and closed; the base of the manager."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NoReturn, Self, TypeAlias
from weakref import WeakSet, finalize

from strongroom._chain.chain import Chain
from strongroom._chain.link import Link
from strongroom._chain.threads import Threads
from strongroom._manager import substitution
from strongroom._manager.arguments import check_flag
from strongroom._manager.declared_types import DeclaredTypes
from strongroom._watch.watcher import Watcher
from strongroom.errors import ConfigurationError
from strongroom.secret import conceal, conceal_deeply
from strongroom.store import SecretStore

if TYPE_CHECKING:
    from pathlib import Path

    from strongroom._config import Config
    from strongroom._disk_cache.store_cache import StoreCache

ChainEntry: TypeAlias = "str | Mapping[str, object] | SecretStore"

_forked: WeakSet[Chain | Threads] = WeakSet()
"""Reset in the child of a fork. Not the managers: `Versions`, for one, uses these and may outlive its manager."""


class ConfiguredManager:
    """A manager with its chain, its watches and its threads. `SecretsManager` has the arguments in its docstring."""

    def __init__(
        self,
        vault_url: str | Sequence[str] | None = None,
        vault_token: str | None = None,
        cache_ttl: float | None = None,
        enable_fallback: bool = True,  # noqa: FBT001, FBT002  # callers pass it by position
        *,
        chain: Sequence[ChainEntry] | None = None,
        environment: str | None = None,
        disk_cache: bool | None = None,
        audit: str | os.PathLike[str] | Mapping[str, object] | None = None,
    ) -> None:
        # From here on no frame holds the token, or a password in an address, in a type whose repr would show it.
        vault_url, vault_token = conceal(vault_url), conceal(vault_token)
        if isinstance(chain, list | tuple):
            chain = [conceal_deeply(entry) if isinstance(entry, Mapping) else entry for entry in chain]
        from strongroom._config import discovery

        check_flag("enable_fallback", enable_fallback)
        if disk_cache is not None:
            check_flag("disk_cache", disk_cache)
        stores = _open_stores(chain or ())
        config = discovery.load(
            environment=environment,
            vault_url=vault_url,
            vault_token=vault_token,
            cache_ttl=cache_ttl,
            disk_cache=disk_cache,
            audit=audit,
            enable_fallback=enable_fallback,
            chain=chain if chain is None or isinstance(chain, str) else _entries(chain, stores),
        )
        self._build(config, stores, sources="" if chain else config.sources)

    @classmethod
    def from_config(
        cls, config: Config | Mapping[str, object] | Path | str | None = None, *, environment: str | None = None
    ) -> Self:
        """Return a manager for a configuration, a file, or the configuration that the process finds.

        Args:
            config: a `Config`, the path of a file, or the content of one as a mapping. None looks in the usual places.
            environment: the environment of the file.

        Raises:
            ConfigurationError: the file or a variable is wrong.
        """
        from pathlib import Path

        from strongroom._config import Config, discovery

        if isinstance(config, Mapping):
            config = discovery.load(document=conceal_deeply(config), environment=environment)
        elif not isinstance(config, Config):
            file = None if config is None else Path(config)
            config = discovery.load(config_file=file, environment=environment)
        manager = cls.__new__(cls)
        manager._build(config, {}, sources=config.sources)  # noqa: SLF001  # the other constructor
        return manager

    def _build(self, config: Config, stores: Mapping[str, SecretStore], *, sources: str = "") -> None:
        disk = _disk_caches(config, stores)
        links = [
            Link(link, _opener(config, link.store, stores), config.cache, disk.get(link.store)) for link in config.chain
        ]
        defaults = {(s.path, s.key): s.default for s in config.secrets.values() if s.default is not None}
        self._types = DeclaredTypes(config.secrets.values())
        composed = {(s.path, s.key): s.compose for s in config.secrets.values() if s.compose is not None}
        self._replacements = defaults.keys() | composed.keys()
        chain = Chain(links, timeout=config.timeout, defaults=defaults, composed=composed, sources=sources)
        self._own = chain, Watcher(links, config.timeout)
        self._chain, self._watcher = self._own
        self._peek = chain.peek
        self._threads = Threads(config.timeout)
        self._config = config
        self._end_audit = _audited(config, self)
        _forked.update((chain, self._threads))
        substitution.add(self)

    def _answer_like(self, other: ConfiguredManager | None) -> None:
        """Read and write through the chain of another manager; None ends that."""
        self._chain, self._watcher = self._own if other is None else other._own  # noqa: SLF001  # another of this class
        self._peek = self._chain.peek

    def __repr__(self) -> str:
        return f"SecretsManager({getattr(self, '_chain', '')!r})"  # a traceback may show one that was not made

    def __reduce__(self) -> NoReturn:
        """Refuse `copy` and `pickle`: the copy would have the same connections, locks and key."""
        raise TypeError("A SecretsManager cannot be copied or pickled: share it, or make another one")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def config(self) -> Config:
        """The configuration of this manager."""
        return self._config

    def close(self) -> None:
        """End every watch, close every store and empty the cache. Every later call is refused.

        Writes of async functions that are in progress are made before.
        """
        chain, watcher = self._own
        self._threads.finish_writes()
        watcher.close()
        chain.close()
        self._threads.close()
        self._end_audit()


# --- the argument chain, which may have open stores -------------------------------------------------------------------


def _open_stores(chain: Sequence[ChainEntry]) -> dict[str, SecretStore]:
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


def _entries(chain: Sequence[ChainEntry], stores: Mapping[str, SecretStore]) -> list[str | Mapping[str, object]]:
    """Return the argument as a configuration file has it: open stores by their names."""
    names = {id(store): name for name, store in stores.items()}
    return [entry if isinstance(entry, str | Mapping) else names[id(entry)] for entry in chain]


def _opener(config: Config, name: str, stores: Mapping[str, SecretStore]) -> Callable[[], SecretStore]:
    """Return the function that opens a store of the chain: see `plugins.prepare`. An open store is there already.

    In the block of an `override`, its settings are resolved when it is opened, which the block does not need: a machine
    for tests may lack the credentials.
    """
    if name in stores:
        return lambda: stores[name]
    from strongroom import _plugins as plugins

    def prepare_and_open() -> SecretStore:
        return plugins.prepare(config, name)()

    return prepare_and_open if substitution.is_active() else plugins.prepare(config, name)


# --- disk cache, audit log, fork --------------------------------------------------------------------------------------


def _disk_caches(config: Config, stores: Mapping[str, SecretStore]) -> Mapping[str, StoreCache]:
    if not config.cache.disk or config.cache.ttl <= 0:
        return {}
    from strongroom._manager.disk import disk_caches

    return disk_caches(config, stores)


def _audited(config: Config, manager: ConfiguredManager) -> Callable[[], object]:
    """Begin the audit log that is configured; return the function that ends it. A manager that is dropped does too."""
    if config.audit.file is None:
        return lambda: None
    from strongroom.audit_log.subscription import begin

    end = finalize(manager, begin(config))
    end.atexit = False
    return end


def _reset_in_child() -> None:
    for part in list(_forked):
        part.reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_in_child)
