"""A MySQL server that asks for a password in clear, like RDS for a token. It answers every statement with OK."""

from __future__ import annotations

import socketserver
import ssl
import struct
from collections.abc import Callable
from contextlib import AbstractContextManager

from support.services.serving import serving

_PROTOCOL_41, _SSL, _SECURE, _PLUGINS = 0x200, 0x800, 0x8000, 0x80000
_OK = b"\0\0\0\2\0\0\0"
_DENIED = b"\xff" + struct.pack("<H", 1045) + b"#28000Access denied"


class _Login(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        server: ClearMySQL = self.server  # type: ignore[assignment]
        flags = _PROTOCOL_41 | _SECURE | _PLUGINS | (0 if server.context is None else _SSL)
        salt = b"s" * 8
        head = b"\x0a8.0.0\0" + struct.pack("<I", 1) + salt + b"\0" + struct.pack("<H", flags & 0xFFFF)
        self._send(0, head + struct.pack("<BHHB", 45, 2, flags >> 16, 21) + bytes(10) + b"s" * 12 + b"\0clear\0")
        number, answer = self._packet()
        if server.context is not None and len(answer) == 32:
            self.request = server.context.wrap_socket(self.request, server_side=True)
            number, _ = self._packet()
        self._send(number + 1, b"\xfemysql_clear_password\0")
        number, password = self._packet()
        server.received.append(password.rstrip(b"\0").decode())
        right = server.accepts(server.received[-1])
        self._send(number + 1, _OK if right else _DENIED)
        while right and self._packet()[1][:1] == b"\x03":
            self._send(1, _OK)

    def finish(self) -> None:
        self.request.close()  # the server closes the socket below TLS alone

    def _packet(self) -> tuple[int, bytes]:
        head = self._read(4)
        return (head[3], self._read(int.from_bytes(head[:3], "little"))) if len(head) == 4 else (0, b"")

    def _read(self, size: int) -> bytes:
        found = b""
        while len(found) < size and (part := self.request.recv(size - len(found))):
            found += part
        return found

    def _send(self, number: int, content: bytes) -> None:
        self.request.sendall(len(content).to_bytes(3, "little") + bytes([number]) + content)


class ClearMySQL(socketserver.ThreadingTCPServer):
    """The server. `received` has each password that was sent to it.

    Args:
        accepts: whether a password is right.
        context: its certificate; None for a server without TLS.
    """

    def __init__(self, accepts: Callable[[str], bool], context: ssl.SSLContext | None) -> None:
        super().__init__(("127.0.0.1", 0), _Login)
        self.accepts = accepts
        self.context = context
        self.received: list[str] = []

    @property
    def port(self) -> int:
        return self.server_address[1]

    def handle_error(self, *_: object) -> None:
        """Be silent: a client that refuses the certificate ends the handshake."""


def asking_in_clear(
    accepts: Callable[[str], bool], context: ssl.SSLContext | None
) -> AbstractContextManager[ClearMySQL]:
    return serving(ClearMySQL(accepts, context))
