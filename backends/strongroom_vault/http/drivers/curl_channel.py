"""One request at a time on libcurl's multi interface, so that a signal ends the wait, as it would not in `perform`."""

from __future__ import annotations

import math
import select
import time

import pycurl

from strongroom.store import in_daemon
from strongroom_vault.http.drivers.curl_handles import LONGEST_POLL, Handles, Transfer
from strongroom_vault.http.drivers.driver import Liveness
from strongroom_vault.http.messages import HttpFault, Reply, SendStep

_BLIND_POLL = 0.01
"""The longest wait, in seconds, without knowing what libcurl waits for: the lookup of a name, a high descriptor."""


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
