"""The interface of both drivers, and the run of one exchange, which they share."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from threading import Event
from typing import TypeVar

from strongroom.errors import StoreError
from strongroom_vault.http.messages import HttpFault, LivenessChecks, Reply, SendStep, Start, Steps, Wait

_K = TypeVar("_K")

BROKEN = "the connection broke before the reply was whole"
NO_PROXY = "the proxy does not connect to it"


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
        """Yield the result of each exchange, in any order: see `bulk.run_many`.

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
