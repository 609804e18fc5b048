"""A proxy between a client and a server that injects faults into connections and replies."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO, Self
from urllib.parse import urlsplit

from support.vault.faults import Exchange, Fault, Request

_UPSTREAM_TIMEOUT = 60.0
_BACKLOG = 128
_CONNECT_PROBE = 0.2
_PARKED = 30.0
_HOP_HEADERS = frozenset({"connection", "content-length", "transfer-encoding"})


@dataclass(slots=True)
class _Rule:
    """A fault, the requests that it applies to, and how often it still does; None for no limit."""

    fault: Fault
    when: Callable[[Request], bool]
    times: int | None


class FaultProxy:
    """Forwards requests to a server, unless a fault applies.

    A context manager, on a port of 127.0.0.1. It serves any number of connections and requests, and reads a whole
    request before it acts.

    Args:
        upstream: URL of the server, `http://host:port`.
        context: TLS context of a server; with it, clients use TLS.

    Attributes:
        url: address for clients.
        connections: number of connections that clients have opened.
        requests: all requests in order, including those with a fault.
    """

    def __init__(self, upstream: str, *, context: ssl.SSLContext | None = None) -> None:
        parts = urlsplit(upstream)
        self._upstream = (parts.hostname or "", parts.port or 80)
        self._context = context
        self._rules: list[_Rule] = []
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self.threads: list[threading.Thread] = []
        self._stopping = threading.Event()
        self._accepting = threading.Event()
        self._parked = threading.Event()
        self._fillers: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=_BACKLOG)
        self.connections = 0
        self.requests: list[Request] = []
        self.url = f"{'http' if context is None else 'https'}://127.0.0.1:{self._listener.getsockname()[1]}"
        self._accepting.set()
        self._run(self._accept)

    def __repr__(self) -> str:
        return f"FaultProxy({self.url})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- faults -------------------------------------------------------------------------------------------------------

    def inject(
        self, fault: Fault, *, times: int | None = None, when: Callable[[Request], bool] = lambda _: True
    ) -> None:
        """Apply a fault to the next requests. If several faults match a request, the last one injected applies.

        Args:
            fault: one of `faults`, or a custom function.
            times: number of requests that it applies to; None for all until `heal`.
            when: returns True for the requests that it applies to.
        """
        with self._lock:
            self._rules.append(_Rule(fault, when, times))

    @contextmanager
    def fault(
        self, fault: Fault, *, times: int | None = None, when: Callable[[Request], bool] = lambda _: True
    ) -> Iterator[Self]:
        """Inject a fault for a block, and `heal` at its end."""
        self.inject(fault, times=times, when=when)
        try:
            yield self
        finally:
            self.heal()

    def heal(self) -> None:
        """Forward all requests, and accept connections again."""
        with self._lock:
            self._rules.clear()
        if not self._accepting.is_set():
            self._listener.listen(_BACKLOG)
            for sock in self._fillers:
                sock.close()
            self._fillers.clear()
            self._accepting.set()

    def cut(self) -> None:
        """Reset all open connections. New ones are accepted."""
        with self._lock:
            connections = list(self._open)
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def stop_accepting(self) -> None:
        """Cut all connections, and neither accept nor refuse new ones until `heal`: attempts time out.

        On Linux, the kernel drops connection attempts when the queue of a listening socket is full.
        """
        if not self._accepting.is_set():
            return
        self._parked.clear()
        self._accepting.clear()
        self._join_queue()  # wakes the accepting thread, which then stops
        if not self._parked.wait(_PARKED):
            raise RuntimeError("the thread that accepts connections did not stop")
        self._listener.listen(0)
        self._join_queue()  # a queue of length 0 has room for one connection
        self.cut()

    def _join_queue(self) -> None:
        """Open a connection to fill the queue. It times out if the queue is full already."""
        sock = socket.socket()
        self._fillers.append(sock)
        sock.settimeout(_CONNECT_PROBE)
        with contextlib.suppress(TimeoutError):
            sock.connect(self._listener.getsockname())

    def forget(self) -> None:
        """Clear `requests`."""
        self.requests.clear()

    def close(self) -> None:
        """End all connections and threads. New connections are refused."""
        self._stopping.set()
        self.heal()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for thread in self.threads:
            thread.join()

    # --- inside -------------------------------------------------------------------------------------------------------

    def _run(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, name="fault proxy", daemon=True)
        self.threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._stopping.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            with self._lock:
                self._open.add(connection)
            self.threads = [thread for thread in self.threads if thread.is_alive()]
            self._run(partial(self._serve, connection))
            if not self._accepting.is_set():
                self._parked.set()
                self._accepting.wait()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError, http.client.HTTPException), connection, self._tracked(connection):
            if self._context is None:
                self._converse(connection)
            else:
                with self._context.wrap_socket(connection, server_side=True) as secure, self._tracked(secure):
                    self._converse(secure)

    @contextmanager
    def _tracked(self, connection: socket.socket) -> Iterator[None]:
        with self._lock:
            self._open.add(connection)
        try:
            yield
        finally:
            with self._lock:
                self._open.discard(connection)

    def _converse(self, connection: socket.socket) -> None:
        upstream = http.client.HTTPConnection(*self._upstream, timeout=_UPSTREAM_TIMEOUT)
        with contextlib.closing(upstream), connection.makefile("rb") as incoming:
            while not self._stopping.is_set() and (request := _read(incoming)) is not None:
                self.requests.append(request)
                exchange = Exchange(request, connection, self._stopping, partial(self._forward, upstream, request))
                fault = self._fault_for(request)
                if fault is None:
                    connection.sendall(exchange.forward())
                else:
                    fault(exchange)

    def _fault_for(self, request: Request) -> Fault | None:
        with self._lock:
            for rule in reversed(self._rules):
                if rule.times == 0 or not rule.when(request):
                    continue
                if rule.times is not None:
                    rule.times -= 1
                return rule.fault
        return None

    def _forward(self, upstream: http.client.HTTPConnection, request: Request) -> bytes:
        """Return the server's whole reply, with a length and without chunks. Raise if the connection ends before."""
        headers = {name: value for name, value in request.headers.items() if name not in _HOP_HEADERS}
        upstream.request(request.method, request.target, request.body or None, headers)
        if upstream.sock is not None:
            with self._tracked(upstream.sock):
                answer = upstream.getresponse()
                body = answer.read()
        else:  # the server closes after each reply
            answer = upstream.getresponse()
            body = answer.read()
        headers_back = [f"{name}: {value}" for name, value in answer.getheaders() if name.lower() not in _HOP_HEADERS]
        head = [f"HTTP/1.1 {answer.status} {answer.reason}", f"Content-Length: {len(body)}", *headers_back]
        return "\r\n".join(head).encode("latin-1") + b"\r\n\r\n" + body


def _read(incoming: BinaryIO) -> Request | None:
    """Read the next request of a connection; return None at its end."""
    words = incoming.readline().decode("latin-1").split()
    if len(words) != 3:
        return None
    headers = {}
    while line := incoming.readline().decode("latin-1").strip():
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    body = incoming.read(int(headers.get("content-length", 0)))
    return Request(words[0], words[1], headers, body)
