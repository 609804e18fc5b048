"""Requests on libcurl's multi interface, driven by the thread that waits for them: one at a time, or many.

A signal ends the wait, as it would not in `perform` of a single handle. libcurl gets no callbacks for sockets and
timers: a thousand reads took as long with them.
"""

from __future__ import annotations

import math
import select
import time
from typing import Generic, TypeVar

import pycurl

from strongroom.store import in_daemon
from strongroom_vault.http.drivers.curl_handles import Handles, Transfer
from strongroom_vault.http.drivers.driver import AT_ONCE, Liveness
from strongroom_vault.http.messages import HttpFault, Reply, SendStep

_K = TypeVar("_K")

_LONGEST_POLL = 0.2
"""The longest wait for libcurl's sockets, in seconds. A signal that arrives just before a wait does not interrupt it,
and its handler runs after it.
"""

_HIGHEST_LISTED = 1023
"""The highest descriptor that `fdset` names."""

_BLIND_POLL = 0.01
"""The longest wait, in seconds, without knowing what libcurl waits for: the lookup of a name, a high descriptor."""


class Transfers(Generic[_K]):
    """Requests under way, each with a name. It is used by one thread at a time, and keeps its connections open.

    Args:
        handles: makes libcurl's handles.
        http_version: one of libcurl's `CURL_HTTP_VERSION_…`.
    """

    def __init__(self, handles: Handles, http_version: int) -> None:
        self._handles = handles
        self._http_version = http_version
        self._is_acting = False  # it stays True after an exception
        self._is_stuck = False  # a request ended in the lookup of a name, which may still hang
        self._has_new = False  # a request that libcurl has not begun
        self._idle: list[Transfer] = []
        self._running: dict[pycurl.Curl, tuple[_K, Transfer]] = {}
        self._multi = pycurl.CurlMulti()
        # libcurl would keep four for each request that is under way, and so close some at the end of a batch.
        self._multi.setopt(pycurl.M_MAXCONNECTS, AT_ONCE)

    @property
    def is_usable(self) -> bool:
        """Return True if no request is under way, no call was interrupted, and no lookup of a name may hang."""
        return not (self._is_stuck or self._running or self._is_acting)

    @property
    def size(self) -> int:
        """The number of requests under way."""
        return len(self._running)

    @property
    def connections(self) -> int:
        """The largest number of connections that are open."""
        return len(self._idle) + len(self._running)

    def send(self: Transfers[None], step: SendStep, ends: float, liveness: Liveness | None = None) -> Reply | HttpFault:
        """Return the reply to a single request, or its fault. It may take until `ends`, on `time.monotonic`'s clock.

        It ends early if the server fails a liveness check.
        """
        self.start(None, step, ends - time.monotonic())
        while True:
            results = self.turn(math.inf if liveness is None else liveness.due - time.monotonic())
            if not results and liveness is not None and liveness.due <= time.monotonic() and not liveness.check():
                results = [self._ended(easy, pycurl.E_OPERATION_TIMEDOUT, "") for easy in list(self._running)]
            if results:
                return results[0][1]

    def start(self, name: _K, step: SendStep, seconds: float) -> None:
        """Start a request, which may take `seconds` in total."""
        self._is_acting = True
        transfer = self._idle.pop() if self._idle else Transfer(self._handles, self._http_version)
        transfer.prepare(step, seconds)
        self._running[transfer.easy] = name, transfer
        self._multi.add_handle(transfer.easy)
        self._has_new = True
        self._is_acting = False

    def turn(self, limit: float) -> list[tuple[_K, Reply | HttpFault]]:
        """Wait for progress, at most `limit` seconds, and return the results that are there."""
        self._is_acting = True
        running = len(self._running)
        if self._has_new:
            self._has_new = False
            _, running = self._multi.perform()
        if running == len(self._running):
            self._wait(limit)
            _, running = self._multi.perform()
        results = self._results() if running < len(self._running) else []
        self._is_acting = False
        return results

    def close(self) -> None:
        """End the requests under way, and close the connections.

        libcurl waits for the lookups of names that have not ended. A daemon thread does that.
        """
        if self._multi.closed:
            return
        # The collector closes the handles of an abandoned batch in any order, some of them before the batch itself.
        if self._is_stuck or any(transfer.has_no_socket for _, transfer in self._running.values()):
            in_daemon(self._close, "vault connections")
        else:
            self._close()

    def _close(self) -> None:
        self._multi.close()
        for transfer in (*self._idle, *(transfer for _, transfer in self._running.values())):
            transfer.easy.close()
        self._running.clear()

    def _wait(self, limit: float) -> None:
        """Wait until libcurl can go on, at most `limit` seconds."""
        due = self._multi.timeout()  # in milliseconds; negative for none
        limit = min(max(limit, 0.0), _LONGEST_POLL)
        reads, writes, _ = self._multi.fdset()
        unlisted: list[int] = []
        if len({*reads, *writes}) < len(self._running):
            sockets = (easy.getinfo(pycurl.ACTIVESOCKET) for easy in self._running)
            unlisted = [socket for socket in sockets if socket > _HIGHEST_LISTED]
        if unlisted or not (reads or writes):
            limit = min(limit, _BLIND_POLL)
        poll = select.poll()
        for descriptor in (*reads, *unlisted):  # of an unlisted one, libcurl waits for the reply, nearly always
            poll.register(descriptor, select.POLLIN)
        for descriptor in writes:
            poll.register(descriptor, select.POLLOUT | (select.POLLIN if descriptor in reads else 0))
        poll.poll(limit * 1000 if due < 0 else min(due, limit * 1000))

    def _results(self) -> list[tuple[_K, Reply | HttpFault]]:
        _, done, failed = self._multi.info_read()
        return [self._ended(easy, 0, "") for easy in done] + [self._ended(*failure) for failure in failed]

    def _ended(self, easy: pycurl.Curl, code: int, text: str) -> tuple[_K, Reply | HttpFault]:
        name, transfer = self._running.pop(easy)
        self._is_stuck |= code == pycurl.E_OPERATION_TIMEDOUT and transfer.has_no_socket
        result = transfer.result(code, text)
        self._multi.remove_handle(easy)
        self._idle.append(transfer)
        return name, result
