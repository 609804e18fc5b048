"""A store of the chain behind its caches: in memory, on disk, and stale during an outage."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import suppress
from contextvars import Context
from functools import partial
from operator import methodcaller
from typing import TYPE_CHECKING, TypeVar

from strongroom._chain.answer import Reading
from strongroom._chain.cache import Ask, MemoryCache, Snapshot
from strongroom._chain.connection import Opener, StoreConnection
from strongroom.errors import (
    AuthenticationError,
    InvalidDataError,
    PermissionDeniedError,
    SecretTooLargeError,
    StoreUnavailableError,
    StrongroomError,
    UnsupportedOperationError,
    WriteOutcomeUnknownError,
)
from strongroom.secret import AgedAbsence, Secret, SensitiveDict
from strongroom.store import in_daemon, remaining
from strongroom.store.deadline import fail_fast

if TYPE_CHECKING:
    from strongroom._boundary.guard import GuardedStore
    from strongroom._config import CacheConfig
    from strongroom._disk_cache.store_cache import StoreCache

logger = logging.getLogger("strongroom.secrets_manager")

_R = TypeVar("_R")

_DENIALS = (PermissionDeniedError, AuthenticationError)
_REFUSALS = (*_DENIALS, InvalidDataError, SecretTooLargeError, StoreUnavailableError, UnsupportedOperationError)
"""Errors of a change that was not made, with one exception: WriteOutcomeUnknownError, a StoreUnavailableError."""

PROBE_PATIENCE = 0.02
"""For how many seconds the one reader that begins a probe waits for its answer before it serves a stale secret."""


class CachedStore:
    """Reads of one store through its caches.

    Args:
        name: the store's name.
        opener: see `StoreConnection`.
        timeout: see `StoreConnection`.
        config: the lifetimes of the cache in memory.
        disk: its part of the disk cache, if it has one.

    Attributes:
        connection: the way to the store.
        memory: the cache in memory.
        forgotten: how often `forget` was called.
        last_probe: the last probe in the background.
    """

    def __init__(
        self, name: str, opener: Opener, timeout: float, config: CacheConfig, disk: StoreCache | None = None
    ) -> None:
        self._name = name
        self.connection = StoreConnection(name, opener, timeout, self._cached_values)
        self.memory = MemoryCache(name, config)
        self._disk = disk
        self._no_disk = disk is None
        self.forgotten = 0
        self._reset_probe()

    def _reset_probe(self) -> None:
        self.last_probe: Future[None] | None = None
        self._probe_lock = threading.RLock()

    def reset(self) -> None:
        """Drop the store, the entries in memory, and reads in progress: the first step in the child of a fork."""
        self.memory.reset()
        self.connection.reset()
        self._reset_probe()

    def close(self) -> None:
        """Close the store, wait for a probe in the background, and empty the cache. Every later call is refused."""
        self.connection.close()
        with self._probe_lock:
            probe = self.last_probe
        if probe is not None and not probe.done():
            wait([probe], min(self.connection.timeout, remaining()))
        self.memory.forget()

    # --- offline ------------------------------------------------------------------------------------------------------

    def go_offline(self, reason: str, *, on_disk: bool) -> None:
        """Let the caches alone answer: see `Link.go_offline`."""
        outage = StoreUnavailableError(reason=reason, store=self._name, hint="Go online for this: it needs the store")
        self.connection.offline = outage.copy(conclusive=False)
        self._no_disk = not on_disk

    def advised(self, error: StrongroomError, path: str) -> StrongroomError:
        """Return the error of a read that a cache may answer; offline, with the advice how that gets an entry."""
        if self.connection.offline is None or not isinstance(error, StoreUnavailableError):
            return error
        if self._no_disk:
            return error.copy(hint="Set `disk = true` in [cache], and read it once while you are online")
        if not self.is_on_disk(path):
            return error
        hint = "The cache on disk has no entry of it that is young enough: read it once while you are online"
        return error.copy(hint=hint)

    # --- cached secrets -----------------------------------------------------------------------------------------------

    def is_on_disk(self, path: str) -> bool:
        """Return True if the disk cache may have the path."""
        return self._disk is not None and self._disk.covers(path)

    def disk_age(self, path: str) -> float | None:
        """Return the age of the entry at `path` in the disk cache, in seconds, or None without an entry."""
        return None if self._disk is None else self._disk.age(path)

    def cached(self, path: str, key: str | None, *, keyed: bool) -> Reading | None:
        """Return the secret that memory has, if it is current.

        Raises:
            AgedAbsence: memory has a confirmed absence.
        """
        snapshot = self.memory.current(path, key)
        if snapshot is None:
            return None
        if keyed and key not in (snapshot.fields or {}):
            return None  # a whole read cannot know every key of this store
        if snapshot.fields is None:
            raise AgedAbsence(path, snapshot.reason, store=self._name).aged(self.memory.age(snapshot))
        return self._unsealed(snapshot)

    def cached_or_stale(
        self, path: str, key: str | None, *, keyed: bool = False, patient: bool = True
    ) -> Reading | None:
        """Return the cached secret. During a known outage a stale secret is returned: a read waits for no slow probe.

        Args:
            path: the path.
            key: the requested key, if any.
            keyed: the key is read by itself.
            patient: look on disk too, and give a probe that it begins a moment to answer, since the outage may be over.
        """
        cached = self.cached(path, key, keyed=keyed)
        if cached is not None or (outage := self.connection.known_outage(path)) is None:
            return cached
        stale = self.stale(path, outage, on_disk=False)
        if stale is None and patient and self._disk is not None:
            current = self._disk.current(path)  # another process may have read it since
            if isinstance(current, AgedAbsence):
                raise current
            if current is not None:
                return Reading.of(current)
            stale = self.stale(path, outage)
        if stale is not None:
            probe = self._begin_probe(path)
            if probe is not None and patient:
                wait([probe], min(PROBE_PATIENCE, remaining()))
                return self.cached(path, key, keyed=keyed) or self.stale(path, outage)  # none after a denial
        return stale

    def stale(self, path: str, outage: StoreUnavailableError, *, on_disk: bool = True) -> Reading | None:
        """Return the secret that this outage may serve, if a cache has one."""
        snapshot = self.memory.stale(path)
        if snapshot is not None:
            return self._unsealed(snapshot, outage)
        secret = self._disk.stale(path) if on_disk and self._disk is not None else None
        return None if secret is None else _stale_reading(secret, outage)

    def _stale_for(self, results: Mapping[str, Reading | StrongroomError]) -> dict[str, Reading]:
        """Return the stale secrets that there are in the place of outages. One look finds all those on disk."""
        outages = {path: result for path, result in results.items() if isinstance(result, StoreUnavailableError)}
        found = {path: stale for path, outage in outages.items() if (stale := self.stale(path, outage, on_disk=False))}
        others = [path for path in outages if path not in found]
        on_disk = self._disk.stale_many(others) if self._disk is not None and others else {}
        return found | {path: _stale_reading(secret, outages[path]) for path, secret in on_disk.items()}

    def _cached_values(self, path: str) -> tuple[SensitiveDict, ...]:
        """Return the secret at `path` if memory has one that an outage may serve."""
        snapshot = self.memory.stale(path)
        data = None if snapshot is None else self.memory.open(snapshot.fields or {})
        return () if data is None else (data,)

    def _unsealed(self, snapshot: Snapshot, outage: StoreUnavailableError | None = None) -> Reading | None:
        data = self.memory.open(snapshot.fields or {})
        if data is None:
            return None
        age, ttl = self.memory.age(snapshot), self.memory.ttl(snapshot)
        ends = snapshot.valid_until
        return Reading(data, snapshot.version, snapshot.created, age, cached=True, outage=outage, ttl=ttl, ends=ends)

    # --- reads through the caches -------------------------------------------------------------------------------------

    def fetch(
        self,
        path: str,
        key: str | None = None,
        *,
        fresh: bool = False,
        insists: bool = False,
        ends: float | None = None,
    ) -> Reading:
        """Return the secret that the store has, or the disk cache; or one key that the store reads by itself.

        Args:
            path: the path.
            key: the key that the store reads by itself.
            fresh: query the store, and join no read in progress.
            insists: query the store, and wait for it: see `StoreConnection.call`.
            ends: when the store must have answered: see `StoreConnection.call`.
        """
        call = partial(self.connection.call, path, reads=True, insists=insists, ends=ends)
        try:
            if key is not None:
                return Reading(SensitiveDict({key: call(lambda store: store.read_key(path, key))}))
            load = partial(call, methodcaller("read", path))
            if self._disk is not None:
                load = partial(self._disk.fetch, path, load, fresh=fresh or insists)
            return Reading.of(self.memory.fetch(path, load, fresh=fresh, insists=insists))
        except _DENIALS:
            self._forget_denied([path])
            raise

    def fetch_many(self, paths: Sequence[str], *, fresh: bool, insists: bool) -> dict[str, Reading | StrongroomError]:
        """Return the result of `fetch` for each path, or a stale secret unless `fresh`. The store reads one batch."""
        answers: dict[str, Secret | StrongroomError] = {}
        ask: Ask = partial(self.connection.read_each, insists=insists)
        if self._disk is not None:
            ask = partial(self._disk.read_each, ask=ask, fresh=fresh or insists)
        try:
            self.memory.fetch_many(paths, ask, answers, fresh=fresh, insists=insists)
        finally:  # also of a batch that is interrupted
            self._forget_denied([path for path, answer in answers.items() if isinstance(answer, _DENIALS)])
        results: dict[str, Reading | StrongroomError] = {
            path: Reading.of(answer) if isinstance(answer, Secret) else answer for path, answer in answers.items()
        }
        if not fresh:
            results.update(self._stale_for(results))
        return results

    def _begin_probe(self, path: str) -> Future[None] | None:
        """Read the path into the cache in the background, if a probe of it is due and none is in progress.

        It has the store's whole timeout, not the caller's time. Its answer or failure is noted as that of any call.
        """
        if self.connection.is_refused(path):
            return None
        with self._probe_lock:
            if self.connection.closed or (self.last_probe is not None and not self.last_probe.done()):
                return None
            try:
                probe = Context().run(in_daemon, partial(self._probe, path), f"strongroom probe of {self._name}")
            except RuntimeError:  # no thread can be started: the process is ending, or has too many
                logger.debug("Store %s is not probed: no thread can be started", self._name)
                return None
            self.last_probe = probe
            return probe

    def _probe(self, path: str) -> None:
        """Read the path into the cache. Every failure has been noted where it was raised."""
        with suppress(StrongroomError), fail_fast():
            self.fetch(path)

    # --- forgetting ---------------------------------------------------------------------------------------------------

    def forget(self, path: str | None = None, *, keeps_stale: bool = False) -> None:
        """Drop `path`, or everything, from the caches in memory and on disk: see `MemoryCache.forget`."""
        self.forgotten += 1
        if self._disk is not None:
            self._disk.forget(path)
        self.memory.forget(path, keeps_stale=keeps_stale)

    def change(self, path: str, operation: Callable[[GuardedStore], _R], store: GuardedStore) -> _R:
        """Return the result of an operation that changes `path`, and drop the path from the caches before and after.

        Until the store has changed it, or may have, memory keeps it for outages.
        """
        self.forget(path, keeps_stale=True)
        changed = True
        try:
            return operation(store)
        except _REFUSALS as error:
            changed = isinstance(error, WriteOutcomeUnknownError) or store.traits.piecewise
            raise
        finally:
            if changed:
                self.forget(path)

    def _forget_denied(self, paths: Sequence[str]) -> None:
        """Drop these from the caches of this login: a later outage must not serve a secret that was denied."""
        if self._disk is not None:
            self._disk.forget_denied(paths)
        for path in paths:
            self.memory.forget(path)


def _stale_reading(secret: Secret, outage: StoreUnavailableError) -> Reading:
    return Reading.of(secret)._replace(outage=outage)
