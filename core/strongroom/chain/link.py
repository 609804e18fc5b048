"""One link of the chain: its policy, its cache, and how secrets are read and written through both."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple, Self, TypeVar
from weakref import WeakValueDictionary

from strongroom.chain.cache import Flight, MemoryCache, Snapshot
from strongroom.chain.store_handle import Access, Opener
from strongroom.errors import (
    AuthenticationError,
    ConflictError,
    PermissionDeniedError,
    SecretNotFoundError,
    StoreUnavailableError,
    StrongroomError,
)
from strongroom.secret import Secret, SensitiveDict, Version, protect_data
from strongroom.store import Health, needing, needs, remaining, time_limit
from strongroom.store.guard import GuardedStore

if TYPE_CHECKING:
    from strongroom.config import CacheConfig, LinkConfig

logger = logging.getLogger("strongroom.secrets_manager")

_R = TypeVar("_R")
_FIRST_PAUSE = 0.01
_LAST_PAUSE = 0.25


class Reading(NamedTuple):
    """What a link knows of one secret: its data, and where the data comes from. `age` and `ttl` are in seconds.

    `outage` is why the store itself was not asked, where the data is past its time. A key that such a reading lacks is
    unknown, and not missing.
    """

    data: SensitiveDict
    version: Version | None = None
    created: datetime | None = None
    age: float = 0.0
    cached: bool = False
    outage: StoreUnavailableError | None = None
    ttl: float | None = None

    @property
    def stale(self) -> bool:
        """It is past its time, and all that there is while the store is unavailable."""
        return self.outage is not None

    @classmethod
    def of(cls, secret: Secret) -> Self:
        """What the store has just answered."""
        return cls(protect_data(secret.data), secret.version, secret.created, ttl=secret.ttl)


class WouldBlockError(Exception):
    """Internal: only I/O can answer this read. `flight` is the read that is under way already, if one is."""

    def __init__(self, flight: Flight | None) -> None:
        super().__init__()
        self.flight = flight


class _Turn:
    """A lock that can be held weakly: it lives for as long as somebody merges into its path."""

    def __init__(self) -> None:
        self.lock = threading.Lock()


class Link:
    """A named place in the chain.

    Args:
        config: the store's name, what follows its answers, and which paths it is asked for.
        opener: opens the store; called at first use, inside the deadline, and again in the child of a fork.
        cache: how long its cache counts.

    Attributes:
        missing_ttl: for how many seconds what its store does not have counts as missing.
        peek: path and key -> the field as text, when the cache holds it and it is current; else None. It is the cache's
            own method, since a busy application calls little else.
    """

    def __init__(self, config: LinkConfig, opener: Opener, cache: CacheConfig) -> None:
        self.name = config.store
        self.policy = config
        self.missing_ttl = cache.missing_ttl
        self._access = Access(self.name, opener, config.timeout)
        self._cache = MemoryCache(self.name, cache)
        self.peek = self._cache.text
        self._reset()

    def __repr__(self) -> str:
        return f"Link({self.name!r})"

    def reset(self) -> None:
        """Drops store, key, entries and flights without a word to the store: what a fork's child must do first.

        The parent's connections stay the parent's: closing them here would end its TLS sessions.
        """
        self._cache.reset()
        self._access.reset()
        self._reset()

    def _reset(self) -> None:
        self._merging = threading.Lock()
        self._turns: WeakValueDictionary[str, _Turn] = WeakValueDictionary()

    def covers(self, path: str) -> bool:
        """Whether this link is asked for `path`."""
        return self.policy.covers(path)

    def may_cover_below(self, folder: str) -> bool:
        """Whether a path below `folder` (the empty string is the top) may be one that this link is asked for."""
        below = f"{folder}/" if folder else ""
        fixed = (pattern[: _first_wildcard(pattern)] for pattern in self.policy.paths)
        return not self.policy.paths or any(part.startswith(below) or below.startswith(part) for part in fixed)

    # --- reading ------------------------------------------------------------------------------------------------------

    def read(self, path: str, key: str | None = None, *, fresh: bool = False, blocking: bool = True) -> Reading:
        """The secret at `path`; where the store knows single keys, what it knows of `key`.

        Args:
            path: a checked path.
            key: the key that is wanted, if it is one. The reading may lack it.
            fresh: ask the store, whatever the cache holds.
            blocking: False raises `WouldBlockError` where only I/O could answer.

        Raises:
            StoreError: as the store's front does. An outage is raised when the cache has nothing for it.
        """
        if self._access.front is None and not blocking:
            raise WouldBlockError(None)
        front = self._access.known(path)
        if front.local:
            return _read_local(front, path, key)
        if not fresh and (known := self._cached(path, key, front)) is not None:
            return known
        if not blocking:
            if self._access.breaker.would_admit():
                raise WouldBlockError(None if fresh else self._cache.flight(path))
            outage = self._access.known_outage(path)
        else:
            try:
                return self._fetch(front, path, key, fresh=fresh)
            except StoreUnavailableError as error:
                outage = error
        stale = None if fresh else self._stale(path, outage)
        if stale is None:
            raise outage
        return stale

    def _fetch(self, front: GuardedStore, path: str, key: str | None, *, fresh: bool) -> Reading:
        try:
            if key is not None and front.keyed:
                return Reading(SensitiveDict({key: self._access.ask(path, lambda opened: opened.read_key(path, key))}))
            secret = self._cache.fetch(
                path, lambda: self._access.ask(path, lambda opened: opened.read(path)), fresh=fresh
            )
        except (PermissionDeniedError, AuthenticationError):
            self._cache.forget(path)  # an outage that follows must not serve what was denied last
            raise
        return Reading.of(secret)

    def read_many(self, paths: Iterable[str], *, fresh: bool = False) -> dict[str, Reading | StrongroomError]:
        """What `read` would return or raise for each path; what the cache lacks is asked for as one batch.

        The link's `timeout` is for each answer: a store that hangs has it once, a long batch has it again and again.
        """
        outcomes: dict[str, Reading | StrongroomError] = {}
        mine: dict[str, Flight] = {}
        others: dict[str, Flight] = {}
        for path in paths:
            known = self._known_reading(path, fresh=fresh)
            if known is not None:
                outcomes[path] = known
                continue
            flight, is_mine = self._cache.board(path, fresh=fresh)
            (mine if is_mine else others)[path] = flight
        try:
            for path, answer in self._access.ask_each(list(mine)):
                outcomes[path] = self._landed(path, mine.pop(path), answer, fresh=fresh)
        finally:
            for path, flight in mine.items():  # an interrupt came: those who wait for these must not hang
                self._cache.crash(path, flight, StoreUnavailableError(path, "the batch was given up"))
        for path, flight in others.items():
            try:
                outcomes[path] = Reading.of(self._cache.join(path, flight))
            except StrongroomError as error:
                outcomes[path] = self._stale_or(error, path, fresh=fresh)
        return outcomes

    def _known_reading(self, path: str, *, fresh: bool) -> Reading | StrongroomError | None:
        """What is known of the path without asking a service; None where that has to be asked."""
        try:
            front = self._access.known(path)
            if front.local:
                return _read_local(front, path, None)
            return None if fresh else self._cached(path, None, front)
        except StrongroomError as error:
            return self._stale_or(error, path, fresh=fresh)

    def _landed(
        self, path: str, flight: Flight, answer: Secret | StrongroomError, *, fresh: bool
    ) -> Reading | StrongroomError:
        """Ends a flight of the batch with the store's answer."""
        if isinstance(answer, Secret):
            self._cache.land(path, flight, answer)
            return Reading.of(answer)
        self._cache.crash(path, flight, answer)
        if isinstance(answer, PermissionDeniedError | AuthenticationError):
            self._cache.forget(path)
        return self._stale_or(answer, path, fresh=fresh)

    def _stale_or(self, error: StrongroomError, path: str, *, fresh: bool) -> Reading | StrongroomError:
        """What an outage may use of the cache; else the error."""
        stale = self._stale(path, error) if isinstance(error, StoreUnavailableError) and not fresh else None
        return error if stale is None else stale

    def _cached(self, path: str, key: str | None, front: GuardedStore) -> Reading | None:
        snapshot = self._cache.current(path, key)
        if snapshot is None:
            return None
        if key is not None and front.keyed and key not in (snapshot.fields or {}):
            return None  # a whole read cannot know every key of this store
        if snapshot.fields is None:
            raise SecretNotFoundError(path, snapshot.reason, store=self.name)
        return self._opened_snapshot(snapshot)

    def _stale(self, path: str, outage: StoreUnavailableError) -> Reading | None:
        snapshot = self._cache.stale(path)
        return None if snapshot is None else self._opened_snapshot(snapshot, outage)

    def _opened_snapshot(self, snapshot: Snapshot, outage: StoreUnavailableError | None = None) -> Reading | None:
        data = self._cache.open(snapshot.fields or {})
        if data is None:
            return None
        age, ttl = self._cache.age(snapshot), self._cache.ttl(snapshot)
        return Reading(data, snapshot.version, snapshot.created, age, cached=True, outage=outage, ttl=ttl)

    def list_entries(self, prefix: str) -> list[str]:
        """The names directly below `prefix` that this link answers for, folders ending in `/`."""
        names = self._access.ask(prefix or None, lambda front: list(front.list_entries(prefix)))
        below = f"{prefix}/" if prefix else ""
        return [
            name
            for name in names
            if (self.may_cover_below(below + name[:-1]) if name.endswith("/") else self.covers(below + name))
        ]

    def walk(self, prefix: str) -> list[str]:
        """The path of every secret below `prefix` that this link answers for. It may take all the time that is left."""
        paths = self._access.ask(prefix or None, lambda front: list(front.walk(prefix)), limit=remaining())
        return [path for path in paths if self.covers(path)]

    def makes(self, path: str, *, blocking: bool = True) -> bool:
        """Whether a read of `path` would make a secret. Opens the store, as `is_writable` does, where it may block."""
        if self._access.front is None and not blocking:
            raise WouldBlockError(None)
        return self._access.known(path).makes(path)

    def is_writable(self) -> bool:
        """Whether the store can be changed. Opens it, so that an outage is not taken for a no."""
        return self._access.known().writable

    def capabilities(self) -> frozenset[str]:
        """The names of what the store can do beyond reading. Opens it, as `is_writable` does."""
        return self._access.known().capabilities

    def is_listable(self) -> bool:
        """Whether the store can be listed. Opens it, so that an outage is not taken for a no."""
        return self._access.known().listable

    def health(self) -> Health:
        """How the store is, asked past cache and breaker, and how long that took."""
        from strongroom.chain.probe import diagnose  # a read has no use for it

        with time_limit(self.policy.timeout), needing(filter(self.covers, needs())):
            return diagnose(self.name, lambda: self._access.open().probe())

    # --- writing ------------------------------------------------------------------------------------------------------

    def write(self, path: str, data: SensitiveDict) -> Version | None:
        """Replaces the whole secret."""
        return self._change(path, lambda front: front.write(path, data))

    def delete(self, path: str) -> None:
        """Removes the secret."""
        self._change(path, lambda front: front.delete(path))

    def merge(self, path: str, data: SensitiveDict, creating: Callable[[SensitiveDict], None]) -> Version | None:
        """Sets the keys of `data` and keeps the others; a lost race is run again while there is time.

        Where the store has no check-and-set, the secret is read again just before it is written: a write that comes
        between those two is lost.

        Args:
            path: a checked path.
            data: the keys to set.
            creating: called with the data where there is no secret yet; raises to refuse.

        Raises:
            ConflictError: others kept writing until the time was up.
        """
        pause = _FIRST_PAUSE
        with self._turn(path):
            while True:
                before = self._before(path)
                if before is None:
                    creating(data)
                try:
                    return self._lay_over(path, before, data)
                except ConflictError as error:
                    conflict = error
                if remaining() <= pause:
                    raise conflict
                time.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  # so that rivals do not meet again
                pause = min(pause * 2, _LAST_PAUSE)

    def _lay_over(self, path: str, before: Secret | None, data: SensitiveDict) -> Version | None:
        merged = data if before is None else SensitiveDict({**before.data, **data})
        return self._change(path, lambda front: self._write_after(front, path, before, merged))

    def _before(self, path: str) -> Secret | None:
        """What the store holds now, past the cache."""
        try:
            return self._access.ask(path, lambda front: front.read(path))
        except SecretNotFoundError:
            return None

    def _write_after(
        self, front: GuardedStore, path: str, before: Secret | None, merged: SensitiveDict
    ) -> Version | None:
        if front.checked:
            return front.write_if(path, merged, None if before is None else before.version)
        if self._before(path) != before:
            raise ConflictError(path, "it changed while it was being merged", store=self.name)
        return front.write(path, merged)

    def at_store(self, path: str, operation: Callable[[GuardedStore], _R], *, changes: bool) -> _R:
        """What one operation comes to on the store itself, past the cache, which forgets a secret that changes."""
        return self._change(path, operation) if changes else self._access.ask(path, operation)

    def _change(self, path: str, operation: Callable[[GuardedStore], _R]) -> _R:
        """A write. The cache forgets before, so that nobody joins an older read, and after, for reads in between."""
        self._cache.forget(path)
        try:
            return self._access.ask(path, operation)
        finally:
            self._cache.forget(path)

    @contextmanager
    def _turn(self, path: str) -> Iterator[None]:
        """This process's threads merge into one path in turn: only other processes are rivals for check-and-set."""
        with self._merging:
            turn = self._turns.setdefault(path, _Turn())
        if not turn.lock.acquire(timeout=remaining()):
            raise StoreUnavailableError(path, "earlier writes to it took all the time", store=self.name)
        try:
            yield
        finally:
            turn.lock.release()

    # --- the store ----------------------------------------------------------------------------------------------------

    def forget(self, path: str | None = None) -> None:
        """Drops what the cache holds of `path`, or everything."""
        self._cache.forget(path)

    def close(self) -> None:
        """Closes the store and forgets everything; every later call is refused."""
        self._access.close()
        self._cache.forget()


def _read_local(front: GuardedStore, path: str, key: str | None) -> Reading:
    if key is not None and front.keyed:
        return Reading(SensitiveDict({key: front.read_key(path, key)}))
    return Reading.of(front.read(path))


def _first_wildcard(pattern: str) -> int:
    return next((index for index, character in enumerate(pattern) if character in "*?["), len(pattern))
