"""What can go wrong between a client and a server, one function each; a `FaultProxy` does it.

A fault is a function of one `Exchange`: a request that came in whole. Most of them can let the request through first
(`forward=True`), so that the server has done what was asked and the client does not hear of it. A fault of one's own is
such a function too::

    def slow(exchange):
        exchange.stopping.wait(1)
        exchange.send(exchange.forward())
"""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it came: header names in lower case."""

    method: str
    target: str
    headers: dict[str, str] = field(repr=False)
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request that the proxy has read, and what can be done with it and with its connection.

    Attributes:
        request: what the client sent.
        connection: the client's, with TLS where the proxy speaks it.
        stopping: set when the proxy closes; whoever waits waits for it.
        forward: sends the request to the server, and returns its whole reply as bytes for the client.
    """

    request: Received
    connection: socket.socket
    stopping: threading.Event
    forward: Callable[[], bytes]

    def send(self, data: bytes) -> None:
        """Sends this to the client."""
        self.connection.sendall(data)

    def reset(self) -> None:
        """Ends the connection with a reset, as a crashed peer's kernel does."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        socket.close(self.connection.detach())  # its own `close` would wait for the file that the proxy reads from

    def end(self) -> None:
        """Ends the connection in an orderly way, whatever of the reply is missing."""
        self.connection.shutdown(socket.SHUT_RDWR)


Fault: TypeAlias = Callable[[Exchange], None]


def reply(status: int, body: bytes | object = b"", headers: Iterable[str] = ()) -> bytes:
    """A whole reply, as bytes; `body` is bytes, or what its JSON holds."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} Fault", f"Content-Length: {len(content)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


# --- no reply, or a part of one ---------------------------------------------------------------------------------------


def hang(*, forward: bool = False) -> Fault:
    """The request is read, and nothing answers."""

    def fault(exchange: Exchange) -> None:
        _forwarded(exchange, forward=forward)
        exchange.stopping.wait()

    return fault


def delay(seconds: float) -> Fault:
    """The whole reply comes, so many seconds late."""

    def fault(exchange: Exchange) -> None:
        answer = exchange.forward()
        exchange.stopping.wait(seconds)
        exchange.send(answer)

    return fault


def drip(seconds: float = 0.05) -> Fault:
    """The reply comes a byte at a time, with this pause between them: no single wait is ever long."""

    def fault(exchange: Exchange) -> None:
        for byte in exchange.forward():
            exchange.send(bytes([byte]))
            if exchange.stopping.wait(seconds):
                return

    return fault


def reset(*, forward: bool = False) -> Fault:
    """The connection is reset before a byte of the reply."""

    def fault(exchange: Exchange) -> None:
        _forwarded(exchange, forward=forward)
        exchange.reset()

    return fault


def reset_within_body() -> Fault:
    """The connection is reset after the first half of the body. The server has done what was asked."""

    def fault(exchange: Exchange) -> None:
        exchange.send(_half(exchange.forward()))
        exchange.reset()

    return fault


def truncated() -> Fault:
    """The connection ends after the first half of the body. The server has done what was asked."""

    def fault(exchange: Exchange) -> None:
        exchange.send(_half(exchange.forward()))
        exchange.end()

    return fault


def huge(size: int = 300 * MIB) -> Fault:
    """A reply of this many bytes, 300 MB if nothing is said."""

    def fault(exchange: Exchange) -> None:
        exchange.send(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode())
        chunk = b" " * MIB
        for _ in range(-(-size // MIB)):
            if exchange.stopping.is_set():
                return
            exchange.send(chunk)

    return fault


# --- whole replies that are not the server's --------------------------------------------------------------------------


def status(code: int, *, retry_after: int | None = None, forward: bool = False) -> Fault:
    """A reply with this status and Vault's shape of an error, with `Retry-After` in seconds or without."""
    headers = ["Content-Type: application/json"]
    if retry_after is not None:
        headers.append(f"Retry-After: {retry_after}")
    return answer(reply(code, {"errors": ["fault"]}, headers), forward=forward)


def html(code: int = 200, *, forward: bool = False) -> Fault:
    """A page, such as a captive portal or a gateway answers in the server's place."""
    page = b"<!doctype html><title>Sign in</title><p>Please sign in to continue."
    return answer(reply(code, page, ["Content-Type: text/html"]), forward=forward)


def wrong_json(document: object = None, *, forward: bool = False) -> Fault:
    """A 200 with JSON that is not Vault's: `null` if nothing is said."""
    body = json.dumps(document).encode()
    return answer(reply(200, body, ["Content-Type: application/json"]), forward=forward)


def redirect(url: str, code: int = 307) -> Fault:
    """A redirect to the same path at another address."""

    def fault(exchange: Exchange) -> None:
        exchange.send(reply(code, b"", [f"Location: {url}{exchange.request.target}"]))

    return fault


def echo(code: int = 400) -> Fault:
    """A reply that shows the request's token, headers and body in each of its own parts: reason, headers and body."""

    def fault(exchange: Exchange) -> None:
        request = exchange.request
        token = request.headers.get("x-vault-token", "none")
        shown = {"errors": [token, request.target, request.body.decode(errors="replace"), request.headers]}
        content = json.dumps(shown).encode()
        head = f"HTTP/1.1 {code} {token}\r\nX-Echo: {token}\r\nRetry-After: {token}\r\nContent-Length: {len(content)}"
        exchange.send(head.encode() + b"\r\n\r\n" + content)

    return fault


def answer(data: bytes, *, forward: bool = False) -> Fault:
    """These bytes, whatever was asked."""

    def fault(exchange: Exchange) -> None:
        _forwarded(exchange, forward=forward)
        exchange.send(data)

    return fault


def _forwarded(exchange: Exchange, *, forward: bool) -> None:
    if forward:
        exchange.forward()


def _half(answer: bytes) -> bytes:
    """The head of a reply and half of its body."""
    head, separator, body = answer.partition(b"\r\n\r\n")
    return head + separator + body[: len(body) // 2]
