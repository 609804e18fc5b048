"""A server with TLS that speaks HTTP/1 and websockets, and answers as a test says."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import ssl
import threading
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from dataclasses import dataclass, field

import h11
import trustme
from wsproto import ConnectionType
from wsproto.connection import Connection
from wsproto.events import CloseConnection, TextMessage

_CHUNK = 65536


@dataclass
class Request:
    """A request as it arrived. `body` holds its first MiB; `size` and `digest` are of the whole."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes = b""
    size: int = 0
    hash: object = field(default_factory=hashlib.sha256, repr=False)

    def header(self, name):
        return ", ".join(value for own, value in self.headers if own.lower() == name)

    def add(self, part):
        self.size += len(part)
        self.hash.update(part)
        if len(self.body) < 1 << 20:
            self.body += part


@dataclass
class Answer:
    """An answer. `raw` replaces all else; `upgrade` serves the connection after a status 101."""

    status: int = 200
    headers: Iterable[tuple[str, str]] = ()
    body: bytes | Iterable[bytes] | AsyncIterable[bytes] = b""
    trailers: Iterable[tuple[str, str]] = ()
    raw: bytes | None = None
    upgrade: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]] | None = None


def echo(request):
    """Answer with the head and the body of the request."""
    head = "".join(f"{name}: {value}\n" for name, value in request.headers)
    return Answer(body=f"{request.method} {request.target}\n{head}\n".encode() + request.body)


async def _read(reader):
    try:
        return await reader.read(_CHUNK)
    except OSError:
        return b""


async def _parts(body):
    if isinstance(body, bytes):
        if body:
            yield body
    elif hasattr(body, "__aiter__"):
        async for part in body:
            yield part
    else:
        for part in body:
            yield part


class Upstream:
    """A server on a free port of 127.0.0.1, for a `with` block.

    It offers HTTP/2 as most servers do, but ends the connection of a client that takes the offer. `answer` makes an
    answer of a request, and a test may set another. `requests` are those that arrived.
    """

    def __init__(self, authority: trustme.CA, *names, protocols=("h2", "http/1.1"), certificate=None):
        self.answer: Callable[[Request], Answer] = echo
        self.requests: list[Request] = []
        self.connections = 0
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.set_alpn_protocols(list(protocols))
        (certificate or authority.issue_cert(*names)).configure_cert(self._context)
        self._writers: set[asyncio.StreamWriter] = set()

    def __enter__(self):
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        start = asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._context)
        self._server = asyncio.run_coroutine_threadsafe(start, self._loop).result(10)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_):
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _stop(self):
        self._server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for writer in self._writers:
            writer.transport.abort()  # a client may leave the end of TLS unanswered
        await asyncio.sleep(0)

    @property
    def origin(self):
        return f"https://localhost:{self.port}"

    async def _serve(self, reader, writer):
        self.connections += 1
        self._writers.add(writer)
        try:
            await self._answer_all(reader, writer)
        except* (OSError, h11.ProtocolError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _answer_all(self, reader, writer):
        connection = h11.Connection(h11.SERVER)
        while (request := await self._read_request(connection, reader, writer)) is not None:
            self.requests.append(request)
            answer = self.answer(request)
            if answer.raw is not None:
                writer.write(answer.raw)
                await writer.drain()
                return
            headers = list(answer.headers)
            if answer.upgrade is not None:
                writer.write(connection.send(h11.InformationalResponse(status_code=answer.status, headers=headers)))
                await answer.upgrade(reader, writer)
                return
            if isinstance(answer.body, bytes) and not answer.trailers:
                headers.append(("content-length", str(len(answer.body))))
            writer.write(connection.send(h11.Response(status_code=answer.status, headers=headers)))
            if request.method != "HEAD":
                async for part in _parts(answer.body):
                    writer.write(connection.send(h11.Data(data=part)))
                    await writer.drain()
            writer.write(connection.send(h11.EndOfMessage(headers=list(answer.trailers))))
            await writer.drain()
            if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                return
            connection.start_next_cycle()

    @staticmethod
    async def _read_request(connection, reader, writer):
        request = None
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                if connection.they_are_waiting_for_100_continue:
                    writer.write(connection.send(h11.InformationalResponse(status_code=100, headers=[])))
                connection.receive_data(await reader.read(_CHUNK))
            elif isinstance(event, h11.Request):
                headers = [(name.decode(), value.decode("latin-1")) for name, value in event.headers.raw_items()]
                request = Request(event.method.decode(), event.target.decode(), headers)
            elif isinstance(event, h11.Data):
                request.add(bytes(event.data))
            else:
                return None if isinstance(event, h11.ConnectionClosed) else request


def accept_websocket(request, serve):
    """Answer the opening of a websocket. `serve` gets the reader and the writer of the connection."""
    key = request.header("sec-websocket-key").encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    accept = base64.b64encode(hashlib.sha1(key).digest()).decode()
    headers = [("upgrade", "websocket"), ("connection", "Upgrade"), ("sec-websocket-accept", accept)]
    return Answer(101, headers, upgrade=serve)


def echo_messages(word):
    """Return what serves a websocket: it answers each text message with this word and the message."""

    async def serve(reader, writer):
        connection = Connection(ConnectionType.SERVER)
        while data := await reader.read(_CHUNK):
            connection.receive_data(data)
            for event in connection.events():
                if isinstance(event, TextMessage):
                    writer.write(connection.send(TextMessage(data=f"{word} {event.data}")))
                elif isinstance(event, CloseConnection):
                    writer.write(connection.send(event.response()))
                    return
            await writer.drain()

    return serve
