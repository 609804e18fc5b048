"""The interface of both drivers, and the run of one exchange and of many at a time, which they share.

Many run in bounded memory, in the thread of the caller: two threads would compete for Python.
"""

from __future__ import annotations

import contextlib
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from threading import Event
from typing import Protocol, TypeVar

from strongroom.errors import StoreError, StoreUnavailableError
from strongroom.store import remaining
from strongroom_vault.http.messages import HttpFault, LivenessChecks, Reply, SendStep, Start, Steps, Wait

_K = TypeVar("_K")

BROKEN = "the connection broke before the reply was whole"
NO_PROXY = "the proxy does not connect to it"

AT_ONCE = 32
"""The number of exchanges at a time.

A thousand reads took 0.83 to 0.96 of the time with 16, and twenty no longer; 48 gained nothing more (OpenBao 2.7).
"""

_WINDOW = 2 * AT_ONCE
"""The most items that are taken before their results are yielded."""

_ENOUGH = 3
"""The number of results that are yielded together, while the server is busy with the others."""

_GRACE = 0.2
"""Additional wait for exchanges beyond their deadline, in seconds: each reports its own failure best."""

_FRESH = 0.1
"""How long after the caller asked for results another exchange may begin, in seconds."""


class Liveness:
    """The checks of a server that has a request and has not answered yet.

    Args:
        checks: see `SendStep.liveness`.
        send: sends a probe on another connection than the request's.

    Attributes:
        due: when the next check is due, on the clock of `time.monotonic`.
    """

    def __init__(self, checks: LivenessChecks, send: Callable[[SendStep], Reply | HttpFault]) -> None:
        self._checks = checks
        self._send = send
        self.check()

    def check(self) -> bool:
        """Check the server now. Return False if it is not alive, so that the request must end."""
        result: Reply | HttpFault | None = None
        while True:
            try:
                step = self._checks.send(result)
            except StopIteration:
                return False
            if isinstance(step, Wait):
                self.due = time.monotonic() + step.seconds
                return True
            result = self._send(step)


class Driver(ABC):
    """Runs exchanges, from any thread, on connections that it keeps open.

    It uses no proxy variables, no netrc and no cookies, and follows no redirect by itself.
    """

    def __init__(self) -> None:
        self._closed = Event()

    def run(self, steps: Steps) -> Reply:
        """Return the reply that an exchange ends with, or raise its error.

        Raises:
            StoreError: the driver is closed.
        """
        result: Reply | HttpFault | None = None
        while True:
            try:
                step = steps.send(result)
            except StopIteration as done:
                reply: Reply = done.value
                return reply
            result = None
            if isinstance(step, SendStep):
                result = self.send(step)
            else:
                self._check_open()
                self._closed.wait(step.seconds)

    def send(self, step: SendStep) -> Reply | HttpFault:
        """Return the result of one step.

        Raises:
            StoreError: the driver is closed.
        """
        self._check_open()
        return self._send(step)

    @abstractmethod
    def run_many(self, items: Iterable[tuple[_K, Start]]) -> Iterator[tuple[_K, Reply | StoreError]]:
        """Yield the result of each exchange, in any order: see `run_many`.

        Raises:
            StoreError: the driver is closed.
            StoreUnavailableError: nothing came within `remaining()`.
        """

    @abstractmethod
    def certificates(self) -> Mapping[str, bytes]:
        """Return address -> DER certificate of each https server that it has connected to."""

    @abstractmethod
    def close(self) -> None:
        """Close the connections, and end the waits of exchanges under way."""

    @abstractmethod
    def reset(self) -> None:
        """Drop the connections without a word to the server: in a fork's child they are the parent's."""

    @abstractmethod
    def _send(self, step: SendStep) -> Reply | HttpFault:
        """Send one request on a free connection and return its whole reply, or the fault."""

    @abstractmethod
    def _send_apart(self, step: SendStep) -> Reply | HttpFault:
        """Send a probe on a separate connection, which is closed afterwards: all others may be taken."""

    def _liveness(self, step: SendStep) -> Liveness | None:
        """Begin the checks of the server that gets this request now."""
        return None if step.liveness is None else Liveness(step.liveness, self._send_apart)

    def _check_open(self) -> None:
        """Raise StoreError after `close`."""
        if self._closed.is_set():
            raise StoreError(reason="it is closed", hint="Open a new one")

    def _renew_event(self) -> None:
        """Replace the event in a fork's child: a thread of the parent may have held its lock."""
        closed, self._closed = self._closed.is_set(), Event()
        if closed:
            self._closed.set()


# --- many exchanges ---------------------------------------------------------------------------------------------------


class Batch(Protocol[_K]):
    """Exchanges under way. They make progress within `progress`, and each begins with a name."""

    @property
    def size(self) -> int:
        """The number of exchanges under way."""
        ...

    def begin(self, name: _K, steps: Steps) -> None:
        """Begin an exchange."""
        ...

    def progress(self, limit: float) -> list[tuple[_K, Reply | StoreError]]:
        """Wait for progress, at most `limit` seconds, and return the results of exchanges that have ended."""
        ...

    def close(self) -> None:
        """Cancel the exchanges under way, and keep connections without one for another batch."""
        ...


def run_many(batch: Batch[_K], items: Iterable[tuple[_K, Start]]) -> Iterator[tuple[_K, Reply | StoreError]]:
    """Yield the result of each item's exchange, in any order. Each may take what `remaining()` is when it begins.

    When the caller's time is over, the batch ends, and the items that are left get an error.

    Args:
        batch: runs the exchanges.
        items: names, and functions that start their exchanges. A few dozen are taken ahead of the results.

    Raises:
        StoreUnavailableError: nothing came within `remaining()`.
    """
    waiting = iter(items)
    work: deque[tuple[_K, Start]] = deque()
    with contextlib.closing(batch):
        while True:
            if remaining() > 0:
                # A few at a time: the server would be idle while many requests are built.
                work.extend(islice(waiting, min(_WINDOW - batch.size - len(work), AT_ONCE // 2)))
            if not work and not batch.size:
                break
            yield from _results(batch, work, remaining())
    yield from ((name, StoreUnavailableError(reason="the batch took all the time")) for name, _ in waiting)


def _results(batch: Batch[_K], work: deque[tuple[_K, Start]], limit: float) -> list[tuple[_K, Reply | StoreError]]:
    """Return at least one result. The exchanges that begin meanwhile end within `limit` seconds.

    Some time after the call, another exchange would have less than the whole time, and begins within the next call.
    """
    began = now = time.monotonic()
    ends = began + limit
    results: list[tuple[_K, Reply | StoreError]] = []
    while now <= ends + _GRACE:
        late = now - began > _FRESH
        while work and batch.size < AT_ONCE and not (late and (batch.size or results)):
            name, start = work.popleft()
            batch.begin(name, start(_until(ends)))
        if len(results) >= min(1 if late else _ENOUGH, len(results) + batch.size + len(work)):
            return results
        left = ends + _GRACE - now
        results += batch.progress(min(left, _FRESH) if results else left)  # one that hangs keeps no result back
        now = time.monotonic()
    if not results:
        raise StoreUnavailableError(reason="the batch took all the time")
    return results


def _until(deadline: float) -> Callable[[], float]:
    return lambda: max(0.0, deadline - time.monotonic())
