"""Rotations that a service carries out: started, followed, and recorded so that each due one is started once.

A service such as a database engine rotates again at each request. So that two schedulers make one request, the one
that writes the record first makes it. The record is a state without values at the reserved path of a store with
check-and-set: the store that the rotation names, or the first of the chain that can be written.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from strongroom._config import RotationConfig
from strongroom.errors import (
    ConflictError,
    StoreUnavailableError,
    StrongroomError,
    UnsupportedOperationError,
    shown,
)
from strongroom.rotate import audit, schedule
from strongroom.rotate.boundary import GuardedServiceRotator
from strongroom.rotate.ledger import Ledger
from strongroom.rotate.state import LEASE, State, Step
from strongroom.rotate.transaction import new_owner
from strongroom.secret import SensitiveDict, Version
from strongroom.store import SecretStore

if TYPE_CHECKING:
    from strongroom._boundary.guard import GuardedStore
    from strongroom._chain.chain import Chain
    from strongroom._chain.resolution import WriteTarget

_R = TypeVar("_R")

_LIMIT = 600.0
_PAUSE = 2.0
"""Seconds to wait for a rotation, and between two questions."""


class ServiceRotation:
    """One process's work on the rotation of one secret by its service."""

    def __init__(
        self, chain: Chain, about: RotationConfig, rotator: GuardedServiceRotator, clock: Callable[[], datetime]
    ) -> None:
        self._chain = chain
        self._about = about
        self._rotator = rotator
        self._clock = clock
        self._owner = new_owner()

    def rotate(self) -> None:
        """Rotate now, and return when the service has done it.

        Raises:
            ConflictError: another process is at work.
            StoreUnavailableError: the service does not finish.
        """
        if not self._is_recorded:
            self._start_and_follow(lambda: None)
        elif not self._rotate_recorded(lambda _state, _last: True):
            raise self._busy()

    def rotate_if_due(self) -> bool:
        """Rotate if the secret is due, and return whether this process did. Of several processes, one does.

        Raises:
            UnsupportedOperationError: neither the service nor a record tells of the last rotation.
        """
        now = self._clock()
        if self._about.every is None:
            return False
        if self._is_recorded:
            return self._rotate_recorded(
                lambda state, last: not schedule.is_paused(state, now) and self._is_due(last, now)
            )
        if self._is_due(self._last_in_service(), now):
            self._start_and_follow(lambda: None)
            return True
        return False

    def look(self) -> tuple[State | None, datetime | None, bool]:
        """Return the record, the time of the last rotation, and whether none is in progress."""
        state = self._record().load()[0] if self._is_recorded else None
        finished = self._at_store(lambda store: self._rotator.finished(store, self._about.path))
        under_way = not finished or (state is not None and state.unfinished)
        return state, _latest(self._last_in_service(), state), not under_way

    # --- the record ---------------------------------------------------------------------------------------------------

    @property
    def _is_recorded(self) -> bool:
        """Only a schedule needs the record. A service that joins two requests needs none."""
        return self._about.every is not None and not self._rotator.starts_once

    def _record(self) -> Ledger:
        for store in dict.fromkeys((self._about.store, None)):
            with suppress(UnsupportedOperationError):
                return Ledger(self._chain, self._about.path, store)
        reason = "no store of the chain can record its rotations, so two schedulers could rotate it twice"
        hint = (
            "Add a store with check-and-set to the chain, such as Vault KV version 2; or leave `every` out, and run by "
            f"cron: strongroom rotate {shown(self._about.path)}"
        )
        raise UnsupportedOperationError(self._about.path, reason, store=self._about.store, hint=hint)

    def _rotate_recorded(self, wanted: Callable[[State | None, datetime | None], bool]) -> bool:
        """Rotate under the lease of the record, if that is free and the rotation is wanted."""
        record = self._record()
        before, version = record.load()
        now = self._clock()
        if before is not None and before.unfinished:
            if before.rotator != self._rotator.name:
                reason = f"a rotation by {before.rotator!r} is under way, and {self._rotator.name!r} is configured"
                raise ConflictError(self._about.path, reason, hint="Configure that rotator until it is done")
            if not before.is_free(now):
                return False
        in_service = self._last_in_service()
        left = before if before is not None and before.unfinished else None
        if left is None and not wanted(before, _latest(in_service, before)):
            return False
        state = State(
            id=secrets.token_hex(8) if left is None else left.id,
            rotator=self._rotator.name,
            step=Step.CREATED,
            started=now,
            changed=now,
            last_success=in_service or (before.last_success if before else None),
            failures=before.failures if before else 0,
        )
        try:
            lease = Lease(record, state, version, self._owner, self._clock)
        except ConflictError:  # another process was first
            return False
        if left is None or not _has_rotated(left, in_service):  # a process that has died may have started it
            self._start_under(lease)
        lease.end(Step.DONE)
        return True

    def _start_under(self, lease: Lease) -> None:
        try:
            self._start_and_follow(lease.renew)
        except StrongroomError:
            with suppress(StrongroomError):  # the first error says more, and the lease ends by itself
                lease.end(Step.UNDONE)
            raise
        except BaseException:  # an interrupt: the next process need not wait for the lease
            with suppress(StrongroomError):
                lease.release()
            raise

    def _busy(self) -> ConflictError:
        hint = "Run strongroom rotate status to see how far it is"
        return ConflictError(self._about.path, "another process is rotating it", store=self._about.store, hint=hint)

    # --- the service --------------------------------------------------------------------------------------------------

    def _start_and_follow(self, renew: Callable[[], None]) -> None:
        path = self._about.path
        target = self._chain.target(path, self._about.store)
        with self._recorded("start", target):
            self._at_store(lambda opened: self._rotator.start(opened, path), changes="rotate")
        with self._recorded("finish", target):
            end = time.monotonic() + _LIMIT
            while not self._at_store(lambda opened: self._rotator.finished(opened, path), changes="rotate"):
                if time.monotonic() >= end:
                    reason = f"its rotation has not finished after {_LIMIT:.0f} s"
                    raise StoreUnavailableError(path, reason, store=target.store, hint="Look at the service's own log")
                time.sleep(_PAUSE)
                renew()

    @contextmanager
    def _recorded(self, step: str, target: WriteTarget) -> Iterator[None]:
        """Record the step that the block performs."""
        began = time.monotonic()
        record = partial(
            audit.record, step, self._about.path, store=target.store, link=target.link, rotator=self._rotator.name
        )
        try:
            yield
        except StrongroomError as error:
            record(seconds=time.monotonic() - began, error=error)
            raise
        record(seconds=time.monotonic() - began)

    def _is_due(self, last: datetime | None, now: datetime) -> bool:
        if last is None and not self._is_recorded:
            reason = "its service does not tell when it last rotated the secret, so no schedule can be kept"
            hint = f"Leave `every` out, and run by cron: strongroom rotate {shown(self._about.path)}"
            raise UnsupportedOperationError(self._about.path, reason, store=self._about.store, hint=hint)
        return schedule.is_due(self._about, last, now)

    def _last_in_service(self) -> datetime | None:
        return self._at_store(lambda store: self._rotator.last_rotation(store, self._about.path))

    def _at_store(self, operation: Callable[[SecretStore], _R], *, changes: str = "") -> _R:
        """Return the operation's result on the object of the store that serves the path."""
        path = self._about.path

        def at_object(guarded: GuardedStore) -> _R:
            return operation(guarded.unwrapped(path))

        return self._chain.at_target(path, self._about.store, at_object, changes=changes)


