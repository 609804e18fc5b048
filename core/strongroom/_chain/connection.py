"""A store that is opened at first use and called through a circuit breaker, within its share of the time."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from strongroom.errors import (
    InvalidDataError,
    InvalidPathError,
    StoreError,
    StoreUnavailableError,
    StrongroomError,
    UnsupportedOperationError,
)
from strongroom.events import Event, EventKind, auditors, emit, emit_to_auditors, is_listening
from strongroom.secret import Secret
from strongroom.store import SecretStore, fails_fast, remaining, time_limit
from strongroom.store.process import random_factor

if TYPE_CHECKING:
    from strongroom._boundary.guard import GuardedStore

logger = logging.getLogger("strongroom.secrets_manager")

Opener: TypeAlias = Callable[[], SecretStore]


_R = TypeVar("_R")
SHARE = 0.6
"""The share of the remaining time that one store may take if something else can answer."""
_SHORTEST_TEST = 0.5
"""With less time than this, in seconds, silence tells nothing about the store: the caller was short of time."""
_MOST_PATHS = 1000
"""The outages of this many single paths are remembered; beyond them the oldest is forgotten."""

FIRST_PROBE = 1.0
LAST_PROBE = 30.0

OUTAGES_IN_A_ROW = 40
"""After this many consecutive outages a store is down, and its batch ends: more than the calls in flight at a time."""


class Breaker:
    """Opens on an outage; admits one probe after 1 s, then after twice as long each time, up to 30 s.

    Jitter shortens each interval by up to a fifth, so that many processes do not all probe at once.

    Args:
        probe_limit: how long one probe may take, in seconds, before another caller is admitted in its stead.
        clock: seconds, monotonic.

    Attributes:
        is_open: True during a known outage.
        outage: the last failure that was noted.
    """

    def __init__(self, probe_limit: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._probe_limit = probe_limit
        self.clock = clock
        self._lock = threading.RLock()
        self.is_open = False
        self.outage: StoreUnavailableError | None = None
        self._began = 0.0
        self._failed = 0.0
        self._interval = 0.0
        self._probe_at = 0.0
        self._probing = False

    @property
    def lasted(self) -> float:
        """For how many seconds the known outage has lasted; 0 without one."""
        return self.clock() - self._began if self.is_open else 0.0

    def would_admit(self) -> bool:
        return not self.is_open or self.clock() >= self._probe_at

    def admit(self) -> bool:
        """Return True if the caller may query the store: always while closed; while open, one caller for each probe."""
        if not self.is_open:
            return True
        with self._lock:
            if not self.would_admit():
                return False
            self._probing = True
            self._probe_at = self.clock() + self._probe_limit
            return True

    def hasten(self) -> None:
        """Make a probe due now: the next caller is admitted."""
        with self._lock:
            self._probe_at = self.clock()

    def need(self) -> None:
        """Make a probe due 1 s after the last one: a read found that nobody else can answer it."""
        with self._lock:
            if not self._probing:
                self._probe_at = min(self._probe_at, self._failed + FIRST_PROBE)

    def succeeded(self) -> float | None:
        """Note an answer. Return the seconds that the outage lasted which it ends, or None."""
        with self._lock:
            lasted = self.lasted if self.is_open else None
            self.is_open = self._probing = False
            return lasted

    def failed(self, outage: StoreUnavailableError | None = None) -> bool:
        """Note a failure. Return True if it begins an outage."""
        with self._lock:
            self.outage = outage
            begins = not self.is_open
            if not begins and not self._probing:
                return False  # a call that began before the outage was known: it says nothing new
            self._probing = False
            self._failed = self.clock()
            if begins:
                self._began = self._failed
            self._interval = FIRST_PROBE if begins else min(self._interval * 2, LAST_PROBE)
            self._probe_at = self._failed + self._interval * random_factor(0.8, 1.0)
            self.is_open = True  # last, since it is read without the lock
            return begins


class _Attempt(Future[None]):
    """An attempt to open a store, which ends when the future does.

    Attributes:
        number: counts the attempts of a connection, from 1.
        hasty: it fails fast, so that it ends at the first refused connection.
        failure: why it failed; None too after an interrupt, and if the time of the thread that made it was over.
    """

    def __init__(self) -> None:
        super().__init__()
        self.number = 0
        self.hasty = fails_fast()
        self.failure: StrongroomError | None = None

    def answers(self, known: int) -> bool:
        """Return True if the failure holds for a call that began when this was the number of the last attempt.

        An outage lasted until the end of the attempt. The cause of any other failure, such as a wrong token, may have
        been removed between the beginnings of the attempt and of the call.
        """
        if isinstance(self.failure, StoreUnavailableError):
            return fails_fast() or not self.hasty
        return self.number > known


class StoreConnection:
    """The way to one store of a chain.

    Args:
        name: the store's name, for messages.
        opener: opens the store; called at first use, inside the deadline, and again after `reset`.
        timeout: how long one answer may take, in seconds, if something else can answer.
        cached: returns the values that are cached for a path. An error of the store shows none of them.

    Attributes:
        breaker: whether an outage of the store is known. A path that alone is unavailable has a breaker of its own.
        closed: True after `close`.
        offline: the outage of a store that is not asked on purpose: it ends every call, and is noted nowhere.
        position: the position of the store in the chain, from 1, for events.
        store: the store, if it is open.
        timeout: how long one answer may take, in seconds, if something else can answer.
    """

    def __init__(
        self, name: str, opener: Opener, timeout: float, cached: Callable[[str], Sequence[object]] = lambda _: ()
    ) -> None:
        self._name = name
        self._opener = opener
        self._cached = cached
        self.timeout = timeout
        self.closed = False
        self.offline: StoreUnavailableError | None = None
        self.position: int | None = None
        self.reset()

    def reset(self) -> None:
        """Drop the store without closing it: in the child of a fork its connections are the parent's."""
        self._opening = threading.RLock()
        self._attempt: _Attempt | None = None
        self.store: GuardedStore | None = None
        self.breaker = Breaker(self.timeout)
        self._path_breakers: dict[str | None, Breaker] = {}

    def set_clock(self, clock: Callable[[], float]) -> None:
        """Take the time of the circuit breakers from this clock, in seconds."""
        for breaker in (self.breaker, *self._path_breakers.values()):
            breaker.clock = clock

    def close(self) -> None:
        """Close the store. Every later call is refused."""
        self.closed = True
        store, self.store = self.store, None
        if store is not None:
            store.close()

    def call(
        self,
        path: str | None,
        operation: Callable[[GuardedStore], _R],
        *,
        reads: bool = False,
        changes: str = "",
        insists: bool = False,
        ends: float | None = None,
    ) -> _R:
        """Return `operation(store)`, within its share of the time.

        During a known outage, a read that another link or a cached value can answer is refused at once, unless it
        insists. Any other call is sent to the store. An outage of a single path affects reads of that path only.

        Args:
            path: the path that errors name.
            operation: takes the store, which is opened if need be.
            reads: it is a read of `path`.
            changes: the name of the change, if it is one. A failed one says nothing about reads, and opens no breaker.
            insists: it may take all the remaining time, also during a known outage.
            ends: when it must have ended, on the clock of `time.monotonic`, if its share began before the call.
        """
        self._admit(path, reads=reads and not insists)
        if changes and auditors:
            started = Event(EventKind.WRITE, self._name, path or "", self.position, step=changes, outcome="started")
            emit_to_auditors(started)
        given = remaining() if insists else self.share(changes=bool(changes))
        if ends is not None:
            given = min(given, ends - time.monotonic())
        ends = time.monotonic() + given
        try:
            with time_limit(given):
                store = self.open()
                answer = operation(store)
        except StrongroomError as error:
            failure = self._noted(error, path, given, ends, reads=reads, changes=bool(changes))
            if changes:
                self._tell_of_write(path, changes, ends - given, failure)
            if failure is error:
                raise
        else:
            self._note_answer(path if reads or changes else None)
            if changes:
                self._tell_of_write(path, changes, ends - given)
            return answer
        raise failure

    def _admit(self, path: str | None, *, reads: bool) -> None:
        """Raise the known outage that forbids the call."""
        for breaker in (self.breaker if fails_fast() else None, self._path_breakers.get(path) if reads else None):
            if breaker is not None and not breaker.admit():
                raise _known_outage(breaker, path, self._name)

    def _noted(
        self, error: StrongroomError, path: str | None, given: float, ends: float, *, reads: bool, changes: bool = False
    ) -> StrongroomError:
        """Note the error of a call that had `given` seconds until `ends`, and return it; of an outage, a copy."""
        if isinstance(error, StoreUnavailableError):
            if error.path_only:
                self._note_answer()
                if reads:
                    self._note_path(path, error)
                return error
            outage = error.copy(path=error.path or path, store=error.store or self._name)
            if error.conclusive and not changes and not ends_in_time(error):
                self._note_outage(outage, given, late=time.monotonic() >= ends)
            return outage
        # Most of these are refused before anything is sent, which does not end an outage.
        if not isinstance(error, InvalidPathError | InvalidDataError | UnsupportedOperationError):
            self._note_answer(path if reads else None)
        return error

    def share(self, *, changes: bool = False) -> float:
        """Return the seconds for one call of those that are left: the rest is for the next link or the stale value.

        During a known outage, a read that nobody else can answer has no more than the timeout, so that the threads of
        an application do not pile up behind a store that hangs.
        """
        left = remaining()
        if fails_fast():
            return min(self.timeout, left * SHARE)
        return min(self.timeout, left) if self.breaker.is_open and not changes else left

    def read_each(
        self, paths: Sequence[str], *, insists: bool = False
    ) -> Iterator[tuple[str, Secret | StrongroomError]]:
        """Yield the store's answer for each path, read as one batch. The usual share of the time is for each answer.

        After a row of outages, or when the call's own time is over, the remaining paths are not requested. A batch that
        `insists` may take all the remaining time, and no known outage of a path refuses it.
        """
        breakers = {} if insists else self._path_breakers
        known = ((path, breakers.get(path)) for path in paths)  # another thread may drop one
        refused = {path: breaker for path, breaker in known if breaker is not None and not breaker.admit()}
        yield from ((path, _known_outage(breaker, path, self._name)) for path, breaker in refused.items())
        paths = [path for path in paths if path not in refused]
        if not paths:
            return
        share = remaining() if insists else self.share()
        ends = time.monotonic() + (share if share < self.timeout else remaining())
        waiting, outages, given = dict.fromkeys(paths), 0, share
        enough = min(len(paths), OUTAGES_IN_A_ROW)
        late = StoreUnavailableError(reason="the batch took all the time")
        failure: StrongroomError = late
        store: GuardedStore | None = None
        try:
            if fails_fast() and not self.breaker.admit():
                raise _known_outage(self.breaker, None, self._name)
            with time_limit(given):
                store = self.open()
            answers = store.read_many(paths)
            # To its end: Python drops an exception of a signal's handler while it collects an unfinished generator.
            while outages < enough and (left := ends - time.monotonic()) > 0:
                given = max(given if outages else 0.0, min(share, left))
                with time_limit(min(share, left)):
                    found = next(answers, None)
                if found is None:
                    break
                path, answer = found
                del waiting[path]
                self._note_path(path, answer)
                if (
                    isinstance(answer, StoreUnavailableError)
                    and answer.conclusive
                    and not answer.path_only
                    and not ends_in_time(answer)
                ):
                    failure, outages = answer, outages + 1
                else:
                    failure, outages = late, 0
                yield path, answer
        except StrongroomError as error:
            failure, outages = error, enough if isinstance(error, StoreUnavailableError) else 0
        if isinstance(failure, StoreUnavailableError) and (outages == enough or (outages and time.monotonic() >= ends)):
            if failure.conclusive:
                self._note_outage(failure, given, late=time.monotonic() >= ends)
        else:
            self._note_answer()
        # An error of the opening names no path, as in `call`, unless it is an outage.
        of_path = isinstance(failure, StoreUnavailableError if store is None else StoreError)
        for path in waiting:
            yield path, failure.copy(path=path) if of_path else failure.copy()

    def opened(self, path: str | None = None, *, insists: bool = False) -> GuardedStore:
        """Return the store, opened if need be: only then are its capabilities known. It may be in an outage."""
        return self.store or self.call(path, lambda store: store, insists=insists)

    def known_outage(self, path: str) -> StoreUnavailableError | None:
        """Return the known outage of the store, or of this path alone, as an error of the path, or None."""
        if self.offline is not None:
            return self.offline.copy(path=path)
        breaker = self.breaker_for(path)
        return _known_outage(breaker, path, self._name) if breaker.is_open else None

    def is_refused(self, path: str) -> bool:
        """Return True if a read of `path` would be refused, because an outage is known and no probe is due."""
        return self.offline is not None or not self.breaker_for(path).would_admit()

    def breaker_for(self, path: str) -> Breaker:
        """Return the breaker that decides about `path`: the store's, unless only an outage of the path is known."""
        return self.breaker if self.breaker.is_open else self._path_breakers.get(path, self.breaker)

    def open(self) -> GuardedStore:
        """Return the store, opened if need be. Threads that need it at the same time share one attempt and its failure.

        Each thread waits within its own time. A thread that an attempt tells nothing about (see `_Attempt.answers`)
        makes the next one, again together with all others.
        """
        if self.offline is not None:
            raise self.offline.copy()
        known = 0 if (last := self._attempt) is None else last.number
        while (store := self.store) is None and not self.closed:
            own = _Attempt()
            try:  # from here on an interrupt at any point ends the attempt
                with self._opening:
                    attempt = self._attempt
                    if attempt is None or (attempt.number <= known and attempt.done()):
                        own.number = 1 if attempt is None else attempt.number + 1
                        attempt = self._attempt = own
                if attempt is own:
                    self._try_to_open(own)
                else:
                    self._join(attempt, known)
            finally:
                own.set_result(None)
            known = attempt.number
        if self.closed or store is None:
            # A close during the opening found nothing to close.
            self.store = None
            if store is not None:
                store.close()
            raise StoreError(None, "the manager is closed", store=self._name, hint="Make a new one")
        return store

    def _try_to_open(self, attempt: _Attempt) -> None:
        """Open the store for all threads that wait for the attempt, within the time of this one."""
        if self.store is not None:  # it was opened just before this attempt began
            return
        from strongroom._boundary.guard import GuardedStore  # a hit in the disk cache opens nothing

        try:
            self.store = GuardedStore.open(self._opener, self._name, self._cached)
        except StrongroomError as error:
            if not isinstance(error, StoreUnavailableError) or remaining() > 0:
                attempt.failure = error.copy()
            raise

    def _join(self, attempt: _Attempt, known: int) -> None:
        """Wait for an attempt of another thread, and raise its failure if that is an answer for this thread.

        Raises:
            StoreUnavailableError: the attempt took longer than `remaining()`.
        """
        if not wait([attempt], remaining()).done:
            raise StoreUnavailableError(None, "it is still being opened", store=self._name)
        if attempt.failure is not None and attempt.answers(known):
            raise attempt.failure.copy()  # each thread raises a separate object: raising writes to it

    def _note_outage(self, outage: StoreUnavailableError, given: float, *, late: bool) -> None:
        """Record an outage of a store that had `given` seconds to answer; `late` if it took them all."""
        if late and given < min(self.timeout, _SHORTEST_TEST):
            return
        if self.breaker.failed(outage.copy(attempts=(), checks=())):
            logger.warning("Store %s is unavailable: %s", self._name, outage.reason or outage)
            emit(Event(EventKind.OUTAGE, self._name, link=self.position, error=type(outage).__name__))

    def _note_answer(self, path: str | None = None) -> None:
        """Record an answer of the store, and that it was one for `path`."""
        if path is not None:
            self._path_breakers.pop(path, None)
        if (lasted := self.breaker.succeeded()) is not None:
            logger.info("Store %s is available again", self._name)
            emit(Event(EventKind.RECOVERY, self._name, link=self.position, seconds=lasted))

    def _tell_of_write(
        self, path: str | None, change: str, started: float, error: StrongroomError | None = None
    ) -> None:
        """Emit the event of a change that began then."""
        if is_listening():
            outcome, name = ("done", "") if error is None else ("failed", type(error).__name__)
            took, link = time.monotonic() - started, self.position
            event = Event(EventKind.WRITE, self._name, path or "", link, took, step=change, outcome=outcome, error=name)
            emit(event)

    def _note_path(self, path: str | None, answer: object) -> None:
        """Record the store's answer for `path`: whether an outage of this path alone is known."""
        if not isinstance(answer, StoreUnavailableError):
            self._path_breakers.pop(path, None)
        elif answer.path_only:
            breaker = self._path_breakers.setdefault(path, Breaker(self.timeout, clock=self.breaker.clock))
            breaker.failed(answer.copy(attempts=(), checks=()))
            for oldest in list(self._path_breakers)[:-_MOST_PATHS]:
                self._path_breakers.pop(oldest, None)


def ends_in_time(outage: StoreUnavailableError) -> bool:
    """Return True if a read that failed fast can wait for a store that throttles its callers, and ask it again."""
    return outage.retry_after is not None and outage.retry_after < remaining()


def _known_outage(breaker: Breaker, path: str | None, store: str) -> StoreUnavailableError:
    """Return the outage that a breaker knows, as a new error of this path."""
    outage = breaker.outage or StoreUnavailableError(store=store)
    return outage.copy(path=path, retry_after=None)
