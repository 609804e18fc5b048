"""An adapter for requests."""

from __future__ import annotations

import io
from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack
from functools import partial
from http.client import HTTPMessage, responses
from types import SimpleNamespace
from typing import Any

import requests
import urllib3
from requests.adapters import BaseAdapter, HTTPAdapter
from requests.structures import CaseInsensitiveDict

from strongroom.agents._rules.request import REFUSAL_HEADERS, Refusal
from strongroom.agents.clients import exchanges
from strongroom.agents.session import AgentSession, Exchange

_SIZE = 1 << 16


def requests_adapter(session: AgentSession, inner: BaseAdapter | None = None) -> HTTPAdapter:
    """Return an adapter for `requests.Session.mount`. Mount it for `https://`.

    Args:
        session: the session of the placeholders.
        inner: the adapter that sends the requests; by default `requests.adapters.HTTPAdapter()`.
    """
    return _Adapter(session, inner or HTTPAdapter())


class _Adapter(HTTPAdapter):
    """Builds responses with HTTPAdapter's method, and lets the inner adapter send."""

    def __init__(self, session: AgentSession, inner: BaseAdapter) -> None:
        super().__init__()
        self._session = session
        self._inner = inner
        exchanges.redact_logs()

    def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> requests.Response:
        with exchanges.Caught(partial(_failure, request)) as caught, ExitStack() as ends:
            headers = [(_text(name), _text(value)) for name, value in request.headers.items()]
            head = exchanges.covered_head(self._session, request.method or "GET", request.url or "", headers)
            if head is not None:
                exchange = self._session.begin(head)
                ends.callback(exchange.end, 0)
                answer = self._inner.send(_copy(exchange, request), *args, **options)
                ends.callback(exchanges.end, exchange, answer)
                received = exchange.answer(answer.status_code, tuple(answer.raw.headers.iteritems()))
                response = self._built(request, answer.status_code, received, _Body(exchange, answer))
                ends.pop_all()
                return response
        if refusal := caught.refusal:
            return self._built(request, refusal.status, REFUSAL_HEADERS, io.BytesIO(refusal.content))
        caught.raise_again()
        return self._inner.send(request, *args, **options)

    def close(self) -> None:
        super().close()
        self._inner.close()

    def _built(
        self, request: requests.PreparedRequest, status: int, headers: tuple[tuple[str, str], ...], body: io.IOBase
    ) -> requests.Response:
        message = HTTPMessage()  # from which requests takes the cookies
        for name, value in headers:
            message[name] = value
        original: Any = SimpleNamespace(msg=message, isclosed=lambda: False, close=lambda: None)
        raw = _Raw(
            body=body,
            headers=urllib3.HTTPHeaderDict(headers),
            status=status,
            reason=responses.get(status, ""),
            preload_content=False,
            decode_content=False,
            original_response=original,
            request_method=request.method,
        )
        return self.build_response(request, raw)


class _Raw(urllib3.HTTPResponse):
    def stream(self, amt: int | None = _SIZE, decode_content: bool | None = None) -> Generator[bytes]:  # noqa: ARG002, FBT001  # urllib3's signature; nothing is encoded
        """Yield the parts of the body as they come, where urllib3 waits until one has `amt` bytes."""
        while content := self.read(amt or _SIZE):
            yield content


class _Body(io.RawIOBase):
    """The redacted body of an answer, as a file."""

    def __init__(self, exchange: Exchange, answer: requests.Response) -> None:
        self._exchange = exchange
        self._answer = answer
        self._parts = self._redacted()
        self._held = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._held:
            self._held = next(self._parts, b"")
        size = min(len(buffer), len(self._held))
        buffer[:size] = self._held[:size]
        self._held = self._held[size:]
        return size

    def close(self) -> None:
        if not self.closed:
            super().close()
            exchanges.end(self._exchange, self._answer)

    def _redacted(self) -> Iterator[bytes]:
        with exchanges.Caught(_read_failure) as caught:
            yield from exchanges.redacted(self._exchange, iter(self._part, b""))
            return
        exchanges.end(self._exchange, self._answer)  # requests does not close a response that it fails to read
        caught.raise_again()

    def _part(self) -> bytes:
        part: bytes = self._answer.raw.read1(_SIZE, decode_content=False)
        return part


def _copy(exchange: Exchange, request: requests.PreparedRequest) -> requests.PreparedRequest:
    copy = request.copy()
    if exchange.needs_body:
        copy.body = exchange.replace_body(_read(exchange, request.body))
    head = exchange.head
    copy.method, copy.url = head.method, head.url
    copy.headers = CaseInsensitiveDict(head.headers)
    return copy


def _read(exchange: Exchange, body: Any) -> bytes:
    if body is None or isinstance(body, str | bytes):
        parts: Iterable[str | bytes] = [body or b""]
    else:
        parts = iter(lambda: body.read(_SIZE), b"") if hasattr(body, "read") else body
    return exchanges.read_body(exchange, (part.encode() if isinstance(part, str) else part for part in parts))


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _failure(request: requests.PreparedRequest, error: Exception) -> Exception:
    """Return an exception of this class with a text of ours, and with the request of the worker, without frames.

    Those hold values. An exception that is not of requests becomes one.
    """
    kind = type(error) if isinstance(error, requests.RequestException) else requests.RequestException
    return kind(exchanges.failure_text(error), request=request)


def _read_failure(error: Exception) -> Exception:
    """Return an exception that requests knows as a failure to read."""
    text = error.reason if isinstance(error, Refusal) else exchanges.failure_text(error)
    if isinstance(error, urllib3.exceptions.ReadTimeoutError):
        pool: Any = None
        return urllib3.exceptions.ReadTimeoutError(pool, "", text)
    return urllib3.exceptions.ProtocolError(text)