class Lease:
    """The record while this process rotates. Every write is checked against the version of the one before.

    Raises:
        ConflictError: another process has written the record first.
    """

    def __init__(
        self, record: Ledger, state: State, version: Version | None, owner: str, clock: Callable[[], datetime]
    ) -> None:
        self._record = record
        self._state = state
        self._version = version
        self._owner = owner
        self._clock = clock
        self._save(state.owned(owner, clock()))

    def renew(self) -> None:
        """Extend the lease when half of it is over."""
        now = self._clock()
        if self._state.lease_until is None or now >= self._state.lease_until - LEASE / 2:
            self._save(self._state.owned(self._owner, now))

    def release(self) -> None:
        """Give the lease up. Another process may go on at once."""
        self._save(self._state.released())

    def end(self, step: Step) -> None:
        """Record the end of the rotation."""
        failures = self._state.failures + 1
        ended = self._state.after(step, self._clock())
        self._save(ended if step is Step.DONE else replace(ended, failures=failures))

    def _save(self, state: State) -> None:
        self._version = self._record.save(state, SensitiveDict(), self._version)
        self._state = state


def _latest(in_service: datetime | None, state: State | None) -> datetime | None:
    """Return the time of the last rotation that the service or the record has."""
    known = (in_service, None if state is None else state.last_success)
    return max((moment for moment in known if moment is not None), default=None)


def _has_rotated(left: State, in_service: datetime | None) -> bool:
    """Return True if the service has rotated since the process that has died wrote the record."""
    return in_service is not None and (left.last_success is None or in_service > left.last_success)
