"""The part of the disk cache that holds the answers of one store."""

import logging
import sqlite3
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, TypeVar

from strongroom.digest import Digester
from strongroom.disk_cache.container import EVERYTHING, Container, DamagedError, Mark, fault_of
from strongroom.disk_cache.entry import Entry, Moment, Row
from strongroom.disk_cache.keys import Keys
from strongroom.errors import SecretNotFoundError, StrongroomError
from strongroom.secret import AgedAbsence, AgedSecret, Secret, SensitiveDict, Value
from strongroom.store import fail_fast, remaining

if TYPE_CHECKING:
    from strongroom.config import CacheConfig

logger = logging.getLogger("strongroom.secrets_manager")

Identity: TypeAlias = "Callable[[], Mapping[str, Value] | None]"
"""Returns what decides which secret a path of the store is, and who reads it; None if the cache must not have it."""

Answer: TypeAlias = "Secret | StrongroomError"
Ask: TypeAlias = "Callable[[Sequence[str]], Iterable[tuple[str, Answer]]]"

_R = TypeVar("_R")
_LONGEST_READ = 60.0
"""Seconds after which the answer of a read is not kept: the mark of a write in between may be gone."""
_LARGEST_SHARE = 8
"""An entry may have this fraction of the size of the cache."""


class Place(NamedTuple):
    """Where an entry is: the keys of the cache, the digest of the path in this store, and that of the path alone."""

    keys: Keys
    name: bytes
    path: bytes


class Ticket(NamedTuple):
    """The right to add the answer of a read that is about to begin."""

    place: Place
    before: Mark
    asked: Moment
    started: float


class _Found(NamedTuple):
    """An entry, its age in seconds, and whether the age is certain: see `Entry.age`."""

    entry: Entry
    age: float
    certain: bool


