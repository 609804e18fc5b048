"""One link of the chain: its policy, its cache, and how secrets are read and written through both."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from strongroom._chain.answer import MISSING, Place, Reading, ReadRequest, Result, failed, judged, not_queried
from strongroom._chain.cached_store import CachedStore
from strongroom._chain.connection import Opener, ends_in_time
from strongroom._chain.writes import Writes
from strongroom.errors import Answer, Attempt, StoreUnavailableError, StrongroomError
from strongroom.secret import AgedAbsence, Secret, SensitiveDict
from strongroom.store import Health, VersionInfo, fails_fast, required_paths, time_limit
from strongroom.store.deadline import fail_fast, opening_for, require_paths

if TYPE_CHECKING:
    from strongroom._boundary.guard import GuardedStore
    from strongroom._config import CacheConfig, LinkConfig
    from strongroom._disk_cache.store_cache import StoreCache

_R = TypeVar("_R")

_OPEN = nullcontext()
"""Surrounds the read of a store that is open."""


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
        cache: its cache in memory.
        connection: the way to the store.
        writes: the writes to it.
        forget: drops a path, or everything, from its caches in memory and on disk.
        disk_age: path -> the age of its entry in the disk cache, in seconds, or None without an entry.
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
        self._store = CachedStore(self.name, opener, config.timeout, cache, disk)
        self.connection = self._store.connection
        self.cache = self._store.memory
        self.forget = self._store.forget
        self.disk_age = self._store.disk_age
        self._followers: tuple[Link, ...] = ()
        self.covers = config.covers
        self.writes = Writes(self)
        self.peek = self.cache.text

    def __repr__(self) -> str:
        return f"Link({self.name!r})"

    def reset(self) -> None:
        """Drop the store, the cache's key and entries, and reads in progress: the first step in the child of a fork.

        The store is not closed: its connections are the parent's, and closing them would end the parent's TLS sessions.
        """
        self._store.reset()
        self.writes.reset()

    def go_offline(self, reason: str, *, on_disk: bool, local_follows: bool) -> None:
        """Let the caches alone answer. The store counts as unavailable, and is neither opened nor asked.

        Args:
            reason: the setting that makes it offline, in words.
            on_disk: whether there is a cache on disk.
            local_follows: whether a later link asks a store on this machine, which must not answer instead.
        """
        self._store.go_offline(reason, on_disk=on_disk)
        self.missing_ttl = math.inf  # a store that is not asked cannot answer otherwise
        if local_follows:
            self.policy = self.policy._replace(on_unavailable="fail")

    @property
    def last_probe(self) -> Future[None] | None:
        """The last probe in the background."""
        return self._store.last_probe

    @property
    def forgotten(self) -> int:
        """How often `forget` was called."""
        return self._store.forgotten

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
            with self._opening_for(path):
                if request.allow_dynamic is not True and self._must_not_issue(path, request):
                    return not_queried(path, self.name)
                reading = self.read(path, key, fresh=request.fresh, insists=request.insists)
                if self._missing_key_expired(reading, request):
                    reading = self.read(path, key, fresh=True)
        except StrongroomError as error:
            return self._result(path, error, request, started)
        return self._result(path, reading, request, started)

    def _result(self, path: str, found: Reading | StrongroomError, request: ReadRequest, started: float) -> Result:
        """Return the result of a read that began then, and brought this reading, or ended with this error."""
        if isinstance(found, StrongroomError):
            return failed(found if request.fresh else self._store.advised(found, path), self.name, started)
        return judged(path, self.name, found, request, started, offline=self.connection.offline is not None)

    def _opening_for(self, path: str) -> AbstractContextManager[None]:
        """Let the store know the first path, if it is opened for it: it may save a request."""
        return _OPEN if self.connection.store is not None else opening_for(path)

    def query_cached(self, path: str, key: str | None, request: ReadRequest) -> Result | None:
        """Return the result of `query` if the cache in memory has the value, and it is current; else None.

        The store is neither opened nor queried.
        """
        started, store = time.monotonic(), self.connection.store
        if store is None and not self._store.is_on_disk(path):
            return None
        try:
            reading = self._store.cached(
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
        with limit(), self._opening_for(next(iter(places))):
            read, others = self._read_ahead(places, shared, only_in_bulk=each is not None)
        for path, of_path in places.items():
            found, asked = read.get(path), of_path
            if len(of_path) > 1 and (found is not None or path in others):
                if found is None:
                    started = time.monotonic()
                    with limit():
                        found = self._tried(path, shared)
                asked = self._missing_first(of_path, found, requests)
            for place in asked:
                request = requests[place]
                if found is None or (place[1] is not None and self._missing_key_expired(found, request)):
                    with limit():
                        result = self.query(*place, request)
                    if found is not None and isinstance(result[1], Reading):
                        found = result[1]
                else:
                    result = self._result(path, found, request, started)
                yield place, result

    def _tried(self, path: str, request: ReadRequest) -> Reading | StrongroomError:
        """Return what `read` returns or raises for the whole secret."""
        try:
            return self.read(path, fresh=request.fresh, insists=request.insists)
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
        read = self._unopened(places, insists=request.insists)
        store = self.connection.store
        by_key = store is not None and "keyed" in store.capabilities
        whole = [path for path in places if path not in read and not (by_key and places[path][0][1] is not None)]
        if request.allow_dynamic is not True:
            whole = [path for path in whole if not self.creates(path)]
        if not only_in_bulk:
            return read | self.read_many(whole, fresh=request.fresh, insists=request.insists), ()
        in_bulk = store is not None and "read_many" in store.operations and "local" not in store.capabilities
        bulk = [path for path in whole if in_bulk or self._store.is_on_disk(path)]
        if len(bulk) > 1:
            read |= self.read_many(bulk, fresh=request.fresh, insists=request.insists)
        return read, set(whole).difference(read)

    def _unopened(self, paths: Iterable[str], *, insists: bool = False) -> dict[str, Reading | StrongroomError]:
        """Open the store if a path needs it. If that fails, return the error of each path that does.

        It is opened once for all paths that another link can answer, and after an outage once for the others, which
        wait for it.
        """
        if self.connection.store is not None:
            return {}
        errors: dict[str, Reading | StrongroomError] = {}
        failure: StrongroomError | None = None
        closed = [path for path in paths if not self._store.is_on_disk(path)]
        for is_followed in (True, False):
            group = [path for path in closed if self._is_followed(path) is is_followed]
            if group and (failure is None or isinstance(failure, StoreUnavailableError)):
                try:
                    self._opened(group[0], insists=insists)
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

    def read(self, path: str, key: str | None = None, *, fresh: bool = False, insists: bool = False) -> Reading:
        """Return the secret at `path`, or the key alone if the store has single-key reads.

        Args:
            path: a checked path.
            key: the requested key, if any. The reading may lack it.
            fresh: query the store, past the cache.
            insists: query the store, and wait for it: all later links have confirmed the absence.

        Raises:
            StoreError: see `GuardedStore.read`. An outage is raised if nothing usable is cached.
        """
        try:
            return self._read(path, key, fresh=fresh, insists=insists)
        except StoreUnavailableError as error:
            outage = error
        if insists or fails_fast() or not ends_in_time(outage):
            raise outage
        return self._read(path, key, fresh=fresh, insists=True)

    def _read(self, path: str, key: str | None, *, fresh: bool, insists: bool) -> Reading:
        keyed, ends = False, None
        if not self._store.is_on_disk(path):  # else the store stays closed until something has to be asked
            if self.connection.store is None and not insists and self._is_followed(path):
                with fail_fast():
                    ends = time.monotonic() + self.connection.share()  # of the opening and the read together
            store = self._opened(path, insists=insists)
            if "local" in store.capabilities:
                return _read_local(store, path, key)
            keyed = key is not None and "keyed" in store.capabilities
        try:
            if not (fresh or insists) and (known := self._store.cached_or_stale(path, key, keyed=keyed)) is not None:
                return known
            with fail_fast(not insists and self._has_fallback(path, fresh=fresh)):
                return self._store.fetch(path, key if keyed else None, fresh=fresh, insists=insists, ends=ends)
        except StoreUnavailableError as error:
            outage = error
        stale = None if fresh else self._store.stale(path, outage)
        if stale is None:
            raise outage
        return stale

    def _opened(self, path: str, *, insists: bool = False) -> GuardedStore:
        if (store := self.connection.store) is not None:
            return store
        with fail_fast(not insists and self._is_followed(path)):
            return self.connection.opened(path, insists=insists)

    def _is_followed(self, path: str) -> bool:
        """Return True if another link can answer when this one is unavailable."""
        return any(link.covers(path) for link in self._followers)

    def _has_fallback(self, path: str, *, fresh: bool) -> bool:
        """Return True if another link or a stale secret can answer when the store is unavailable."""
        return self._is_followed(path) or (not fresh and self.cache.stale(path) is not None)

    def read_many(
        self, paths: Iterable[str], *, fresh: bool = False, insists: bool = False
    ) -> dict[str, Reading | StrongroomError]:
        """Return what `read` would return or raise for each path. Paths that are not cached are read as one batch.

        The link's `timeout` applies to each answer of the batch, not to the whole. The paths that another link or a
        stale secret can answer are a separate batch, which fails fast.
        """
        results: dict[str, Reading | StrongroomError] = {}
        groups: dict[bool, list[str]] = {True: [], False: []}
        for path in paths:
            if (known := self._without_io(path, fresh=fresh or insists)) is not None:
                results[path] = known
            else:
                groups[not insists and self._has_fallback(path, fresh=fresh)].append(path)
        for has_fallback, group in groups.items():
            if group:
                with fail_fast(has_fallback):
                    results |= self._store.fetch_many(group, fresh=fresh, insists=insists)
        throttled = [
            path for path, found in results.items() if isinstance(found, StoreUnavailableError) and ends_in_time(found)
        ]
        if throttled and not insists and not fails_fast():
            results |= self._store.fetch_many(throttled, fresh=fresh, insists=True)
        return results

    def _without_io(self, path: str, *, fresh: bool) -> Reading | StrongroomError | None:
        """Return the result of a read that needs no service; None if the service has to be queried."""
        try:
            if not self._store.is_on_disk(path) and "local" in (store := self._opened(path)).capabilities:
                return _read_local(store, path, None)
            return None if fresh else self._store.cached_or_stale(path, None, patient=False)
        except StrongroomError as error:
            return error

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
        paths = self.connection.call(prefix or None, lambda store: list(store.walk(prefix)), insists=True)
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

    def _must_not_issue(self, path: str, request: ReadRequest) -> bool:
        if not self._makes(path, insists=request.insists):
            return False
        return not (request.allow_dynamic == "lasting" and self._opened(path).traits.lasting)

    def _makes(self, path: str, *, insists: bool = False) -> bool:
        return not self._store.is_on_disk(path) and self._opened(path, insists=insists).makes(path)

    def admit(self, path: str) -> None:
        """Let the next call past a known outage, as a read of `path` is if nobody else can answer it."""
        breaker = self.connection.breaker
        if breaker.is_open and not self._is_followed(path):
            breaker.hasten()

    def health(self) -> Health:
        """Probe the store, past cache and breaker, and measure the duration."""
        from strongroom._chain.diagnosis import health_of  # a read does not need it

        with time_limit(self.policy.timeout), fail_fast(), require_paths(filter(self.covers, required_paths())):
            return health_of(self.name, lambda: self.connection.open().probe())

    # --- the store itself ---------------------------------------------------------------------------------------------

    def at_store(self, path: str, operation: Callable[[GuardedStore], _R], *, changes: str = "") -> _R:
        """Return the operation's result on the store itself, past the cache.

        Args:
            path: the secret's path.
            operation: takes the store.
            changes: the name of the change, if it is one: see `CachedStore.change`.
        """
        if changes:
            operation = partial(self._store.change, path, operation)
        return self.connection.call(path, operation, changes=changes)

    def close(self) -> None:
        """Close the store and empty the cache. Every later call is refused."""
        self._store.close()


def _read_local(store: GuardedStore, path: str, key: str | None) -> Reading:
    if key is not None and "keyed" in store.capabilities:
        return Reading(SensitiveDict({key: store.read_key(path, key)}))
    return Reading.of(store.read(path))
