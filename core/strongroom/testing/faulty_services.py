"""Services on loopback that fail as real ones do. Separate from the contracts: they need no pytest."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Self

_PAUSE = 0.05
_CHUNK = 1 << 16


@contextmanager
def silent_server() -> Iterator[tuple[str, int]]:
    """Yield host and port of a listener on loopback that accepts every connection and never answers.

    It simulates a hung service. A refused connection would fail at once and prove no deadline.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:  # the kernel completes the handshake, nobody accepts
        yield listener.getsockname()[:2]


@contextmanager
def dripping_server(beginning: bytes = b"HTTP/1.1 200 OK\r\nX-Drip: ") -> Iterator[tuple[str, int]]:
    """Yield host and port of a listener on loopback that answers every connection with a byte now and then, for ever.

    No timeout of a single socket operation ends such an answer. Only a deadline of the whole call does.

    Args:
        beginning: sent at once, so that a client goes on reading. By default it begins a header of HTTP.
    """
    with _Listener() as listener:

        def drip(client: socket.socket) -> None:
            client.sendall(beginning)
            while not listener.ended.wait(_PAUSE):
                client.sendall(b"a")

        yield listener.serve(drip)


class DroppingProxy:
    """A proxy to a service on loopback that can close its connections while they are idle.

    Attributes:
        address: host and port of the proxy.
    """

    def __init__(self, listener: _Listener, service: tuple[str, int]) -> None:
        self._listener = listener
        self._service = service
        self.address = listener.serve(self._forward)

    def drop(self) -> int:
        """Close every connection, as a server or a load balancer does after an idle time. Return how many."""
        return self._listener.drop()

    def _forward(self, client: socket.socket) -> None:
        with socket.create_connection(self._service) as service:
            self._listener.add(service)
            back = threading.Thread(target=_copy, args=(service, client), daemon=True)
            back.start()
            _copy(client, service)
            back.join()


@contextmanager
def dropping_proxy(host: str, port: int) -> Iterator[DroppingProxy]:
    """Yield a `DroppingProxy` to the service at this host and port."""
    with _Listener() as listener:
        yield DroppingProxy(listener, (host, port))


class _Listener:
    """A listener on loopback with a daemon thread for each connection."""

    def __init__(self) -> None:
        self.ended = threading.Event()
        self._lock = threading.Lock()
        self._connections: set[socket.socket] = set()
        self._socket = socket.create_server(("127.0.0.1", 0))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self._socket.close()
        self.drop()

    def serve(self, answer: Callable[[socket.socket], None]) -> tuple[str, int]:
        """Call `answer` with each connection, in a thread of its own. Return host and port."""

        def accept() -> None:
            while True:
                try:
                    client, _ = self._socket.accept()
                except OSError:
                    return
                self.add(client)
                threading.Thread(target=handle, args=(client,), daemon=True).start()

        def handle(client: socket.socket) -> None:
            with suppress(OSError), client:
                answer(client)
            with self._lock:
                self._connections.discard(client)

        threading.Thread(target=accept, daemon=True).start()
        host, port = self._socket.getsockname()[:2]
        return host, port

    def add(self, connection: socket.socket) -> None:
        """Let `drop` close this connection, too."""
        with self._lock:
            self._connections.add(connection)
        if self.ended.is_set():
            self.drop()

    def drop(self) -> int:
        """Close every connection. Return how many."""
        with self._lock:
            connections, self._connections = self._connections, set()
        for connection in connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)  # `close` alone does not end a `recv` of another thread
        return len(connections)


def _copy(source: socket.socket, target: socket.socket) -> None:
    """Copy bytes until one side is closed, and close both."""
    with suppress(OSError):
        while data := source.recv(_CHUNK):
            target.sendall(data)
    for end in (source, target):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