class StoreCache:
    """The answers of one store on disk. A failure of the cache is a miss, and is logged once.

    Args:
        identity: the identity of the store. It is called at the first use, and again after a failure.
    """

    def __init__(self, container: Container, store: str, identity: Identity, config: "CacheConfig") -> None:
        self._container = container
        self._store = store
        self._identity = identity
        self._config = config
        self._known: Mapping[str, Value] | None = None
        self._warned = False
        self._disabled = config.ttl <= 0

    def __repr__(self) -> str:
        return f"StoreCache({self._store!r})"

    def covers(self, path: str) -> bool:
        """Return True if the cache may hold this path."""
        if self._disabled or any(fnmatchcase(path, pattern) for pattern in self._config.never):
            return False
        return self._identified() is not None

    def _identified(self) -> Mapping[str, Value] | None:
        """Return the identity of the store; None if the cache has nothing of it, or its options cannot be read."""
        if self._known is None:
            try:
                self._known = self._identity()
            except StrongroomError:
                return None  # opening the store raises it too
            self._disabled = self._disabled or self._known is None
        return self._known

    # --- reading ------------------------------------------------------------------------------------------------------

    def current(self, path: str) -> AgedSecret | AgedAbsence | None:
        """Return the answer for a path if it is current."""
        found = self._attempt(lambda: self._find(path))
        if found is None or not found.certain:
            return None
        absent = found.entry.data is None
        longest = min(self._config.ttl, self._config.missing_ttl) if absent else self._config.ttl
        return found.entry.answer(found.age) if found.age < min(found.entry.ttl, longest) else None

    def stale(self, path: str) -> AgedSecret | None:
        """Return the secret at a path if an outage may still serve it. An absence is never served in an outage."""
        found = self._attempt(lambda: self._find(path))
        longest = self._config.ttl + self._config.max_stale
        if found is None or found.age >= min(found.entry.lifetime, longest):
            return None
        answer = found.entry.answer(found.age)
        return answer if isinstance(answer, AgedSecret) else None

    def age(self, path: str) -> float | None:
        """Return the age of the entry of a path in seconds, current or not; None if there is none."""
        found = self._attempt(lambda: self._find(path)) if self.covers(path) else None
        return None if found is None else found.age

    def _find(self, path: str) -> _Found | None:
        place = self._place(path)
        row = None if place is None else self._container.find(place.keys, place.name)
        if place is None or row is None:
            return None
        entry = row.open(place.keys) if (row.name, row.path) == (place.name, place.path) else None
        if entry is None or entry.path != path:
            self._warn("an entry is damaged")
            self._container.drop(place.keys, place.name)
            return None
        now = Moment.now()
        latest = entry.asked.wall if entry.asked.boot == now.boot else self._container.latest(place.keys)
        age = entry.age(now, latest)
        if age is None:
            self._warn("the clock was set since entries were added, which do not count")
            return None
        return _Found(entry, *age)

    def fetch(self, path: str, load: Callable[[], Secret], *, fresh: bool = False) -> Secret:
        """Return the secret at a path: from the cache if it is current there, else from `load`.

        Of several processes that have a miss, one calls `load`; the others wait for its entry, for half of the time
        that the call has.

        Raises:
            SecretNotFoundError: the store does not have it, as `load` found out, or an entry of the cache.
            StoreError: what `load` raises.
        """
        if not self.covers(path):
            return load()
        if not fresh and (found := self.current(path)) is not None:
            return _returned(found)
        with self.turns([] if fresh else [path]):
            # Another process may have had the turn since, even if this one did not wait for it.
            if not fresh and (found := self.current(path)) is not None:
                return _returned(found)
            ticket = self.begin(path)
            try:
                with fail_fast(not fresh and self.stale(path) is not None):
                    secret = load()
            except SecretNotFoundError as absence:
                self.keep(path, ticket, absence)
                raise
            self.keep(path, ticket, secret)
            return secret

    def read_each(self, paths: Sequence[str], ask: Ask, *, fresh: bool = False) -> Iterator[tuple[str, Answer]]:
        """Yield the answer for each path, as `fetch` returns or raises it. `ask` gets the paths that are missing."""
        missing = list(paths)
        if not fresh:
            missing = yield from self._known_of(missing)
        if not missing:
            return
        with self.turns([] if fresh else missing):
            if not fresh:
                missing = yield from self._known_of(missing)
            tickets = {path: self.begin(path) for path in missing}
            has_stale = not fresh and all(self.stale(path) for path in missing)
            answers = iter(ask(missing) if missing else ())
            while True:
                with fail_fast(has_stale):
                    found = next(answers, None)
                if found is None:
                    return
                self.keep(found[0], tickets[found[0]], found[1])
                yield found

    def _known_of(self, paths: Iterable[str]) -> Generator[tuple[str, Answer], None, list[str]]:
        """Yield the current answers, and return the paths without one."""
        missing: list[str] = []
        for path in paths:
            found = self.current(path) if self.covers(path) else None
            if found is None:
                missing.append(path)
            else:
                yield path, found
        return missing

    @contextmanager
    def turns(self, paths: Iterable[str]) -> Iterator[None]:
        """Wait until no other process reads one of these paths. Look into the cache again then."""
        places = (self._attempt(partial(self._place, path, create=True)) for path in paths)
        with self._container.turns.take([place.name for place in places if place is not None], remaining() / 2):
            yield

    # --- adding -------------------------------------------------------------------------------------------------------

    def begin(self, path: str) -> Ticket | None:
        """Return the ticket of a read that begins now. A write that comes after this makes it worthless."""
        if not self.covers(path):
            return None

        def started() -> Ticket | None:
            place = self._place(path, create=True)
            if place is None:
                return None
            before = self._container.mark(place.keys, place.path)
            return Ticket(place, before, Moment.now(), time.monotonic())

        return self._attempt(started)

    def keep(self, path: str, ticket: Ticket | None, answer: Answer) -> None:
        """Add the answer of a read, if it is a secret or a confirmed absence, and no write came between."""
        if ticket is None or not isinstance(answer, Secret | SecretNotFoundError):
            return
        if time.monotonic() - ticket.started > _LONGEST_READ:
            return
        entry = self._made(path, ticket.asked, answer)
        if entry.lifetime <= 0:
            return

        def add() -> None:
            row = Row.seal(ticket.place.keys, ticket.place.name, ticket.place.path, entry)
            if len(row.sealed) <= self._config.max_bytes // _LARGEST_SHARE:
                self._container.add(ticket.place.keys, row, ticket.before)

        self._attempt(add)

    def _made(self, path: str, asked: Moment, answer: Secret | SecretNotFoundError) -> Entry:
        if isinstance(answer, SecretNotFoundError):
            ttl = min(self._config.ttl, self._config.missing_ttl)
            return Entry(path, asked, ttl, ttl, reason=answer.reason)
        ttl, lifetime = self._config.ttl, self._config.ttl + self._config.max_stale
        if answer.ttl is not None:
            ttl, lifetime = min(ttl, answer.ttl), min(lifetime, answer.ttl)
        data = SensitiveDict(answer.data)
        return Entry(path, asked, ttl, lifetime, answer.ttl, data, answer.version, answer.created)

    # --- forgetting ---------------------------------------------------------------------------------------------------

    def forget(self, path: str | None = None, *, denied: bool = False) -> None:
        """Drop a path in all stores, or everything, for all processes. A read under way does not add it again.

        With `denied`, the entry of this identity alone is dropped: others may read the path.

        If the entry cannot be removed, the whole file of entries is. If that fails too, this process uses the cache no
        more, and others may serve the entry until it expires.
        """
        if self._disabled or (path is not None and not self.covers(path)):
            return
        try:
            place = self._place(path or "")
        except OSError as error:
            self._warn(fault_of(error))
            return
        if place is None:
            return
        try:
            self._container.turns.require_locks()
            only = place.name if denied else None
            self._container.forget(place.keys, EVERYTHING if path is None else place.path, only)
        except (OSError, sqlite3.Error, DamagedError) as error:
            self._warn(fault_of(error))
            try:
                self._container.remove(self._container.file(place.keys))
            except OSError:
                self._disabled = True

    # --- the place ----------------------------------------------------------------------------------------------------

    def _place(self, path: str, *, create: bool = False) -> Place | None:
        """Return the place of a path; None if there is no cache yet, or the store's options cannot be read."""
        if not self.covers(path) or (known := self._identified()) is None:
            return None
        keys = self._container.keys(create=create)
        if keys is None:
            return None
        digester = Digester(keys.names)
        name = digester.digest({"store": known, "path": path})
        return Place(keys, name, digester.digest({"path": path}))

    def _attempt(self, operation: Callable[[], _R]) -> _R | None:
        """Return the operation's result, or None if the cache cannot be used."""
        try:
            self._container.turns.require_locks()
            return operation()
        except DamagedError as error:
            self._warn(fault_of(error))
            self._discard()
        except (OSError, sqlite3.Error) as error:
            self._warn(fault_of(error))
        return None

    def _discard(self) -> None:
        """Remove a damaged file, so that the next entry has a new one."""
        try:
            keys = self._container.keys()
            if keys is not None:
                self._container.remove(self._container.file(keys))
        except OSError as error:
            self._warn(fault_of(error))

    def _warn(self, fault: str) -> None:
        if not self._warned:
            self._warned = True
            logger.warning("The disk cache of store %s is not used: %s", self._store, fault)


def _returned(found: AgedSecret | AgedAbsence) -> AgedSecret:
    """Return a secret, or raise an absence."""
    if isinstance(found, AgedAbsence):
        raise found
    return found
