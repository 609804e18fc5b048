"""The cache of one link, in memory: sealed snapshots of secrets, one flight per path, and no race with a write."""

import logging
import math
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from strongroom._chain.seal import Sealed, Sealer
from strongroom.errors import SecretNotFoundError, StoreError, StoreUnavailableError, StrongroomError
from strongroom.events import auditors, hit_counter
from strongroom.secret import Secret, SensitiveDict, SensitiveStr, Version, age_of
from strongroom.store import remaining
from strongroom.store.deadline import boot_time
from strongroom.store.process import random_factor

if TYPE_CHECKING:
    from strongroom._config import CacheConfig

_DEBUG = logging.DEBUG
_is_logged = logging.getLogger("strongroom.secrets_manager").isEnabledFor
_SNAPSHOT_BYTES = 500
_FIELD_BYTES = 400
"""Memory of Python's own objects for one snapshot, and for one field of it, as measured with tracemalloc."""
_ABSENT_SHARE = 8
"""Absences have this fraction of the bytes."""

Ask: TypeAlias = "Callable[[Sequence[str]], Iterable[tuple[str, Secret | StrongroomError]]]"
"""Paths -> the answer of the store for each."""

_Field: TypeAlias = "tuple[float, Callable[[bytes, bytes, bytes], bytes], bytes, bytes, bytes]"


class Flight:
    """A read in progress, which other threads may join."""

    __slots__ = ("_result",)

    def __init__(self) -> None:
        self._result: Future[Secret] | None = None  # few reads are joined, and to make one takes long

    def join(self) -> Future[Secret]:
        """Return the future result, for another thread. Under the cache's lock, so that the flight does not end."""
        if self._result is None:
            result: Future[Secret] = Future()
            self._result = result
        return self._result

    def end(self, result: Secret | StoreError) -> None:
        """Set the result or the error. A second call, such as that of an interrupt just after the first, is ignored."""
        if self._result is None:
            return
        with suppress(InvalidStateError):
            if isinstance(result, StoreError):
                self._result.set_exception(result)
            else:
                self._result.set_result(result)


class Snapshot(NamedTuple):
    """A store's answer for one path. `fields` is None for a confirmed absence, with its `reason`.

    It is current `until` then. In an outage it is served for `max_stale` more, but never past `ends`. `valid_until` is
    the end that the store gave: see `Secret.ends`.
    """

    fetched: float
    until: float
    fields: Mapping[str, Sealed] | None
    version: Version | None = None
    created: datetime | None = None
    reason: str = ""
    ends: float = math.inf
    size: int = 0
    valid_until: datetime | None = None


class _Share:
    """The part of the cache for secrets, or for absences: snapshots by path, the oldest first, and their bytes."""

    def __init__(self, most_paths: int, most_bytes: int) -> None:
        self.snapshots: dict[str, Snapshot] = {}
        self._most_paths = most_paths
        self._most_bytes = most_bytes
        self.size = 0

    def holds(self, size: int) -> bool:
        """Return True if a snapshot of this size has room in an empty share."""
        return size <= self._most_bytes

    def oldest_in_the_way(self, size: int) -> str | None:
        """Return the path to drop before a snapshot of this size has room, or None."""
        if len(self.snapshots) < self._most_paths and self.size + size <= self._most_bytes:
            return None
        return next(iter(self.snapshots), None)

    def replaces(self, path: str, size: int) -> bool:
        """Return True if a snapshot of this size has room in the place of the one that the path has."""
        before = self.snapshots.get(path)
        return before is not None and self.size - before.size + size <= self._most_bytes

    def add(self, path: str, snapshot: Snapshot) -> None:
        before = self.snapshots.get(path)
        self.snapshots[path] = snapshot
        self.size += snapshot.size - (before.size if before is not None else 0)

    def remove(self, path: str) -> Snapshot | None:
        snapshot = self.snapshots.pop(path, None)
        if snapshot is not None:
            self.size -= snapshot.size
        return snapshot

    def clear(self) -> None:
        self.snapshots.clear()
        self.size = 0


