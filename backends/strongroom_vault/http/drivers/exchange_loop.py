"""The steps of one exchange. A separate module, since both drivers use it and each imports only its own library."""

from __future__ import annotations

from abc import ABC, abstractmethod

from strongroom.errors import StoreError
from strongroom.store import ReentrantEvent
from strongroom_vault.http.messages import Fault, Reply, Send, Steps


class ExchangeLoop(ABC):
    """Base of the drivers: executes the steps of an exchange, and refuses them after `close`."""

    def __init__(self) -> None:
        self._closed = ReentrantEvent()

    def run(self, steps: Steps) -> Reply:
        """Return the reply that an exchange ends with, or raise its error."""
        step = next(steps)
        while True:
            self._check_open()
            result = None
            if isinstance(step, Send):
                result = self._send(step)
            else:
                self._closed.wait(step.seconds)
            try:
                step = steps.send(result)
            except StopIteration as done:
                reply: Reply = done.value
                return reply

    @abstractmethod
    def _send(self, step: Send) -> Reply | Fault:
        """Send one request and return its whole reply, or the fault."""

    def _check_open(self) -> None:
        """Raise StoreError after `close`."""
        if self._closed.is_set():
            raise StoreError(reason="it is closed", hint="Open a new one")

    def _renew_event(self) -> None:
        """Replace the event in a fork's child: a thread of the parent may have held its lock."""
        closed, self._closed = self._closed.is_set(), ReentrantEvent()
        if closed:
            self._closed.set()
