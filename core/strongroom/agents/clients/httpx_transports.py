"""Transports for httpx and httpx2, whose interfaces are the same."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack
from functools import cache, partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from strongroom.agents._rules.request import REFUSAL_HEADERS, Refusal, RequestHead
from strongroom.agents.clients import exchanges
from strongroom.agents.session import MAX_BODY, AgentSession, Exchange, body_too_large

if TYPE_CHECKING:
    import httpx
    import httpx2


_DROPPED = frozenset({"sni_hostname", "trace"})
"""Extensions of a request that would verify the host by another name, and that would show the values to a function."""


def httpx_transport(session: AgentSession, inner: httpx.BaseTransport | None = None) -> httpx.BaseTransport:
    """Return a transport for `httpx.Client(transport=...)`.

    Args:
        session: the session of the placeholders.
        inner: the transport that sends the requests; by default `httpx.HTTPTransport()`. Proxies, certificates and
            HTTP/2 are its arguments: a client with a transport ignores its own.
    """
    import httpx

    new: httpx.BaseTransport = _transport("httpx")(session, inner or httpx.HTTPTransport())
    return new


def async_httpx_transport(
    session: AgentSession, inner: httpx.AsyncBaseTransport | None = None
) -> httpx.AsyncBaseTransport:
    """Return a transport for `httpx.AsyncClient(transport=...)`; see `httpx_transport`."""
    import httpx

    new: httpx.AsyncBaseTransport = _transport("httpx")(session, inner or httpx.AsyncHTTPTransport())
    return new


def httpx2_transport(session: AgentSession, inner: httpx2.BaseTransport | None = None) -> httpx2.BaseTransport:
    """Return a transport for `httpx2.Client(transport=...)`; see `httpx_transport`."""
    import httpx2

    new: httpx2.BaseTransport = _transport("httpx2")(session, inner or httpx2.HTTPTransport())
    return new


def async_httpx2_transport(
    session: AgentSession, inner: httpx2.AsyncBaseTransport | None = None
) -> httpx2.AsyncBaseTransport:
    """Return a transport for `httpx2.AsyncClient(transport=...)`; see `httpx_transport`."""
    import httpx2

    new: httpx2.AsyncBaseTransport = _transport("httpx2")(session, inner or httpx2.AsyncHTTPTransport())
    return new


class _Transport:
    """A transport for both kinds of client. `library` is httpx or httpx2, and `inner` a transport of the client's kind.

    No local of a method holds a value, since a traceback may show it.
    """

    library: Any
    stream: Any

    def __init__(self, session: AgentSession, inner: Any) -> None:
        self._session = session
        self._inner = inner
        self._caught = partial(exchanges.Caught, partial(_failure, self.library))
        exchanges.redact_logs()

    def handle_request(self, request: Any) -> Any:
        with self._caught() as caught, ExitStack() as ends:
            if (head := self._covered_head(request)) is not None:
                exchange = self._session.begin(head)
                ends.callback(exchange.end, 0)
                content = exchanges.read_body(exchange, request.stream) if exchange.needs_body else None
                answer = self._inner.handle_request(self._copy(exchange, request, content))
                ends.callback(exchanges.end, exchange, answer)
                response = self._response(exchange, answer)
                ends.pop_all()
                return response
        return self._failed(caught) or self._inner.handle_request(request)

    async def handle_async_request(self, request: Any) -> Any:
        from anyio.to_thread import run_sync  # httpx and httpx2 depend on it

        with self._caught() as caught:
            async with AsyncExitStack() as ends:
                if (head := self._covered_head(request)) is not None:
                    exchange = await run_sync(self._session.begin, head)
                    ends.callback(exchange.end, 0)
                    content = await _aread(exchange, request.stream) if exchange.needs_body else None
                    answer = await self._inner.handle_async_request(self._copy(exchange, request, content))
                    ends.push_async_callback(_aend, exchange, answer)
                    response = self._response(exchange, answer)
                    ends.pop_all()
                    return response
        return self._failed(caught) or await self._inner.handle_async_request(request)

    def close(self) -> None:
        self._inner.close()

    async def aclose(self) -> None:
        await self._inner.aclose()

    def _covered_head(self, request: Any) -> RequestHead | None:
        head = exchanges.covered_head(self._session, request.method, str(request.url), _decoded(request))
        if head is None or (target := request.extensions.get("target")) is None:
            return head
        text = target.decode("latin-1") if isinstance(target, bytes) else str(target)
        path, _, query = text.partition("?")
        return head._replace(path=path, query=query)

    def _copy(self, exchange: Exchange, request: Any, content: bytes | None) -> Any:
        """Return the request with values."""
        body = None if content is None else exchange.replace_body(content)
        head = exchange.head
        return self.library.Request(
            method=head.method,
            url=head.url,
            headers=[(name.encode("latin-1"), value.encode("latin-1")) for name, value in head.headers],
            stream=request.stream if body is None else self.library.ByteStream(body),
            extensions={  # the target exactly as it was checked, while the URL is normalized
                **{name: value for name, value in request.extensions.items() if name not in _DROPPED},
                "target": head.target.encode("ascii"),
            },
        )

    def _response(self, exchange: Exchange, answer: Any) -> Any:
        headers = exchange.answer(answer.status_code, _decoded(answer))
        return self.library.Response(
            answer.status_code,
            headers=[(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers],
            stream=self.stream(self._caught, exchange, answer),
            extensions={name: value for name, value in answer.extensions.items() if name != "reason_phrase"},
        )

    def _failed(self, caught: exchanges.Caught) -> Any:
        """Return the answer to a refused request, or None if nothing failed."""
        if refusal := caught.refusal:
            return self.library.Response(refusal.status, headers=list(REFUSAL_HEADERS), content=refusal.content)
        return caught.raise_again()


class _Stream:
    """The redacted body of an answer."""

    def __init__(self, caught: Callable[[], exchanges.Caught], exchange: Exchange, answer: Any) -> None:
        self._caught = caught
        self._exchange = exchange
        self._answer = answer

    def __iter__(self) -> Iterator[bytes]:
        with self._caught() as caught:
            yield from exchanges.redacted(self._exchange, self._answer.stream)
        caught.raise_again()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with self._caught() as caught:
            async for part in self._answer.stream:
                if content := self._exchange.feed(part):
                    yield content
            if content := self._exchange.finish():
                yield content
        caught.raise_again()

    def close(self) -> None:
        exchanges.end(self._exchange, self._answer)

    async def aclose(self) -> None:
        await _aend(self._exchange, self._answer)


async def _aend(exchange: Exchange, answer: Any) -> None:
    try:
        await answer.aclose()
    finally:
        exchange.end(answer.status_code)


async def _aread(exchange: Exchange, stream: Any) -> bytes:
    content = bytearray()
    async for part in stream:
        content += part
        if len(content) > MAX_BODY:
            raise exchange.refuse(body_too_large())
    return bytes(content)


def _decoded(message: Any) -> tuple[tuple[str, str], ...]:
    return tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in message.headers.raw)


def _failure(library: Any, error: Exception) -> Exception:
    """Return an exception of this class with a text of ours, without its request, its frames and its cause.

    Those hold values. The client sets the request of it. An exception that is not of the library becomes one.
    """
    if isinstance(error, Refusal):
        return cast("Exception", library.RemoteProtocolError(error.reason))
    kind = type(error) if isinstance(error, library.RequestError) else library.TransportError
    return cast("Exception", kind(exchanges.failure_text(error)))


@cache
def _transport(name: str) -> Any:
    """Return the class of the transport, with the base classes of a library."""
    library: Any = import_module(name)
    stream = type("Stream", (_Stream, library.AsyncByteStream, library.SyncByteStream), {})
    bases = (_Transport, library.AsyncBaseTransport, library.BaseTransport)
    return type("Transport", bases, {"library": library, "stream": stream})
