"""The driver of exchanges on libcurl: pooled connections, whole replies, the total deadline and the byte cap."""

from __future__ import annotations

import ctypes
import heapq
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial
from itertools import count
from typing import Any, Generic, TypeVar

from strongroom.errors import StoreError
from strongroom_vault.http.address import Address
from strongroom_vault.http.drivers.driver import Driver, run_many
from strongroom_vault.http.drivers.pool import Idle, Pool
from strongroom_vault.http.messages import NO_FREE_CONNECTION, HttpFault, Reply, SendStep, Start, Steps
from strongroom_vault.http.tls import TLSSettings

if "pycurl" in sys.modules and os.environ.get("SSLKEYLOGFILE"):
    # libcurl may have opened the file with its first handle, and would write the keys of our connections to it.
    raise ImportError("libcurl logs the keys of TLS connections")

_log_file = os.environ.pop("SSLKEYLOGFILE", None)
try:
    import pycurl

    pycurl.Curl().close()  # the first handle initializes libcurl
finally:
    if _log_file is not None:
        os.environ["SSLKEYLOGFILE"] = _log_file

if pycurl.version_info()[2] < 0x080400 or not pycurl.version_info()[5].startswith("OpenSSL"):
    raise ImportError("libcurl 8.4 with OpenSSL is required")  # 8.4 limits the length of any reply

from strongroom_vault.http.drivers.curl_handles import Handles  # noqa: E402  # these import pycurl
from strongroom_vault.http.drivers.curl_transfers import Transfers  # noqa: E402

_K = TypeVar("_K")

MAX_CONNECTIONS = 64
"""The largest number of connections to one address. Further requests wait for a free one, within their deadline.

Batches have separate connections, of which at most this number stay open between batches.
"""


class CurlDriver(Driver):
    """Runs exchanges on libcurl. Each request and each batch has connections that no other thread uses."""

    def __init__(self, addresses: Sequence[Address], tls: TLSSettings, proxy: Address | None = None) -> None:
        encrypted = any(address.scheme == "https" for address in addresses)
        if encrypted:
            tls.check()
        self._handles = Handles(tls if encrypted else None, proxy)
        super().__init__()
        self._open_pool()

    def _open_pool(self) -> None:
        # HTTP/2 is slower than HTTP/1.1 for one request at a time.
        new: Callable[[], Transfers[None]] = partial(Transfers, self._handles, pycurl.CURL_HTTP_VERSION_1_1)
        self._new_single, self._pool = new, Pool(new, Transfers.close, MAX_CONNECTIONS)
        self._idle_batches: Idle[Transfers[Any]] = Idle(Transfers.close)

    def run_many(self, items: Iterable[tuple[_K, Start]]) -> Iterator[tuple[_K, Reply | StoreError]]:
        self._check_open()
        try:
            transfers: Transfers[tuple[_K, Steps]] = self._idle_batches.pop()
        except IndexError:
            # On one connection, HTTP/2 carries all requests of a batch.
            transfers = Transfers(self._handles, pycurl.CURL_HTTP_VERSION_2TLS)
        yield from run_many(_CurlBatch(transfers, self._give_back_batch), items)

    def certificates(self) -> dict[str, bytes]:
        return dict(self._handles.certificates)

    def close(self) -> None:
        self._closed.set()
        self._pool.idle.close()
        self._idle_batches.close()

    def reset(self) -> None:
        _kept.update(self._pool.idle, self._idle_batches)
        self._renew_event()
        self._open_pool()

    def _send(self, step: SendStep) -> Reply | HttpFault:
        transfers, ends = self._pool.take(step)
        if transfers is None:
            return NO_FREE_CONNECTION
        try:
            return transfers.send(step, ends, self._liveness(step))
        finally:
            self._pool.give_back(transfers, usable=transfers.is_usable and not self._closed.is_set())

    def _send_apart(self, step: SendStep) -> Reply | HttpFault:
        with closing(self._new_single()) as transfers:
            return transfers.send(step, time.monotonic() + step.timeout)

    def _give_back_batch(self, transfers: Transfers[Any]) -> None:
        kept = sum(idle.connections for idle in [*self._idle_batches, transfers])
        if transfers.is_usable and kept <= MAX_CONNECTIONS and not self._closed.is_set():
            self._idle_batches.append(transfers)
        else:
            transfers.close()


_kept: set[Transfers[Any]] = set()
"""Connections that the collector must not find: those of all batches under way, and those of a fork's parent.

It would close the handles of an abandoned batch while `Transfers.close` closes them in a daemon thread, and Python
would print that pycurl refuses this (measured with pycurl 7.49 on Python 3.13). In a fork's child, libcurl would end
the TLS sessions of the parent.
"""
ctypes.pythonapi.Py_IncRef(ctypes.py_object(_kept))  # so that the end of the process does not close them either


class _CurlBatch(Generic[_K]):
    """The exchanges of one batch, on separate connections; see `driver.Batch`."""

    def __init__(self, transfers: Transfers[tuple[_K, Steps]], give_back: Callable[[Transfers[Any]], None]) -> None:
        _kept.add(transfers)
        self._transfers = transfers
        self._give_back = give_back
        self._ready: list[tuple[_K, Reply | StoreError]] = []
        self._pauses: list[tuple[float, int, _K, Steps]] = []
        self._numbers = count()  # no two pauses compare by their names
        self._process = os.getpid()

    @property
    def size(self) -> int:
        return self._transfers.size + len(self._pauses) + len(self._ready)

    def begin(self, name: _K, steps: Steps) -> None:
        self._advance(name, steps, None)

    def progress(self, limit: float) -> list[tuple[_K, Reply | StoreError]]:
        if self._process != os.getpid():
            raise StoreError(reason="a batch of a fork's parent", hint="Begin another one")
        now = time.monotonic()
        while self._pauses and self._pauses[0][0] <= now:
            _, _, name, steps = heapq.heappop(self._pauses)
            self._advance(name, steps, None)
        if not self._ready:
            wait = min(limit, self._pauses[0][0] - now) if self._pauses else limit
            for (name, steps), result in self._transfers.turn(wait):
                self._advance(name, steps, result)
        ready, self._ready = self._ready, []
        return ready

    def _advance(self, name: _K, steps: Steps, result: Reply | HttpFault | None) -> None:
        try:
            step = steps.send(result)
        except StopIteration as done:
            self._ready.append((name, done.value))
        except StoreError as error:
            self._ready.append((name, error))
        else:
            if isinstance(step, SendStep):
                self._transfers.start((name, steps), step, step.timeout)
            else:
                due = time.monotonic() + step.seconds
                heapq.heappush(self._pauses, (due, next(self._numbers), name, steps))

    def close(self) -> None:
        """Give the connections back, or close them in the middle of a request. In a child they stay in use for ever."""
        if self._process == os.getpid():
            _kept.discard(self._transfers)
            self._give_back(self._transfers)
