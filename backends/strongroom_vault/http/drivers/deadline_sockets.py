"""Sockets whose every wait ends at the caller's deadline, `strongroom.store.remaining()`.

A socket's timeout starts anew with each operation, so that a server that sends a byte a second is never late. Here it
is set to the total time left before each operation.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from strongroom.store import in_daemon, remaining
from strongroom.store.deadline import scoped
from strongroom_vault.http.drivers.driver import Liveness

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

Found: TypeAlias = "Sequence[tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[Any, ...]]]"
"""What `getaddrinfo` found."""

_SHORTEST = 0.001  # a socket takes 0 for non-blocking mode


_liveness: ContextVar[Liveness | None] = ContextVar("strongroom_vault_liveness", default=None)


def checked(liveness: Liveness | None) -> AbstractContextManager[None]:
    """Within the block, check the server while its reply is missing. A connection is made before the first check."""
    return scoped(_liveness, liveness)


def _left() -> float:
    """Return the seconds left; raise TimeoutError at 0, which a socket would take for non-blocking mode."""
    left = remaining()
    if left <= 0:
        raise TimeoutError("timed out")
    return left


def _left_to_connect() -> float:
    """Return the seconds left for a connection; raise TimeoutError at 0."""
    liveness = _liveness.get()
    left = _left()
    if liveness is not None and (left := min(left, liveness.due - time.monotonic())) <= 0:
        raise TimeoutError("timed out")
    return left


def _received(sock: socket.socket, receive: Callable[[], int]) -> int:
    """Return what `receive` does, until the deadline, or until a check of the server says that it is not alive."""
    while True:
        liveness, left = _liveness.get(), _left()
        due = None if liveness is None else liveness.due - time.monotonic()
        sock.settimeout(left if due is None else max(min(left, due), _SHORTEST))
        try:
            return receive()
        except TimeoutError:
            if liveness is None or due is None or left <= due or not liveness.check():
                raise


class DeadlineSocket(socket.socket):
    """A socket with a deadline."""

    def recv_into(self, buffer: WriteableBuffer, nbytes: int = 0, flags: int = 0) -> int:
        """Receive until the deadline."""
        return _received(self, partial(super().recv_into, buffer, nbytes, flags))

    def sendall(self, data: ReadableBuffer, flags: int = 0, /) -> None:
        """Send all data until the deadline."""
        self.settimeout(_left())
        super().sendall(data, flags)


class DeadlineTLSSocket(ssl.SSLSocket):
    """A TLS socket with a deadline, which includes the handshake."""

    def recv_into(self, buffer: WriteableBuffer, nbytes: int | None = None, flags: int = 0) -> int:
        return _received(self, partial(super().recv_into, buffer, nbytes, flags))

    def send(self, data: ReadableBuffer, flags: int = 0) -> int:
        """Send until the deadline; `sendall` calls it."""
        self.settimeout(_left())
        return super().send(data, flags)

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002  # SSLSocket's own signature
        """Do the whole handshake until the deadline."""
        self.settimeout(_left_to_connect())
        super().do_handshake(block)


def connect(host: str, port: int) -> DeadlineSocket:
    """Connect to the first of the host's addresses that accepts, within the deadline.

    Raises:
        socket.gaierror: the name has no address.
        TimeoutError, OSError: the failure of the last address.
    """
    failure: OSError | None = None
    for family, kind, protocol, _, target in _resolve(host, port):
        sock = DeadlineSocket(family, kind, protocol)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.settimeout(_left_to_connect())
            sock.connect(target)
        except OSError as error:
            sock.close()
            failure = error
        else:
            return sock
    raise failure or socket.gaierror(socket.EAI_NONAME, "the name has no address")


def connect_unix(file: str) -> DeadlineSocket:
    """Connect to a Unix socket, within the deadline. Raise OSError if that fails."""
    sock = DeadlineSocket(socket.AF_UNIX)
    try:
        sock.settimeout(_left_to_connect())
        sock.connect(file)
    except OSError:
        sock.close()
        raise
    return sock


def look_up(host: str, port: int) -> Future[Found]:
    """Look up the host's addresses in a thread, because `getaddrinfo` has no deadline.

    It is a daemon thread: the end of the process waits for the threads of executors.
    """

    def resolve() -> Found:
        try:
            return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except UnicodeError:
            raise socket.gaierror("the name is not valid") from None

    return in_daemon(resolve, f"look up {host}")


def _resolve(host: str, port: int) -> Found:
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        return look_up(host, port).result(timeout=_left_to_connect())
