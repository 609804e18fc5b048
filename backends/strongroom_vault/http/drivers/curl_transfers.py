"""Requests on libcurl's multi interface, driven by the thread that waits for them: one at a time, or many.

A signal ends the wait, as it would not in `perform`.
"""

from __future__ import annotations

import math
import select
import struct
import time
from functools import partial
from itertools import cycle
from typing import Any, Generic, TypeVar

import pycurl

from strongroom.store import in_daemon
from strongroom_vault.http.drivers.bulk import AT_ONCE
from strongroom_vault.http.drivers.curl_handles import LONGEST_POLL, Handles, Transfer
from strongroom_vault.http.drivers.driver import Liveness
from strongroom_vault.http.messages import HttpFault, Reply, SendStep

_K = TypeVar("_K")

_READABLE = select.POLLIN | select.POLLHUP | select.POLLERR

_BLIND_POLL = 0.01
"""The longest wait, in seconds, without knowing what libcurl waits for: the lookup of a name, a high descriptor."""


# --- one request at a time --------------------------------------------------------------------------------------------


class Channel:
    """Sends requests, one after another. It is used by one thread at a time, and keeps its connections open."""

    def __init__(self, handles: Handles) -> None:
        self._is_acting = False  # it stays True after an exception
        self._is_stuck = False  # a request ended in the lookup of a name, which may still hang
        # HTTP/2 is slower than HTTP/1.1 for one request at a time.
        self._transfer = Transfer(handles, pycurl.CURL_HTTP_VERSION_1_1)
        self._multi = pycurl.CurlMulti()

    @property
    def is_usable(self) -> bool:
        """Return True if no call was interrupted, and no lookup of a name may hang."""
        return not (self._is_stuck or self._is_acting)

    def send(self, send: SendStep, ends: float, liveness: Liveness | None = None) -> Reply | HttpFault:
        """Return the reply to a request, or its fault. It may take until `ends`, on the clock of `time.monotonic`.

        It ends early if the server fails a liveness check.
        """
        self._is_acting = True
        transfer, multi = self._transfer, self._multi
        transfer.prepare(send, ends - time.monotonic())
        multi.add_handle(transfer.easy)
        given_up = False
        while not given_up and multi.perform()[1]:
            self._wait(math.inf if liveness is None else liveness.due - time.monotonic())
            given_up = liveness is not None and liveness.due <= time.monotonic() and not liveness.check()
        _, _, failed = multi.info_read()
        code, text = failed[0][1:] if failed else (pycurl.E_OPERATION_TIMEDOUT, "") if given_up else (0, "")
        self._is_stuck = code == pycurl.E_OPERATION_TIMEDOUT and transfer.has_no_socket
        result = transfer.result(code, text)
        multi.remove_handle(transfer.easy)
        self._is_acting = False
        return result

    def _wait(self, limit: float) -> None:
        """Wait until libcurl can go on, at most `limit` seconds.

        `fdset` leaves out descriptors above 1,023. Then libcurl waits for the reply, nearly always.
        """
        due = self._multi.timeout()  # in milliseconds; negative for none
        limit = min(max(limit, 0.0), LONGEST_POLL)
        reads, writes, _ = self._multi.fdset()
        if not reads and not writes:
            limit = min(limit, _BLIND_POLL)
            reads = [] if self._transfer.has_no_socket else [self._transfer.easy.getinfo(pycurl.ACTIVESOCKET)]
        poll = select.poll()
        for descriptor in reads:
            poll.register(descriptor, select.POLLIN)
        for descriptor in writes:
            poll.register(descriptor, select.POLLOUT | (select.POLLIN if descriptor in reads else 0))
        poll.poll(limit * 1000 if due < 0 else min(due, limit * 1000))

    def close(self) -> None:
        """End a request under way, and close the connections.

        libcurl waits for the lookup of a name that has not ended. A daemon thread does that.
        """
        if self._is_stuck or (self._is_acting and self._transfer.has_no_socket):
            in_daemon(self._close, "vault connections")
        else:
            self._close()

    def _close(self) -> None:
        self._multi.close()
        self._transfer.easy.close()


# --- many requests at a time ------------------------------------------------------------------------------------------


