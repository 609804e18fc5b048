"""An LDAP server that knows simple binds alone, for a PostgreSQL that has it check passwords."""

from __future__ import annotations

import socketserver
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from support.services.serving import serving

_BIND, _SUCCESS, _INVALID_CREDENTIALS = 0x60, 0, 49


class _Binds(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        while (message := self._message()) is not None:
            tag, content, _ = _element(message[3:])  # after the message's number, which is an integer of one byte
            if tag != _BIND:
                return  # an unbind
            _, _, rest = _element(content)  # the version
            _, name, rest = _element(rest)
            _, password, _ = _element(rest)
            right = self.server.accepts(name.decode(), password.decode())  # type: ignore[attr-defined]
            code = _SUCCESS if right else _INVALID_CREDENTIALS
            answer = bytes([0x61, 7, 0x0A, 1, code, 4, 0, 4, 0])
            self.wfile.write(bytes([0x30, 3 + len(answer), *message[:3], *answer]))

    def _message(self) -> bytes | None:
        head = self.rfile.read(2)
        if len(head) < 2:
            return None
        if head[1] < 0x80:
            return self.rfile.read(head[1])
        return self.rfile.read(int.from_bytes(self.rfile.read(head[1] & 0x7F)))


def _element(data: bytes) -> tuple[int, bytes, bytes]:
    """Return the tag, the content, and the rest."""
    length, start = data[1], 2
    if length >= 0x80:
        start += length & 0x7F
        length = int.from_bytes(data[2:start])
    return data[0], data[start : start + length], data[start + length :]


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 64


@contextmanager
def binding(accepts: Callable[[str, str], bool]) -> Iterator[int]:
    """Let `accepts(name, password)` decide about each bind of the block; yield the port."""
    with serving(_Server(("127.0.0.1", 0), _Binds)) as server:
        server.accepts = accepts  # type: ignore[attr-defined]
        yield server.server_address[1]
