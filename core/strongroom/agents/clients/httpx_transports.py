"""Transports for httpx and httpx2, whose interfaces are the same."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple, cast

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

    new: httpx.BaseTransport = _types("httpx").transport(httpx, session, inner or httpx.HTTPTransport())
    return new


def async_httpx_transport(
    session: AgentSession, inner: httpx.AsyncBaseTransport | None = None
) -> httpx.AsyncBaseTransport:
    """Return a transport for `httpx.AsyncClient(transport=...)`; see `httpx_transport`."""
    import httpx

    new: httpx.AsyncBaseTransport = _types("httpx").async_transport(httpx, session, inner or httpx.AsyncHTTPTransport())
    return new


def httpx2_transport(session: AgentSession, inner: httpx2.BaseTransport | None = None) -> httpx2.BaseTransport:
    """Return a transport for `httpx2.Client(transport=...)`; see `httpx_transport`."""
    import httpx2

    new: httpx2.BaseTransport = _types("httpx2").transport(httpx2, session, inner or httpx2.HTTPTransport())
    return new


def async_httpx2_transport(
    session: AgentSession, inner: httpx2.AsyncBaseTransport | None = None
) -> httpx2.AsyncBaseTransport:
    """Return a transport for `httpx2.AsyncClient(transport=...)`; see `httpx_transport`."""
    import httpx2

    new: httpx2.AsyncBaseTransport = _types("httpx2").async_transport(
        httpx2, session, inner or httpx2.AsyncHTTPTransport()
    )
    return new


class _Parts:
    """The common part of the two kinds of transport. `library` is httpx or httpx2."""

    def __init__(self, library: Any, session: AgentSession, inner: Any) -> None:
        self._library = library
        self._session = session
        self._inner = inner
        exchanges.redact_logs()

    def _covered_head(self, request: Any) -> RequestHead | None:
        head = exchanges.covered_head(self._session, request.method, str(request.url), _decoded(request))
        if head is None or (target := request.extensions.get("target")) is None:
            return head
        text = target.decode("latin-1") if isinstance(target, bytes) else str(target)
        path, _, query = text.partition("?")
        return head._replace(path=path, query=query)

    def _copy(self, exchange: Exchange, request: Any, content: bytes | None) -> Any:
        """Return the request with values. No local of the caller holds them, since a traceback may show it."""
        body = None if content is None else exchange.replace_body(content)
        head = exchange.head
        return self._library.Request(
            method=head.method,
            url=head.url,
            headers=[(name.encode("latin-1"), value.encode("latin-1")) for name, value in head.headers],
            stream=request.stream if body is None else self._library.ByteStream(body),
            extensions={  # the target exactly as it was checked, while the URL is normalized
                **{name: value for name, value in request.extensions.items() if name not in _DROPPED},
                "target": head.target.encode("ascii"),
            },
        )

    def _response(self, exchange: Exchange, answer: Any, stream_type: Any) -> Any:
        headers = exchange.answer(answer.status_code, _decoded(answer))
        extensions = {name: value for name, value in answer.extensions.items() if name != "reason_phrase"}
        return self._library.Response(
            answer.status_code,
            headers=[(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers],
            stream=stream_type(self._library, exchange, answer),
            extensions=extensions,
        )

    def _refused(self, refusal: Refusal) -> Any:
        return self._library.Response(refusal.status, headers=list(REFUSAL_HEADERS), content=refusal.content)


class _Transport(_Parts):
    def handle_request(self, request: Any) -> Any:
        try:
            if (head := self._covered_head(request)) is None:
                return self._inner.handle_request(request)
            exchange = self._session.begin(head)
        except Refusal as refusal:
            return self._refused(refusal)
        answer: Any = None
        result: Any = None
        failure: Exception | None = None
        try:
            content = exchanges.read_body(exchange, request.stream) if exchange.needs_body else None
            answer = self._inner.handle_request(self._copy(exchange, request, content))
            result = self._response(exchange, answer, _types(self._library.__name__).stream)
        except Refusal as refusal:
            failure = refusal
        except Exception as error:  # noqa: BLE001  # its frames and its request hold values
            failure = _failure(self._library, error)
        finally:
            if result is None:
                exchanges.end(exchange, answer)
        if failure is None:
            return result
        if isinstance(failure, Refusal):
            return self._refused(failure)
        raise failure

    def close(self) -> None:
        self._inner.close()


class _Stream:
    """The redacted body of an answer."""

    def __init__(self, library: Any, exchange: Exchange, answer: Any) -> None:
        self._library = library
        self._exchange = exchange
        self._answer = answer

    def __iter__(self) -> Iterator[bytes]:
        try:
            for part in self._answer.stream:
                if content := self._exchange.feed(part):
                    yield content
            if content := self._exchange.finish():
                yield content
        except Exception as error:  # noqa: BLE001  # as above
            failure = _failure(self._library, error)
        else:
            return
        raise failure

    def close(self) -> None:
        exchanges.end(self._exchange, self._answer)


class _AsyncTransport(_Parts):
    async def handle_async_request(self, request: Any) -> Any:
        from anyio.to_thread import run_sync  # httpx and httpx2 depend on it

        try:
            if (head := self._covered_head(request)) is None:
                return await self._inner.handle_async_request(request)
            exchange = await run_sync(self._session.begin, head)
        except Refusal as refusal:
            return self._refused(refusal)
        answer: Any = None
        result: Any = None
        failure: Exception | None = None
        try:
            content = await _aread(exchange, request.stream) if exchange.needs_body else None
            answer = await self._inner.handle_async_request(self._copy(exchange, request, content))
            result = self._response(exchange, answer, _types(self._library.__name__).async_stream)
        except Refusal as refusal:
            failure = refusal
        except Exception as error:  # noqa: BLE001  # as above
            failure = _failure(self._library, error)
        finally:
            if result is None:
                await _aend(exchange, answer)
        if failure is None:
            return result
        if isinstance(failure, Refusal):
            return self._refused(failure)
        raise failure

    async def aclose(self) -> None:
        await self._inner.aclose()


class _AsyncStream:
    """The redacted body of an answer."""

    def __init__(self, library: Any, exchange: Exchange, answer: Any) -> None:
        self._library = library
        self._exchange = exchange
        self._answer = answer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for part in self._answer.stream:
                if content := self._exchange.feed(part):
                    yield content
            if content := self._exchange.finish():
                yield content
        except Exception as error:  # noqa: BLE001  # as above
            failure = _failure(self._library, error)
        else:
            return
        raise failure

    async def aclose(self) -> None:
        await _aend(self._exchange, self._answer)


async def _aend(exchange: Exchange, answer: Any) -> None:
    try:
        if answer is not None:
            await answer.aclose()
    finally:
        exchange.end(0 if answer is None else answer.status_code)


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


class _Types(NamedTuple):
    """The classes above, each joined with the base class that the library demands."""

    transport: Any
    stream: Any
    async_transport: Any
    async_stream: Any


@cache
def _types(name: str) -> _Types:
    def join(own: type, base: type) -> type:
        return type(own.__name__.strip("_"), (own, base), {"__module__": __name__})

    library: Any = import_module(name)
    return _Types(
        join(_Transport, library.BaseTransport),
        join(_Stream, library.SyncByteStream),
        join(_AsyncTransport, library.AsyncBaseTransport),
        join(_AsyncStream, library.AsyncByteStream),
    )
