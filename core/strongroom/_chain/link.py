"""One link of the chain: its policy, its cache, and how secrets are read and written through both."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import wait
from contextlib import nullcontext, suppress
from datetime import datetime
from functools import partial
from operator import methodcaller
from typing import TYPE_CHECKING, TypeVar

from strongroom._chain.answer import MISSING, Place, Reading, ReadRequest, Result, failed, judged, not_queried
from strongroom._chain.cache import Ask, MemoryCache, Snapshot
from strongroom._chain.connection import Opener, StoreConnection
from strongroom._chain.merge import Merges
from strongroom.errors import (
    Answer,
    Attempt,
    AuthenticationError,
    PermissionDeniedError,
    SecretNotFoundError,
    StoreUnavailableError,
    StrongroomError,
)
from strongroom.secret import AgedAbsence, Secret, SensitiveDict, Version
from strongroom.store import Health, VersionInfo, remaining, required_paths, time_limit
from strongroom.store.deadline import fail_fast, require_paths

if TYPE_CHECKING:
    from strongroom._boundary.guard import GuardedStore
    from strongroom._config import CacheConfig, LinkConfig
    from strongroom._disk_cache.store_cache import StoreCache

_R = TypeVar("_R")

_DENIALS = (PermissionDeniedError, AuthenticationError)

PROBE_PATIENCE = 0.02
"""For how many seconds the one reader that begins a probe waits for its answer before it serves a stale secret."""


class Link:
    """A store's position in the chain, with its policy and its cache.

    Args:
        config: the store's name, the policy for its answers, and the paths it is queried for.
        opener: opens the store; called at first use, inside the deadline, and again in the child of a fork.
        cache: the lifetimes of its cache.
        disk: its part of the disk cache, for a store that is known to be neither local, nor keyed, nor dynamic.

    Attributes:
        position: its position in the chain, from 1.
        missing_ttl: for how many seconds a confirmed absence counts.
        ttl: for how many seconds a secret is served from the cache.
        forgotten: how often `forget` was called.
        cache: its cache in memory.
        connection: the way to the store.
        covers: path -> whether this link is queried for it.
        peek: path and key -> the field as text, if it is cached and current; else None. It is the cache's own method: a
            busy application calls little besides.
    """

    def __init__(self, config: LinkConfig, opener: Opener, cache: CacheConfig, disk: StoreCache | None = None) -> None:
        self.name = config.store
        self.position = 1
        self.policy = config
        self.missing_ttl = cache.missing_ttl
        self.ttl = cache.ttl
        self.forgotten = 0
        self.connection = StoreConnection(self.name, opener, config.timeout, self._cached_values)
        self.cache = MemoryCache(self.name, cache)
        self._disk = disk
        self._followers: tuple[Link, ...] = ()
        self.covers = config.covers
        self._merges = Merges(self)
        self.peek = self.cache.text

    def __repr__(self) -> str:
        return f"Link({self.name!r})"

    def reset(self) -> None:
        """Drop the store, the cache's key and entries, and reads in progress: the first step in the child of a fork.

        The store is not closed: its connections are the parent's, and closing them would end the parent's TLS sessions.
        """
        self.cache.reset()
        self.connection.reset()
        self._merges.reset()

    def set_clock(self, clock: Callable[[], float]) -> None:
        """Take the time of the cache and of the circuit breakers from this clock, in seconds."""
        self.cache.clock = clock
        self.connection.set_clock(clock)

    def join(self, links: Sequence[Link]) -> None:
        """Note the position in these links of a chain.

        Those that follow can answer when this one is unavailable, if its policy allows it.
        """
        index = links.index(self)
        self.position = self.connection.position = index + 1
        self._followers = tuple(links[index + 1 :]) if self.policy.on_unavailable == "next" else ()

    def ends_chain(self, answer: Answer) -> bool:
        """Return True if no later link is queried after this answer, by the policy."""
        match answer:
            case Answer.NOT_FOUND:
                return False
            case Answer.KEY_MISSING:
                return self.policy.on_missing_key != "next"
            case Answer.UNAVAILABLE:
                return self.policy.on_unavailable != "next"
            case Answer.DENIED:
                return self.policy.on_denied != "next"
            case _:
                return True

    # --- reading ------------------------------------------------------------------------------------------------------

    def query(self, path: str, key: str | None, request: ReadRequest) -> Result:
        started = time.monotonic()
        try:
            if not request.allow_dynamic and self._makes(path):
                return not_queried(path, self.name)
            reading = self.read(path, key, fresh=request.fresh)
            if self._missing_key_expired(reading, request):
                reading = self.read(path, key, fresh=True)
        except StrongroomError as error:
            return failed(error, self.name, started)
        return judged(path, self.name, reading, request, started)

    def query_cached(self, path: str, key: str | None, request: ReadRequest) -> Result | None:
        """Return the result of `query` if the cache in memory has the value, and it is current; else None.

        The store is neither opened nor queried.
        """
        started, store = time.monotonic(), self.connection.store
        if store is None and not self._is_on_disk(path):
            return None
        try:
            reading = self._cached(
                path, key, keyed=key is not None and store is not None and "keyed" in store.capabilities
            )
        except AgedAbsence:
            return None
        if reading is None or request.extract(reading.data) is MISSING:
            return None
        return judged(path, self.name, reading, request, started)

    def query_many(
        self, requests: Mapping[Place, ReadRequest], *, each: float | None = None
    ) -> Iterator[tuple[Place, Result]]:
        """Yield the result of `query` for each path and key. One batch reads ahead as much as it can.

        Keys of one path come from one reading, unless the store reads each key by itself.

        Args:
            requests: by path and key, all with the same flags.
            each: the time of the batch, and of each read by itself, in seconds. Then only paths that the store reads in
                bulk are read ahead. By default all paths are, within the caller's time.
        """
        if not requests:
            return
        started = time.monotonic()
        limit = nullcontext if each is None else partial(time_limit, each)
        shared = next(iter(requests.values()))
        places: dict[str, list[Place]] = {}
        for place in requests:
            places.setdefault(place[0], []).append(place)
        with limit():
            read, others = self._read_ahead(places, shared, only_in_bulk=each is not None)
        for path, of_path in places.items():
            found, asked = read.get(path), of_path
            if len(of_path) > 1 and (found is not None or path in others):
                if found is None:
                    started = time.monotonic()
                    with limit():
                        found = self._tried(path, fresh=shared.fresh)
                asked = self._missing_first(of_path, found, requests)
            for place in asked:
                request = requests[place]
                if found is None or (place[1] is not None and self._missing_key_expired(found, request)):
                    with limit():
                        result = self.query(*place, request)
                    if found is not None and isinstance(result[1], Reading):
                        found = result[1]
                elif isinstance(found, StrongroomError):
                    result = failed(found, self.name, started)
                else:
                    result = judged(path, self.name, found, request, started)
                yield place, result

    def _tried(self, path: str, *, fresh: bool) -> Reading | StrongroomError:
        """Return what `read` returns or raises for the whole secret."""
        try:
            return self.read(path, fresh=fresh)
        except StrongroomError as error:
            return error.with_traceback(None)

    def _missing_first(
        self, places: Iterable[Place], found: Reading | StrongroomError, requests: Mapping[Place, ReadRequest]
    ) -> list[Place]:
        """Return the places of one path, those first that need another read: the others come from that too."""
        return sorted(places, key=lambda place: not self._missing_key_expired(found, requests[place]))

    def _read_ahead(
        self, places: Mapping[str, Sequence[Place]], request: ReadRequest, *, only_in_bulk: bool
    ) -> tuple[dict[str, Reading | StrongroomError], Collection[str]]:
        """Return the readings of one batch, and the other paths of which the store reads whole secrets.

        An error of the opening is that of each path that needs it. A path that is in neither is read key by key, or
        must not be read, since that would create a credential.
        """
        read = self._unopened(places)
        store = self.connection.store
        by_key = store is not None and "keyed" in store.capabilities
        whole = [path for path in places if path not in read and not (by_key and places[path][0][1] is not None)]
        if not request.allow_dynamic:
            whole = [path for path in whole if not self.creates(path)]
        if not only_in_bulk:
            return read | self.read_many(whole, fresh=request.fresh), ()
        in_bulk = store is not None and "read_many" in store.operations and "local" not in store.capabilities
        bulk = [path for path in whole if in_bulk or self._is_on_disk(path)]
        if len(bulk) > 1:
            read |= self.read_many(bulk, fresh=request.fresh)
        return read, set(whole).difference(read)

    def _unopened(self, paths: Iterable[str]) -> dict[str, Reading | StrongroomError]:
        """Open the store if a path needs it. If that fails, return the error of each path that does.

        It is opened once for all paths that another link can answer, and after an outage once for the others, which
        wait for it.
        """
        if self.connection.store is not None:
            return {}
        errors: dict[str, Reading | StrongroomError] = {}
        failure: StrongroomError | None = None
        closed = [path for path in paths if not self._is_on_disk(path)]
        for is_followed in (True, False):
            group = [path for path in closed if self._is_followed(path) is is_followed]
            if group and (failure is None or isinstance(failure, StoreUnavailableError)):
                try:
                    self._opened(group[0])
                    failure = None
                except StrongroomError as error:
                    failure = error.with_traceback(None)
            if isinstance(failure, StoreUnavailableError):
                errors |= {path: failure.copy(path=path) for path in group}
            elif failure is not None:
                errors |= {path: failure.copy() for path in group}
        return errors

    def query_version(
        self, path: str, operation: Callable[[GuardedStore], Secret | None]
    ) -> tuple[Attempt, Secret | StrongroomError | None]:
        """Return the version of a secret that the operation reads, past the cache."""
        started = time.monotonic()
        try:
            secret = self.at_store(path, operation)
        except StrongroomError as error:
            return failed(error, self.name, started)
        seconds = time.monotonic() - started
        if secret is None:
            return Attempt(self.name, Answer.NOT_FOUND, "it has no such version", seconds), secret
        return Attempt(self.name, Answer.FOUND, f"found, version {secret.version}", seconds), secret

    def _missing_key_expired(self, reading: Reading | StrongroomError, request: ReadRequest) -> bool:
        """Return True if the cached secret lacks the value and is older than `missing_ttl`: query the store again."""
        if isinstance(reading, StrongroomError) or not reading.cached or reading.stale:
            return False
        return reading.age >= self.missing_ttl and request.extract(reading.data) is MISSING

    def read(self, path: str, key: str | None = None, *, fresh: bool = False) -> Reading:
        """Return the secret at `path`, or the key alone if the store has single-key reads.

        Args:
            path: a checked path.
            key: the requested key, if any. The reading may lack it.
            fresh: query the store, past the cache.

        Raises:
            StoreError: see `GuardedStore.read`. An outage is raised if nothing usable is cached.
        """
        keyed = False
        if not self._is_on_disk(path):  # else the store stays closed until something has to be asked
            store = self._opened(path)
            if "local" in store.capabilities:
                return _read_local(store, path, key)
            keyed = key is not None and "keyed" in store.capabilities
        try:
            if not fresh and (known := self._cached_or_stale(path, key, keyed=keyed)) is not None:
                return known
            with fail_fast(self._has_fallback(path, fresh=fresh)):
                return self._fetch(path, key if keyed else None, fresh=fresh)
        except StoreUnavailableError as error:
            outage = error
        stale = None if fresh else self._stale(path, outage)
        if stale is None:
            raise outage
        return stale

    def _opened(self, path: str) -> GuardedStore:
        if (store := self.connection.store) is not None:
            return store
        with fail_fast(self._is_followed(path)):
            return self.connection.opened(path)

    def _is_followed(self, path: str) -> bool:
        """Return True if another link can answer when this one is unavailable."""
        return any(link.covers(path) for link in self._followers)

    def _has_fallback(self, path: str, *, fresh: bool) -> bool:
        """Return True if another link or a stale secret can answer when the store is unavailable."""
        return self._is_followed(path) or (not fresh and self.cache.stale(path) is not None)

    def _fetch(self, path: str, key: str | None = None, *, fresh: bool = False) -> Reading:
        """Return the secret that the store has, or the disk cache; or one key that the store reads by itself."""
        try:
            if key is not None:
                value = self.connection.call(path, lambda store: store.read_key(path, key), reads=True)
                return Reading(SensitiveDict({key: value}))
            load = partial(self.connection.call, path, methodcaller("read", path), reads=True)
            if self._disk is not None:
                load = partial(self._disk.fetch, path, load, fresh=fresh)
            return Reading.of(self.cache.fetch(path, load, fresh=fresh))
        except _DENIALS:
            self._forget_denied([path])
            raise

    def _is_on_disk(self, path: str) -> bool:
        """Return True if the disk cache may have the path."""
        return self._disk is not None and self._disk.covers(path)

    def _cached_or_stale(
        self, path: str, key: str | None, *, keyed: bool = False, patient: bool = True
    ) -> Reading | None:
        """Return the cached secret. During a known outage it may be stale: nobody waits for a slow probe.

        Args:
            path: the path.
            key: the requested key, if any.
            keyed: the key is read by itself.
            patient: look on disk too, and give a probe that it begins a moment to answer, since the outage may be over.
        """
        cached = self._cached(path, key, keyed=keyed)
        if cached is not None or (outage := self.connection.known_outage(path)) is None:
            return cached
        stale = self._stale(path, outage, on_disk=False)
        if stale is None and patient and self._disk is not None:
            current = self._disk.current(path)  # another process may have read it since
            if isinstance(current, AgedAbsence):
                raise current
            if current is not None:
                return Reading.of(current)
            stale = self._stale(path, outage)
        if stale is not None:
            probe = self.connection.probe(path, partial(self._probe, path))
            if probe is not None and patient:
                wait([probe], min(PROBE_PATIENCE, remaining()))
                return self._cached(path, key, keyed=keyed) or self._stale(path, outage)  # none after a denial
        return stale

    def _probe(self, path: str) -> None:
        """Read the path into the cache, in the background. Every failure has been noted where it was raised."""
        with suppress(StrongroomError), fail_fast():
            self._fetch(path)

    def read_many(self, paths: Iterable[str], *, fresh: bool = False) -> dict[str, Reading | StrongroomError]:
        """Return what `read` would return or raise for each path. Paths that are not cached are read as one batch.

        The link's `timeout` applies to each answer of the batch, not to the whole. The paths that another link or a
        stale secret can answer are a separate batch, which fails fast.
        """
        results: dict[str, Reading | StrongroomError] = {}
        groups: dict[bool, list[str]] = {True: [], False: []}
        for path in paths:
            if (known := self._without_io(path, fresh=fresh)) is not None:
                results[path] = known
            else:
                groups[self._has_fallback(path, fresh=fresh)].append(path)
        for has_fallback, group in groups.items():
            if group:
                with fail_fast(has_fallback):
                    results |= self._read_many(group, fresh=fresh)
        return results

    def _read_many(self, paths: Sequence[str], *, fresh: bool) -> dict[str, Reading | StrongroomError]:
        answers: dict[str, Secret | StrongroomError] = {}
        ask: Ask = self.connection.read_each
        if self._disk is not None:
            ask = partial(self._disk.read_each, ask=ask, fresh=fresh)
        try:
            self.cache.fetch_many(paths, ask, answers, fresh=fresh)
        finally:  # also of a batch that is interrupted
            self._forget_denied([path for path, answer in answers.items() if isinstance(answer, _DENIALS)])
        results: dict[str, Reading | StrongroomError] = {
            path: Reading.of(answer) if isinstance(answer, Secret) else answer for path, answer in answers.items()
        }
        if not fresh:
            results.update(self._stale_for(results))
        return results

    def _stale_for(self, results: Mapping[str, Reading | StrongroomError]) -> dict[str, Reading]:
        """Return the stale secrets that there are in the place of outages. One look finds all those on disk."""
        outages = {path: result for path, result in results.items() if isinstance(result, StoreUnavailableError)}
        found = {path: stale for path, outage in outages.items() if (stale := self._stale(path, outage, on_disk=False))}
        others = [path for path in outages if path not in found]
        on_disk = self._disk.stale_many(others) if self._disk is not None and others else {}
        return found | {path: _stale_reading(secret, outages[path]) for path, secret in on_disk.items()}

    def _without_io(self, path: str, *, fresh: bool) -> Reading | StrongroomError | None:
        """Return the result of a read that needs no service; None if the service has to be queried."""
        try:
            if not self._is_on_disk(path) and "local" in (store := self._opened(path)).capabilities:
                return _read_local(store, path, None)
            return None if fresh else self._cached_or_stale(path, None, patient=False)
        except StrongroomError as error:
            return error

    def _cached(self, path: str, key: str | None, *, keyed: bool) -> Reading | None:
        snapshot = self.cache.current(path, key)
        if snapshot is None:
            return None
        if keyed and key not in (snapshot.fields or {}):
            return None  # a whole read cannot know every key of this store
        if snapshot.fields is None:
            raise AgedAbsence(path, snapshot.reason, store=self.name).aged(self.cache.age(snapshot))
        return self._unsealed(snapshot)

    def _cached_values(self, path: str) -> tuple[SensitiveDict, ...]:
        """Return the secret at `path` if memory has one that an outage may serve."""
        snapshot = self.cache.stale(path)
        data = None if snapshot is None else self.cache.open(snapshot.fields or {})
        return () if data is None else (data,)

    def _stale(self, path: str, outage: StoreUnavailableError, *, on_disk: bool = True) -> Reading | None:
        snapshot = self.cache.stale(path)
        if snapshot is not None:
            return self._unsealed(snapshot, outage)
        secret = self._disk.stale(path) if on_disk and self._disk is not None else None
        return None if secret is None else _stale_reading(secret, outage)

    def _unsealed(self, snapshot: Snapshot, outage: StoreUnavailableError | None = None) -> Reading | None:
        data = self.cache.open(snapshot.fields or {})
        if data is None:
            return None
        age, ttl = self.cache.age(snapshot), self.cache.ttl(snapshot)
        return Reading(data, snapshot.version, snapshot.created, age, cached=True, outage=outage, ttl=ttl)

    def list_entries(self, prefix: str) -> list[str]:
        """Return the names directly below `prefix` that this link is queried for, folders ending in `/`."""
        names = self.connection.call(prefix or None, lambda store: list(store.list_entries(prefix)))
        below = f"{prefix}/" if prefix else ""
        return [
            name
            for name in names
            if (self.policy.may_cover_below(below + name[:-1]) if name.endswith("/") else self.covers(below + name))
        ]

    def walk(self, prefix: str) -> list[str]:
        """Return the path of every secret below `prefix` that this link is queried for, within all remaining time."""
        paths = self.connection.call(prefix or None, lambda store: list(store.walk(prefix)), limit=remaining())
        return [path for path in paths if self.covers(path)]

    def newest_versions(self, paths: Iterable[str]) -> dict[str, VersionInfo | StrongroomError]:
        """Return the newest version or the error of each path; nothing if the store cannot tell without reading.

        An outage of the store is an error of each path.
        """
        store = self.connection.store
        if store is not None and "newest_versions" not in store.operations:
            return {}

        def newest(store: GuardedStore) -> dict[str, VersionInfo | StrongroomError]:
            found: dict[str, VersionInfo | StrongroomError] = (
                {} if "local" in store.capabilities else dict(store.newest_versions(paths))
            )
            outages = [error for error in found.values() if isinstance(error, StoreUnavailableError)]
            if outages and len(outages) == len(found):
                raise outages[0]
            return found

        try:
            return self.connection.call(None, newest)
        except StoreUnavailableError as error:
            return {path: error.copy(path=path) for path in paths}
        except StrongroomError:
            return {}  # a read fails too, and tells which answer it is

    def confirm(self, path: str, version: Version | None, created: datetime | None) -> bool:
        """Note that the store has just confirmed this version, or with None an absence, of a secret: see the cache."""
        return self.cache.confirm(path, version, created)

    def disk_age(self, path: str) -> float | None:
        """Return the age of the entry at `path` in the disk cache, in seconds, or None without an entry."""
        return None if self._disk is None else self._disk.age(path)

    def creates(self, path: str) -> bool:
        """Return True if a read of `path` would create a credential; False if the store fails: a read says why."""
        try:
            return self._makes(path)
        except StrongroomError:
            return False

    def creating(self, paths: Iterable[str]) -> list[str]:
        """Return the paths for which `creates` is True. The store is opened once."""
        paths = list(paths)
        unopened = self._unopened(paths)
        return [path for path in paths if path not in unopened and self.creates(path)]

    def _makes(self, path: str) -> bool:
        return not self._is_on_disk(path) and self._opened(path).makes(path)

    def admit(self, path: str) -> None:
        """Let the next call past a known outage, as a read of `path` is if nobody else can answer it."""
        if not self._is_followed(path):
            self.connection.breaker.hasten()

    def opened(self) -> GuardedStore:
        """Return the store. Opens it, so that an outage is not taken for a capability that it lacks."""
        return self.connection.opened()

    def health(self) -> Health:
        """Probe the store, past cache and breaker, and measure the duration."""
        from strongroom._chain.probe import diagnose  # a read does not need it

        with time_limit(self.policy.timeout), fail_fast(), require_paths(filter(self.covers, required_paths())):
            return diagnose(self.name, lambda: self.connection.open().probe())

    # --- writing ------------------------------------------------------------------------------------------------------

    def write(self, path: str, data: SensitiveDict) -> Version | None:
        return self.at_store(path, lambda store: store.write(path, data), changes="write")

    def delete(self, path: str) -> None:
        self.at_store(path, methodcaller("delete", path), changes="delete")

    def merge(self, path: str, combine: Callable[[Secret | None], SensitiveDict]) -> Version | None:
        return self._merges.merge(path, combine)

    def roll_back(self, path: str, to: Version) -> Version | None:
        """Write the data of an old version, unless another writer comes between."""
        # Read the old version first: a store without versions refuses here, before the secret itself is read.
        old = self.at_store(path, lambda store: store.read_version(path, to))
        newest = self.current(path)
        expected = None if newest is None else newest.version
        return self.at_store(path, lambda store: store.write_if(path, old.data, expected), changes="rollback")

    def at_store(self, path: str, operation: Callable[[GuardedStore], _R], *, changes: str = "") -> _R:
        """Return the operation's result on the store itself, past the cache.

        Args:
            path: the secret's path.
            operation: takes the store.
            changes: the name of the change, if it is one. The cache then forgets the path before, so that nobody joins
                an older read, and after.
        """
        if not changes:
            return self.connection.call(path, operation)
        self.forget(path)
        try:
            return self.connection.call(path, operation, changes=changes)
        finally:
            self.forget(path)

    def current(self, path: str) -> Secret | None:
        """Return the secret that the store holds now, past the cache."""
        try:
            return self.at_store(path, lambda store: store.read(path))
        except SecretNotFoundError:
            return None

    # --- the store ----------------------------------------------------------------------------------------------------

    def forget(self, path: str | None = None) -> None:
        """Drop `path`, or everything, from the caches in memory and on disk."""
        self.forgotten += 1
        if self._disk is not None:
            self._disk.forget(path)
        self.cache.forget(path)

    def _forget_denied(self, paths: Sequence[str]) -> None:
        """Drop these from the caches of this login: a later outage must not serve a secret that was denied."""
        if self._disk is not None:
            self._disk.forget_denied(paths)
        for path in paths:
            self.cache.forget(path)

    def close(self) -> None:
        """Close the store and empty the cache. Every later call is refused."""
        self.connection.close()
        self.cache.forget()


def _read_local(store: GuardedStore, path: str, key: str | None) -> Reading:
    if key is not None and "keyed" in store.capabilities:
        return Reading(SensitiveDict({key: store.read_key(path, key)}))
    return Reading.of(store.read(path))


def _stale_reading(secret: Secret, outage: StoreUnavailableError) -> Reading:
    return Reading.of(secret)._replace(outage=outage)
