"""The cache of one link, in memory: sealed snapshots of secrets, one flight per path, and no race with a write."""

from __future__ import annotations

import math
import random
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from strongroom.chain.seal import Sealed, Sealer
from strongroom.errors import SecretNotFoundError, StoreError, StoreUnavailableError
from strongroom.secret import Secret, SensitiveDict, SensitiveStr, Version
from strongroom.store import boot_time, remaining

if TYPE_CHECKING:
    from strongroom.config import CacheConfig

Flight: TypeAlias = "Future[Secret]"
_Field: TypeAlias = "tuple[float, Callable[[bytes, bytes, bytes], bytes], bytes, bytes, bytes]"


class Snapshot(NamedTuple):
    """A store's answer for one path. `fields` is None for a confirmed absence, with its `reason`.

    It is current `until` then. In an outage it is served for `max_stale` more, but never past `ends`.
    """

    fetched: float
    until: float
    fields: Mapping[str, Sealed] | None
    version: Version | None = None
    created: datetime | None = None
    reason: str = ""
    ends: float = math.inf


class MemoryCache:
    """The secrets that a link has read, each field sealed separately.

    Cached reads take no lock: they are single dictionary lookups. The lock guards changes that belong together: a
    snapshot with its fields, a flight with the snapshot that it fills.

    Args:
        owner: the link's name; every seal is bound to it.
        lifetimes: how long entries are current. Jitter shortens `ttl` by up to a tenth, so that many processes do
            not all read at once.
        clock: seconds that go on while the machine is suspended.
    """

    def __init__(self, owner: str, lifetimes: CacheConfig, *, clock: Callable[[], float] = boot_time) -> None:
        self._owner = owner
        self._lifetimes = lifetimes
        self._clock = clock
        self.reset()

    def reset(self) -> None:
        """Empty the cache and make a new key: the child of a fork has its parent's key."""
        self._lock = threading.Lock()
        self._sealer = Sealer()
        self._snapshots: dict[str, Snapshot] = {}
        self._fields: dict[tuple[str, str], _Field] = {}
        self._flights: dict[str, Flight] = {}

    def __repr__(self) -> str:
        return f"MemoryCache({self._owner!r}, {len(self._snapshots)} entries)"

    def __len__(self) -> int:
        return len(self._snapshots)

    # --- entries ------------------------------------------------------------------------------------------------------

    def text(self, path: str, key: str) -> SensitiveStr | None:
        """Return one field as text if it is current, or None. A busy application calls little besides."""
        field = self._fields.get((path, key))
        if field is None:
            return None
        until, decrypt, nonce, ciphertext, bound = field
        if until <= self._clock():
            return None
        try:
            return SensitiveStr(decrypt(nonce, ciphertext, bound), "utf-8")
        except self._sealer.broken_seal:
            return None

    def current(self, path: str, key: str | None = None) -> Snapshot | None:
        """Return the snapshot if it is current for the path and for `key`."""
        snapshot, now = self._snapshots.get(path), self._clock()
        if snapshot is None or snapshot.until <= now:
            return None
        if snapshot.fields is not None and key is not None and key not in snapshot.fields:
            return snapshot if now < snapshot.fetched + self._lifetimes.missing_ttl else None
        return snapshot

    def stale(self, path: str) -> Snapshot | None:
        """Return the snapshot of a secret if an outage may still serve it. An absence is never served stale."""
        snapshot = self._snapshots.get(path)
        if snapshot is None or snapshot.fields is None:
            return None
        return snapshot if self._clock() < min(snapshot.until + self._lifetimes.max_stale, snapshot.ends) else None

    def age(self, snapshot: Snapshot) -> float:
        """Return the seconds since the store answered."""
        return max(0.0, self._clock() - snapshot.fetched)

    def ttl(self, snapshot: Snapshot) -> float | None:
        """Return the remaining lifetime in seconds; None if the secret does not expire."""
        return max(0.0, snapshot.ends - self._clock()) if math.isfinite(snapshot.ends) else None

    def open(self, fields: Mapping[str, Sealed]) -> SensitiveDict | None:
        """Return the fields, unsealed into a new mapping; None if a seal is broken, which is a miss."""
        try:
            return SensitiveDict((name, self._sealer.open(sealed)) for name, sealed in fields.items())
        except self._sealer.broken_seal:
            return None

    # --- reading through ----------------------------------------------------------------------------------------------

    def flight(self, path: str) -> Flight | None:
        """Return the read of `path` that is in progress, if there is one."""
        return self._flights.get(path)

    def fetch(self, path: str, load: Callable[[], Secret], *, fresh: bool = False) -> Secret:
        """Return `load()`, called once for all threads that request `path` meanwhile.

        The result is cached unless a write came between.

        Args:
            path: the secret's path.
            load: reads it. `SecretNotFoundError` is a confirmed absence, which is cached too.
            fresh: do not join a read in progress: its result may be older than this call.

        Raises:
            StoreUnavailableError: another thread's read took longer than `remaining()`.
        """
        flight, is_leader = self.lead_or_join(path, fresh=fresh)
        if not is_leader:
            return self.wait(path, flight)
        try:
            secret = load()
            self.complete(path, flight, secret)
        except BaseException as error:
            self.fail(path, flight, error)
            raise
        return secret

    def lead_or_join(self, path: str, *, fresh: bool = False) -> tuple[Flight, bool]:
        """Return the flight that reads `path`, and whether the caller leads it: then it calls `complete` or `fail`."""
        with self._lock:
            in_progress = None if fresh else self._flights.get(path)
            if in_progress is not None:
                return in_progress, False
            flight: Flight = Future()
            flight.set_running_or_notify_cancel()  # so that an async waiter that is cancelled cannot cancel it
            self._flights[path] = flight
            return flight, True

    def wait(self, path: str, flight: Flight) -> Secret:
        """Return the result of a flight that another thread leads, or raise its error.

        Raises:
            StoreUnavailableError: it took longer than `remaining()`.
        """
        try:
            return flight.result(timeout=remaining())
        except TimeoutError:
            failure: StoreError = StoreUnavailableError(path, "the read that was under way took too long")
        except StoreError as error:
            failure = error.copy()  # each thread raises a separate object: raising writes to it
        raise failure

    def complete(self, path: str, flight: Flight, secret: Secret) -> None:
        """End a flight with its secret, and cache that unless a write has dropped the flight."""
        self._end(path, flight, self._snapshot(path, secret))
        flight.set_result(secret)

    def fail(self, path: str, flight: Flight, failure: BaseException) -> None:
        """End a flight with any exception, so that the threads that wait for it do not hang."""
        self._end(path, flight, self._absence(failure.reason) if isinstance(failure, SecretNotFoundError) else None)
        if isinstance(failure, StoreError):
            flight.set_exception(failure.copy())
        else:
            flight.set_exception(StoreUnavailableError(path, f"the read ended with {type(failure).__name__}"))

    def _end(self, path: str, flight: Flight, snapshot: Snapshot | None) -> None:
        with self._lock:
            if self._flights.get(path) is not flight:
                return
            del self._flights[path]
            if snapshot is not None and self._lifetimes.ttl > 0:
                self._keep(path, snapshot)

    def _keep(self, path: str, snapshot: Snapshot) -> None:
        self._discard(path)
        while len(self._snapshots) >= self._lifetimes.max_entries:
            self._discard(next(iter(self._snapshots)))
        self._snapshots[path] = snapshot
        decrypt = self._sealer.decrypt
        for key, sealed in (snapshot.fields or {}).items():
            if sealed.has_text:
                self._fields[path, key] = (snapshot.until, decrypt, sealed.nonce, sealed.ciphertext, sealed.bound)

    def _discard(self, path: str) -> None:
        snapshot = self._snapshots.pop(path, None)
        for key in (snapshot and snapshot.fields) or {}:
            self._fields.pop((path, key), None)

    def _snapshot(self, path: str, secret: Secret) -> Snapshot:
        if self._sealer.spent:
            with self._lock:
                self._snapshots.clear()
                self._fields.clear()
                self._sealer = Sealer()
        now = self._clock()
        fields = {key: self._sealer.seal(value, self._owner, path, key) for key, value in secret.data.items()}
        until = now + self._lifetimes.ttl * random.uniform(0.9, 1.0)  # noqa: S311  # it spreads load, it hides nothing
        ends = math.inf if secret.ttl is None else now + secret.ttl
        return Snapshot(now, min(until, ends), fields, secret.version, secret.created, ends=ends)

    def _absence(self, reason: str) -> Snapshot:
        now = self._clock()
        return Snapshot(now, now + min(self._lifetimes.ttl, self._lifetimes.missing_ttl), None, reason=reason)

    # --- forgetting ---------------------------------------------------------------------------------------------------

    def forget(self, path: str | None = None) -> None:
        """Drop `path`, or everything. A read that is in progress does not fill it again."""
        with self._lock:
            if path is None:
                self._snapshots.clear()
                self._fields.clear()
                self._flights.clear()
            else:
                self._discard(path)
                self._flights.pop(path, None)