class MemoryCache:
    """The secrets that a link has read, each field sealed separately.

    Cached reads take no lock: they are dictionary lookups. The lock guards changes that belong together: a
    snapshot with its fields, a flight with the snapshot that it fills.

    Args:
        owner: the link's name; every seal is bound to it.
        config: how long entries are current, and how much is held. Jitter shortens `ttl` by up to a tenth, so that
            many processes do not all read at once.
        clock: seconds that go on while the machine is suspended.

    Attributes:
        flights: path -> the read in progress.
        insisting: path -> the read in progress that insists: see `fetch`.
    """

    def __init__(self, owner: str, config: "CacheConfig", *, clock: Callable[[], float] = boot_time) -> None:
        self._owner = owner
        self._hits = hit_counter(owner)
        self._config = config
        self.clock = clock
        self.reset()

    def reset(self) -> None:
        """Empty the cache and make a new key: the child of a fork has its parent's key."""
        self._lock = threading.RLock()
        self._sealer = Sealer()
        absent_bytes = self._config.max_bytes // _ABSENT_SHARE
        self._secrets = _Share(self._config.max_entries, self._config.max_bytes - absent_bytes)
        self._absences = _Share(self._config.max_entries, absent_bytes)
        self._fields: dict[str, dict[str, _Field]] = {}
        self.flights: dict[str, Flight] = {}
        self.insisting: dict[str, Flight] = {}

    def __len__(self) -> int:
        return len(self._secrets.snapshots) + len(self._absences.snapshots)

    # --- entries ------------------------------------------------------------------------------------------------------

    def text(self, path: str, key: str) -> SensitiveStr | None:
        """Return one field as text if it is current, or None. A busy application calls little besides.

        Return None while the debug log or an audit log notes each read. The chain then returns the cached field.
        """
        if auditors or _is_logged(_DEBUG):
            return None
        try:
            until, decrypt, nonce, ciphertext, bound = self._fields[path][key]
        except KeyError:
            return None
        clock = self.clock  # Python 3.11 looks a method up slowly if it is an attribute of the object
        if until <= clock():
            return None
        try:
            text = SensitiveStr(decrypt(nonce, ciphertext, bound), "utf-8")
        except self._sealer.broken_seal:
            return None
        self._hits.count += 1
        return text

    def whole(self, path: str) -> SensitiveDict | None:
        """Return the whole secret with its origin if it is current, or None. None too while a log notes each read."""
        if auditors or _is_logged(_DEBUG):
            return None
        snapshot = self._secrets.snapshots.get(path)
        if snapshot is None or snapshot.until <= self.clock():
            return None
        data = self.open(snapshot.fields or {})
        if data is None:
            return None
        self._hits.count += 1
        return data.of_store(path, self._owner)

    def current(self, path: str, key: str | None = None) -> Snapshot | None:
        """Return the snapshot if it is current for the path and for `key`."""
        snapshot = self._secrets.snapshots.get(path) or self._absences.snapshots.get(path)
        now = self.clock()
        if snapshot is None or snapshot.until <= now:
            return None
        if snapshot.fields is not None and key is not None and key not in snapshot.fields:
            return snapshot if now < snapshot.fetched + self._config.missing_ttl else None
        return snapshot

    def stale(self, path: str) -> Snapshot | None:
        """Return the snapshot of a secret if an outage may still serve it. An absence is never served stale."""
        snapshot = self._secrets.snapshots.get(path)
        if snapshot is None:
            return None
        return snapshot if self.clock() < min(snapshot.until + self._config.max_stale, snapshot.ends) else None

    def age(self, snapshot: Snapshot) -> float:
        """Return the seconds since the store answered."""
        return max(0.0, self.clock() - snapshot.fetched)

    def ttl(self, snapshot: Snapshot) -> float | None:
        """Return the remaining lifetime in seconds; None if the secret does not expire."""
        return max(0.0, snapshot.ends - self.clock()) if math.isfinite(snapshot.ends) else None

    def open(self, fields: Mapping[str, Sealed]) -> SensitiveDict | None:
        """Return the fields, unsealed into a new mapping; None if a seal is broken, which is a miss."""
        try:
            return self._sealer.open(fields)
        except self._sealer.broken_seal:
            return None

    def confirm(self, path: str, version: Version | None, created: datetime | None) -> bool:
        """Start the ttl of a snapshot anew, because the store has just confirmed that it is of the newest version.

        A secret is not served for longer than `ttl` and `max_stale` after it was read: the right to read it, which a
        check of the version does not need, may be gone.

        Args:
            path: the secret's path.
            version: the newest version; None confirms an absence.
            created: its creation time.

        Returns:
            False if the secret has to be read again to be served from the cache.
        """
        share, ttl = self._secrets, self._config.ttl
        if version is None:
            share, ttl = self._absences, min(ttl, self._config.missing_ttl)
        if self._config.ttl <= 0:
            return True
        with self._lock:
            before = share.snapshots.get(path)
            if before is None or (before.version, before.created) != (version, created):
                return False
            until = self.clock() + ttl * _shortened()
            if until > min(before.fetched + ttl + self._config.max_stale, before.ends):
                return False
            self._add(path, share, before._replace(until=until))
            return True

    # --- reading through ----------------------------------------------------------------------------------------------

    def fetch(self, path: str, load: Callable[[], Secret], *, fresh: bool = False, insists: bool = False) -> Secret:
        """Return `load()`, called once for all threads that request `path` meanwhile.

        The result is cached unless a write came between.

        Args:
            path: the secret's path.
            load: reads it. `SecretNotFoundError` is a confirmed absence, which is cached too.
            fresh: do not join a read in progress: its result may be older than this call.
            insists: it waits for the store. It shares the reads that insist, and no others: they may fail fast.

        Raises:
            StoreUnavailableError: another thread's read took longer than `remaining()`.
        """
        flight = Flight()
        try:  # from here on an interrupt at any point ends the flight
            joined = self.join_or_lead(path, flight, fresh=fresh, insists=insists)
            if joined is not None:
                return self.wait(path, joined)
            secret = load()
            self._land(path, flight, secret, insists=insists)
        except BaseException as error:
            self._land(path, flight, error, insists=insists)
            raise
        return secret

    def fetch_many(
        self,
        paths: Iterable[str],
        ask: Ask,
        answers: dict[str, Secret | StrongroomError],
        *,
        fresh: bool = False,
        insists: bool = False,
    ) -> None:
        """Put what `fetch` would return or raise for each path into `answers`, also if an exception ends the batch.

        Args:
            paths: the paths of the secrets.
            ask: yields the answer for each path that no other thread reads meanwhile.
            answers: takes each answer as it comes.
            fresh: do not join a read in progress.
            insists: see `fetch`.
        """
        led: dict[str, Flight] = {}
        joined: dict[str, Future[Secret]] = {}
        try:
            for path in paths:
                flight = led[path] = Flight()
                if (result := self.join_or_lead(path, flight, fresh=fresh, insists=insists)) is not None:
                    joined[path] = result
                    del led[path]
            for path, answer in ask(list(led)):
                answers[path] = answer
                self._land(path, led[path], answer, insists=insists)
                del led[path]
        finally:
            for path, flight in led.items():  # after an interrupt: threads that joined these flights must not hang
                self._land(path, flight, StoreUnavailableError(path, "the batch was given up"), insists=insists)
        for path, result in joined.items():
            try:
                answers[path] = self.wait(path, result)
            except StrongroomError as error:
                answers[path] = error.with_traceback(None)

    def join_or_lead(
        self, path: str, flight: Flight, *, fresh: bool = False, insists: bool = False
    ) -> Future[Secret] | None:
        """Return the future result of the read of `path` in progress, or register `flight` and return None.

        The caller leads a flight that is registered, and has to end it.
        """
        flights = self.insisting if insists else self.flights
        with self._lock:
            in_progress = None if fresh else flights.get(path)
            if in_progress is not None:
                return in_progress.join()
            flights[path] = flight
            return None

    def wait(self, path: str, joined: Future[Secret]) -> Secret:
        """Return the result of a flight that another thread leads, or raise its error.

        Raises:
            StoreUnavailableError: it took longer than `remaining()`.
        """
        try:
            return joined.result(timeout=remaining())
        except TimeoutError:
            reason = "the read that was under way took too long"
            failure: StoreError = StoreUnavailableError(path, reason, store=self._owner)
        except StoreError as error:
            failure = error.copy()  # each thread raises a separate object: raising writes to it
        raise failure

    def _land(self, path: str, flight: Flight, answer: Secret | BaseException, *, insists: bool) -> None:
        """End a flight with the answer or any exception, so that the threads that wait for it do not hang.

        A secret and a confirmed absence are cached, unless a write has dropped the flight or `ttl` is 0.
        """
        snapshot = None
        if self._config.ttl > 0:
            if isinstance(answer, Secret):
                snapshot = self._snapshot(path, answer)
            elif isinstance(answer, SecretNotFoundError):
                snapshot = self._absence(path, answer)
        flights = self.insisting if insists else self.flights
        with self._lock:
            if flights.get(path) is flight:
                try:
                    if snapshot is not None:
                        self._keep(path, snapshot)
                finally:
                    flights.pop(path, None)
        if isinstance(answer, StoreError):
            answer = answer.copy()
        elif not isinstance(answer, Secret):
            answer = StoreUnavailableError(path, f"the read ended with {type(answer).__name__}")
        flight.end(answer)

    def _keep(self, path: str, snapshot: Snapshot) -> None:
        share = self._absences if snapshot.fields is None else self._secrets
        if not share.replaces(path, snapshot.size):
            self._discard(path)
            if not share.holds(snapshot.size):
                return
            while (oldest := share.oldest_in_the_way(snapshot.size)) is not None:
                self._discard(oldest)
        self._add(path, share, snapshot)

    def _add(self, path: str, share: _Share, snapshot: Snapshot) -> None:
        """Put a snapshot with its fields in the place of an older one, so that no reader finds the place empty."""
        share.add(path, snapshot)
        if snapshot.fields:
            until, decrypt = snapshot.until, self._sealer.decrypt
            self._fields[path] = {
                key: (until, decrypt, sealed.nonce, sealed.ciphertext, sealed.bound)
                for key, sealed in snapshot.fields.items()
                if sealed.has_text
            }
        else:
            self._fields.pop(path, None)

    def _discard(self, path: str) -> None:
        self._fields.pop(path, None)  # first: a field without its snapshot would never be dropped
        self._secrets.remove(path)
        self._absences.remove(path)

    def _snapshot(self, path: str, secret: Secret) -> Snapshot:
        if self._sealer.spent:
            with self._lock:
                self._clear()
                self._sealer = Sealer()
        now = self._asked(secret)
        fields = {key: self._sealer.seal(value, self._owner, path, key) for key, value in secret.data.items()}
        until = now + self._config.ttl * _shortened()
        ends = math.inf if secret.ttl is None else now + secret.ttl
        size = _SNAPSHOT_BYTES + len(path) + sum(map(_field_size, fields.values()))
        return Snapshot(
            now,
            min(until, ends),
            fields,
            secret.version,
            secret.created,
            ends=ends,
            size=size,
            valid_until=secret.ends,
        )

    def _absence(self, path: str, absence: SecretNotFoundError) -> Snapshot:
        now = self._asked(absence)
        until = now + min(self._config.ttl, self._config.missing_ttl)
        size = _SNAPSHOT_BYTES + len(path) + len(absence.reason)
        return Snapshot(now, until, None, reason=absence.reason, size=size)

    def _asked(self, answer: Secret | SecretNotFoundError) -> float:
        """Return the time at which the store answered: an answer from the disk cache has an age."""
        now, age = self.clock(), age_of(answer)
        return now - age if age else now  # `now - 0.0` would be another object in memory for each snapshot

    # --- forgetting ---------------------------------------------------------------------------------------------------

    def history_of(self, path: str) -> str:
        """Return the name of the entry for the earlier versions of a secret. No path has that name."""
        return f"{path}\0history"

    def forget(self, path: str | None = None, *, keeps_stale: bool = False) -> None:
        """Drop `path` with its earlier versions, or everything. A read in progress does not fill it again.

        With `keeps_stale`, secrets of the path stay for outages.
        """
        with self._lock:
            if path is None:
                self._clear()
                self.flights.clear()
                self.insisting.clear()
            else:
                for name in (path, self.history_of(path)):
                    before = self._secrets.snapshots.get(name)
                    if keeps_stale and before is not None:
                        self._add(name, self._secrets, before._replace(until=min(before.until, self.clock())))
                    else:
                        self._discard(name)
                    self.flights.pop(name, None)
                self.insisting.pop(path, None)

    def _clear(self) -> None:
        self._secrets.clear()
        self._absences.clear()
        self._fields.clear()


def _shortened() -> float:
    return random_factor(0.9, 1.0)


def _field_size(sealed: Sealed) -> int:
    return _FIELD_BYTES + len(sealed.nonce) + len(sealed.ciphertext) + len(sealed.bound)