class _SocketEvents:
    """Notes what libcurl wants to know about which socket, without any Python code (see `Transfer`).

    Attributes:
        note: the callback. It packs its arguments into the next slot of a buffer, and the last two as True or False.
    """

    _SLOT = struct.Struct("=ii??")
    _NOTED = 8  # the place of the first bool
    _SLOTS = 1024  # an action of libcurl on all requests of a batch changes some dozens of sockets

    def __init__(self) -> None:
        size = self._SLOT.size * self._SLOTS
        offsets = cycle(range(0, size, self._SLOT.size))
        self._buffer = bytearray(size)
        self._offset = 0
        index: Any = type("_Offset", (), {"__index__": offsets.__next__})()  # `pack_into` takes any index
        self.note = partial(self._SLOT.pack_into, self._buffer, index)

    def taken(self) -> list[tuple[int, int]]:
        """Return the events since the last call: event and descriptor."""
        taken: list[tuple[int, int]] = []
        while self._buffer[self._offset + self._NOTED]:
            what, descriptor, _, _ = self._SLOT.unpack_from(self._buffer, self._offset)
            self._SLOT.pack_into(self._buffer, self._offset, 0, 0, 0, 0)
            self._offset = (self._offset + self._SLOT.size) % len(self._buffer)
            taken.append((what, descriptor))
        return taken


class Transfers(Generic[_K]):
    """Requests under way, each with a name. It is used by one thread at a time, and keeps its connections open."""

    def __init__(self, handles: Handles) -> None:
        self._handles = handles
        self._is_acting = False  # it stays True after an exception
        self._is_stuck = False  # a request ended in the lookup of a name, which may still hang
        self._idle: list[Transfer] = []
        self._running: dict[pycurl.Curl, tuple[_K, Transfer]] = {}
        self._due: float | None = None
        self._timers: list[int] = []
        self._sockets = _SocketEvents()
        self._poll = select.poll()
        self._multi = pycurl.CurlMulti()
        # libcurl would keep four for each request that is under way, and so close some at the end of a batch.
        self._multi.setopt(pycurl.M_MAXCONNECTS, AT_ONCE)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._timers.append)
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._sockets.note)

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

    def start(self, name: _K, send: SendStep) -> None:
        """Start a request, which may take `send.timeout` seconds in total."""
        self._is_acting = True
        # On one connection, HTTP/2 carries all requests of a batch.
        transfer = self._idle.pop() if self._idle else Transfer(self._handles, pycurl.CURL_HTTP_VERSION_2TLS)
        transfer.prepare(send, send.timeout)
        self._running[transfer.easy] = name, transfer
        self._multi.add_handle(transfer.easy)
        self._note()
        self._is_acting = False

    def turn(self, limit: float) -> list[tuple[_K, Reply | HttpFault]]:
        """Wait for progress, at most `limit` seconds, and return the results that are there."""
        self._is_acting = True
        wait = min(limit, LONGEST_POLL)
        if self._due is not None:
            wait = min(wait, self._due - time.monotonic())
        running = len(self._running)
        if wait > 0 or self._due is None:
            for descriptor, events in self._poll.poll(max(wait, 0) * 1000):
                mask = pycurl.CSELECT_IN if events & _READABLE else 0
                mask |= pycurl.CSELECT_OUT if events & select.POLLOUT else 0
                running = self._act(descriptor, mask)
        if self._due is not None and self._due <= time.monotonic():
            self._due = None
            running = self._act(pycurl.SOCKET_TIMEOUT, 0)
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

    def _act(self, descriptor: int, mask: int) -> int:
        """Let libcurl act on a socket or its timer. Return the number of requests that have not ended."""
        _, running = self._multi.socket_action(descriptor, mask)
        self._note()
        return running

    def _note(self) -> None:
        """Take over the time and the sockets that libcurl waits for."""
        if self._timers:
            milliseconds = self._timers[-1]
            self._timers.clear()
            self._due = None if milliseconds < 0 else time.monotonic() + milliseconds / 1000
        for what, descriptor in self._sockets.taken():
            if what == pycurl.POLL_REMOVE:
                self._poll.unregister(descriptor)
            else:
                events = select.POLLIN if what & pycurl.POLL_IN else 0
                self._poll.register(descriptor, events | (select.POLLOUT if what & pycurl.POLL_OUT else 0))

    def _results(self) -> list[tuple[_K, Reply | HttpFault]]:
        _, done, failed = self._multi.info_read()
        results = [self._ended(easy, 0, "") for easy in done]
        results += [self._ended(*failure) for failure in failed]
        if results:
            self._note()
        return results

    def _ended(self, easy: pycurl.Curl, code: int, text: str) -> tuple[_K, Reply | HttpFault]:
        name, transfer = self._running.pop(easy)
        self._is_stuck |= code == pycurl.E_OPERATION_TIMEDOUT and transfer.has_no_socket
        result = transfer.result(code, text)
        self._multi.remove_handle(easy)
        self._idle.append(transfer)
        return name, result
