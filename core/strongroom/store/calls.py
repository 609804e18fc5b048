"""Calls of a service: time left, repetition, lost replies and silenced logs, in one place for all backends.

A backend translates the exceptions of its client, and calls its client through a `Caller`::

    caller = Caller("The zoo", connect, fault_of, loggers=("zoo", "urllib3"))

    def read(self, path):
        return caller.call(path, lambda client: client.get(path, timeout=remaining()))
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from enum import Enum, auto
from typing import Generic, TypeVar

from strongroom.errors import StoreError, StoreUnavailableError, StrongroomError, WriteOutcomeUnknownError
from strongroom.store.deadline import fails_fast, remaining, time_limit
from strongroom.store.process import random_factor
from strongroom.store.sdk_logging import silenced_logs

__all__ = ["Caller", "Fate", "Fault", "is_unsent", "retry_after"]

_FIRST_PAUSE, _LONGEST_PAUSE, _LONGEST_THROTTLE = 0.1, 0.25, 2.0
"""Seconds between two attempts. Each pause is twice the one before; jitter shortens it by up to a half."""

_REFUSED = 1.0
"""A service to which no request can be sent is down after this number of seconds."""
_HASTE = 1.0
"""For how many seconds a read is repeated, once in any case, if another link or a stale value can answer it."""
_LAST_CHANCE = 0.05
"""With less time than this after a pause, in seconds, nothing is repeated."""
_SHARE = 3 / 4
"""The share of the time for a change whose reply can be looked up if it is lost."""

_UNCONNECTED = frozenset({"ConnectTimeoutError", "NewConnectionError", "SSLCertVerificationError"})

_C = TypeVar("_C")
_R = TypeVar("_R")


class Fate(Enum):
    """What became of a request that failed."""

    ANSWERED = auto()
    """The service answered. Its error is final, and nothing was changed."""
    THROTTLED = auto()
    """The service refused to execute the request now, as with HTTP 429. Reads and changes are repeated."""
    UNSENT = auto()
    """No request reached the service: a refused connection, no address, no token."""
    FAILED = auto()
    """The service failed, as with HTTP 503, or its reply was lost. A change may have been made."""
    ODD = auto()
    """The reply is not one of this service. Repeating does not help, and a change may have been made."""


_IN_DOUBT = frozenset({Fate.FAILED, Fate.ODD})


class Fault(Exception):  # noqa: N818  # `Caller.call` raises the error that it carries
    """A failed attempt. The function `fault_of` returns it, and an operation that knows its fate may raise it.

    Attributes:
        error: the error for the caller. `Caller.call` adds the path.
        fate: what became of the request.
        after: the seconds for which the service asks for no further request, as in Retry-After.
    """

    def __init__(self, error: StrongroomError, fate: Fate = Fate.ANSWERED, after: float | None = None) -> None:
        super().__init__()
        self.error = error
        self.fate = fate
        self.after = after


def retry_after(headers: Mapping[str, str] | None) -> float | None:
    """Return the seconds of the header Retry-After; None without it, and for a date. `headers` ignore case."""
    text = (headers or {}).get("Retry-After", "").strip()
    return float(text) if text.isascii() and text.isdigit() else None


def is_unsent(error: BaseException) -> bool:
    """Return True if an exception of urllib3, or one of requests around it, reports the lack of a connection.

    The class alone does not tell: urllib3 reports a lost reply through a proxy as a failure to connect to the proxy.
    """
    if any(kind.__name__ in _UNCONNECTED for kind in type(error).__mro__):
        return True
    if type(error) is OSError and error.errno is None:  # the proxy refused the tunnel
        return True
    return any(is_unsent(cause) for cause in error.args if isinstance(cause, BaseException))


class Caller(Generic[_C]):
    """The one way to call a service.

    Args:
        service: its name, for messages.
        connect: returns the client, each time that a call needs it. If it raises, nothing was sent.
        fault_of: translates an exception of the client. It is not called for a `Fault` or an error of Strongroom, of
            which a `StoreUnavailableError` counts as `ODD`.
        loggers: the packages whose log records are dropped during a call, since they may hold values.
    """

    def __init__(
        self,
        service: str,
        connect: Callable[[], _C],
        fault_of: Callable[[Exception], Fault],
        *,
        loggers: tuple[str, ...] = (),
    ) -> None:
        self._service = service
        self._connect = connect
        self._fault_of = fault_of
        self._loggers = loggers
        self._asked_off_until = 0.0

    def call(
        self,
        path: str | None,
        operation: Callable[[_C], _R],
        *,
        changes: bool = False,
        settle: Callable[[], _R | None] | None = None,
        repeatable: bool = False,
    ) -> _R:
        """Return the result of an operation, within `remaining()`.

        Throttled requests are repeated until the deadline, and so are reads while the service fails. While the service
        asks for no request (Retry-After), none is sent by a call that has the time to wait. If another link or a stale
        value can answer (`fails_fast`), a failed read is repeated once, and for one second. A service that cannot be
        reached is down after one second, or at once if another can answer.

        Args:
            path: the path of the secret, for errors.
            operation: takes the client and sends one request, with `remaining()` as its timeout. It must return no
                iterator, which would send requests later. It raises what `fault_of` translates, or a `Fault`.
            changes: the operation changes something.
            settle: looks up, after a lost reply, whether the change was made, and returns its result; None if not.
            repeatable: a change that may be sent again after a lost reply, such as one under check-and-set.

        Raises:
            WriteOutcomeUnknownError: a change may have been made, and `settle` does not find it.
            StoreUnavailableError: the service could not be reached in time. A change was not made.
            StrongroomError: the error of a `Fault`. A change was not made.
        """
        with time_limit(remaining()):
            lost, pauses = False, _Pauses()
            while True:
                if 0 < (pause := self._asked_off_until - time.monotonic()) < remaining() - _LAST_CHANCE:
                    time.sleep(pause)  # asked for by the reply to another call
                if (left := remaining()) <= 0:
                    raise StoreUnavailableError(path, f"{self._service} did not answer in time")
                with time_limit(left if settle is None else left * _SHARE):
                    outcome, is_sent = self._attempt(operation)
                if not isinstance(outcome, Fault):
                    return outcome
                if outcome.after:
                    self._asked_off_until = time.monotonic() + outcome.after
                lost = lost or (changes and is_sent and outcome.fate in _IN_DOUBT)
                if (lost and not repeatable) or (delay := pauses.after(outcome)) is None:
                    break
                time.sleep(delay)
            failure = outcome.error.copy(path=path) if isinstance(outcome.error, StoreError) else outcome.error.copy()
            if outcome.fate is Fate.THROTTLED and isinstance(failure, StoreUnavailableError):
                failure = failure.copy(retry_after=outcome.after)
            if not lost:
                raise failure
            with suppress(StrongroomError):
                if settle is not None and (settled := settle()) is not None:
                    return settled
        raise WriteOutcomeUnknownError(path, getattr(failure, "reason", ""))

    def _attempt(self, operation: Callable[[_C], _R]) -> tuple[_R | Fault, bool]:
        """Return the result or the fault, and whether a client was there to send the request.

        It raises nothing, and returns no exception that was raised: their frames may hold values and connections.
        """
        is_sent = False
        try:
            with silenced_logs(*self._loggers):
                client = self._connect()
                is_sent = True
                return operation(client), True
        except Fault as fault:
            return Fault(fault.error, fault.fate, fault.after), is_sent
        except StoreUnavailableError as error:
            return Fault(error.copy(), Fate.ODD if is_sent else Fate.UNSENT), is_sent
        except StrongroomError as error:
            return Fault(error.copy()), is_sent
        except Exception as error:  # noqa: BLE001  # a client raises anything
            return self._fault_of(error), is_sent


class _Pauses:
    """The pauses of one call."""

    def __init__(self) -> None:
        self._is_hasty = fails_fast()
        self._began = self._heard = time.monotonic()
        self._pause = _FIRST_PAUSE

    def after(self, fault: Fault) -> float | None:
        """Return the seconds until the next attempt; None to give up."""
        now = time.monotonic()
        if fault.fate is Fate.THROTTLED:
            limit, longest = remaining(), _LONGEST_THROTTLE
        elif fault.fate is Fate.FAILED:
            is_first = self._pause == _FIRST_PAUSE  # its reply may have taken longer than the haste allows
            is_limited = self._is_hasty and not is_first
            limit, longest = self._began + _HASTE - now if is_limited else remaining(), _LONGEST_PAUSE
        elif fault.fate is Fate.UNSENT:
            limit, longest = 0.0 if self._is_hasty else self._heard + _REFUSED - now, _LONGEST_PAUSE
        else:
            return None
        if fault.fate is not Fate.UNSENT:
            self._heard = now
        pause = min(self._pause, longest) * random_factor(0.5, 1.0) + (fault.after or 0.0)
        self._pause *= 2
        return pause if pause < limit and pause + _LAST_CHANCE < remaining() else None
