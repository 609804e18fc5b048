"""Network faults for a `FaultProxy`, one function each.

A fault is a function of one `Exchange`, a request that the proxy has read. Most faults can forward the request first
(`forward=True`), so that the server processes it and the client does not learn the result. A custom fault is such a
function too::

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
class Request:
    """One request of a client, with header names in lower case."""

    method: str
    target: str
    headers: dict[str, str] = field(repr=False)
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request that the proxy has read, and its connection.

    Attributes:
        request: the request.
        connection: the client's connection, with TLS if the proxy has a context.
        stopping: set when the proxy closes. A fault that waits should wait for it.
        forward: sends the request to the server, and returns the whole reply as bytes for the client.
    """

    request: Request
    connection: socket.socket
    stopping: threading.Event
    forward: Callable[[], bytes]

    def send(self, data: bytes) -> None:
        """Send data to the client."""
        self.connection.sendall(data)

    def reset(self) -> None:
        """Reset the connection, as the kernel of a crashed peer does, when the fault returns.

        The proxy then reads the end of the connection and closes it. To close its descriptor here would be wrong: TLS
        would go on using the number, which may then be another connection's.
        """
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.shutdown(socket.SHUT_RD)

    def end(self) -> None:
        """Shut the connection down in order, even if part of the reply is missing."""
        self.connection.shutdown(socket.SHUT_RDWR)


Fault: TypeAlias = Callable[[Exchange], None]


def reply(status: int, body: bytes | object = b"", headers: Iterable[str] = ()) -> bytes:
    """Return a whole reply. `body` is bytes, or an object for JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} Fault", f"Content-Length: {len(content)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


# --- no reply, or part of one -----------------------------------------------------------------------------------------


def hang(*, forward: bool = False) -> Fault:
    """Never answer."""
    return _then(lambda exchange: exchange.stopping.wait(), forward=forward)


def delay(seconds: float) -> Fault:
    """Delay the whole reply by these seconds."""

    def fault(exchange: Exchange) -> None:
        answer = exchange.forward()
        exchange.stopping.wait(seconds)
        exchange.send(answer)

    return fault


def drip(seconds: float = 0.05) -> Fault:
    """Send the reply byte by byte with this pause in seconds, so that no single wait is long."""

    def fault(exchange: Exchange) -> None:
        for byte in exchange.forward():
            exchange.send(bytes([byte]))
            if exchange.stopping.wait(seconds):
                return

    return fault


def reset(*, forward: bool = False) -> Fault:
    """Reset the connection before the reply."""
    return _then(Exchange.reset, forward=forward)


def reset_within_body() -> Fault:
    """Reset the connection after half of the body. The server has processed the request."""
    return _after_half(Exchange.reset)


def truncated() -> Fault:
    """End the connection after half of the body. The server has processed the request."""
    return _after_half(Exchange.end)


def huge(size: int = 300 * MIB) -> Fault:
    """Send a reply of `size` bytes."""

    def fault(exchange: Exchange) -> None:
        exchange.send(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode())
        chunk = b" " * MIB
        for _ in range(-(-size // MIB)):
            if exchange.stopping.is_set():
                return
            exchange.send(chunk)

    return fault


# --- forged replies ---------------------------------------------------------------------------------------------------


def status(code: int, *, retry_after: int | None = None, forward: bool = False) -> Fault:
    """Answer with this status and an error in Vault's format, and with `Retry-After` in seconds if it is given."""
    headers = ["Content-Type: application/json"]
    if retry_after is not None:
        headers.append(f"Retry-After: {retry_after}")
    return answer(reply(code, {"errors": ["fault"]}, headers), forward=forward)


def html(code: int = 200, *, forward: bool = False) -> Fault:
    """Answer with an HTML page, as a captive portal or a gateway does."""
    page = b"<!doctype html><title>Sign in</title><p>Please sign in to continue."
    return answer(reply(code, page, ["Content-Type: text/html"]), forward=forward)


def wrong_json(document: object = None, *, forward: bool = False) -> Fault:
    """Answer 200 with a JSON document that Vault would not send."""
    body = json.dumps(document).encode()
    return answer(reply(200, body, ["Content-Type: application/json"]), forward=forward)


def redirect(url: str, code: int = 307) -> Fault:
    """Redirect to the same path at another address."""
    return lambda exchange: exchange.send(reply(code, b"", [f"Location: {url}{exchange.request.target}"]))


def echo(code: int = 400) -> Fault:
    """Answer with the request's token, headers and body in the reason, the headers and the body of the reply."""

    def fault(exchange: Exchange) -> None:
        request = exchange.request
        token = request.headers.get("x-vault-token", "none")
        texts = (token, request.target, request.body.decode(errors="replace"), str(request.headers))  # as Vault's are
        content = json.dumps({"errors": texts}).encode()
        head = f"HTTP/1.1 {code} {token}\r\nX-Echo: {token}\r\nRetry-After: {token}\r\nContent-Length: {len(content)}"
        exchange.send(head.encode() + b"\r\n\r\n" + content)

    return fault


def answer(data: bytes, *, forward: bool = False) -> Fault:
    """Answer with these bytes."""
    return _then(lambda exchange: exchange.send(data), forward=forward)


def _then(act: Callable[[Exchange], object], *, forward: bool) -> Fault:
    """Return the fault that forwards the request first, if it should, and then acts."""

    def fault(exchange: Exchange) -> None:
        if forward:
            exchange.forward()
        act(exchange)

    return fault


def _after_half(act: Callable[[Exchange], None]) -> Fault:
    """Return the fault that acts after the head of the reply and half of its body."""

    def fault(exchange: Exchange) -> None:
        head, separator, body = exchange.forward().partition(b"\r\n\r\n")
        exchange.send(head + separator + body[: len(body) // 2])
        act(exchange)

    return fault
