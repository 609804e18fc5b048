"""Sockets whose every wait ends at the caller's deadline, `strongroom.store.remaining()`.

A socket's own timeout counts from each operation anew, so that a server which sends a byte a second is never late. Here
it is set again, to what is left in total, before each of them.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeAlias

from strongroom.store import in_daemon, remaining

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

Found: TypeAlias = "Sequence[tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[Any, ...]]]"
"""What `getaddrinfo` found."""


def _left() -> float:
    """How many seconds are left; a socket takes zero as leave not to wait at all, which is something else."""
    left = remaining()
    if left <= 0:
        raise TimeoutError("timed out")
    return left


class DeadlineSocket(socket.socket):
    """A TCP socket that keeps to the deadline."""

    def recv_into(self, buffer: WriteableBuffer, nbytes: int = 0, flags: int = 0) -> int:
        """As a socket does, until the deadline."""
        self.settimeout(_left())
        return super().recv_into(buffer, nbytes, flags)

    def sendall(self, data: ReadableBuffer, flags: int = 0, /) -> None:
        """As a socket does, until the deadline: its timeout is for all of the data."""
        self.settimeout(_left())
        super().sendall(data, flags)


class DeadlineTLSSocket(ssl.SSLSocket):
    """A TLS socket that keeps to the deadline, the handshake included."""

    def recv_into(self, buffer: WriteableBuffer, nbytes: int | None = None, flags: int = 0) -> int:
        """As a socket does, until the deadline."""
        self.settimeout(_left())
        return super().recv_into(buffer, nbytes, flags)

    def send(self, data: ReadableBuffer, flags: int = 0) -> int:
        """As a socket does, until the deadline; `sendall` is made of it."""
        self.settimeout(_left())
        return super().send(data, flags)

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002  # SSLSocket's own signature
        """As a socket does, until the deadline: its timeout is for the whole handshake."""
        self.settimeout(_left())
        super().do_handshake(block)


def connect(host: str, port: int) -> DeadlineSocket:
    """A connection to the first of the host's addresses that takes it, within the deadline.

    Raises:
        socket.gaierror: the name has no address.
        TimeoutError, OSError: what the last address answered.
    """
    failure: OSError | None = None
    for family, kind, protocol, _, target in _resolve(host, port):
        sock = DeadlineSocket(family, kind, protocol)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.settimeout(_left())
            sock.connect(target)
        except OSError as error:
            sock.close()
            failure = error
        else:
            return sock
    raise failure or socket.gaierror(socket.EAI_NONAME, "the name has no address")


def look_up(host: str, port: int) -> Future[Found]:
    """The host's addresses, to come from a thread: `getaddrinfo` itself knows no deadline.

    Nobody waits for the thread, as the end of a process does for those of executors.
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
        return look_up(host, port).result(timeout=_left())
