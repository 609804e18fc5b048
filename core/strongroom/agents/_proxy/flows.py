"""Flows of mitmproxy: their heads as the rules see them, and the answers to them."""
# The extra `agents` is installed in a separate environment.
# pyright: reportMissingImports=false

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable
from typing import TypeVar

from mitmproxy import http

from strongroom.agents._rules.request import (
    REFUSAL_HEADERS,
    Refusal,
    RequestHead,
    normalize_host,
)
from strongroom.store import in_daemon

_R = TypeVar("_R")

EXCHANGE = "strongroom.exchange"
"""The metadata of a flow with its exchange, or None if the request passes unread."""

FAILURE = "strongroom.failure"
"""The metadata of a flow with the refusal for a failure of the upstream."""

_LONGEST_PHRASE = 200
"""Characters of a reason phrase."""


def destination(flow: http.HTTPFlow) -> str:
    """Return the host and the port of the tunnel, or those that the request names, as text."""
    host, port = (flow.server_conn.address or (flow.request.host, flow.request.port))[:2]
    return f"{host}:{port}"


async def in_thread(call: Callable[[], _R]) -> _R:
    """Return the result of a call that blocks."""
    return await asyncio.wrap_future(in_daemon(call, "strongroom-agent"))


def head_of(flow: http.HTTPFlow) -> RequestHead:
    """Return the head of a request in a tunnel.

    Raises:
        Refusal: it is not encrypted, or names another host than the tunnel, or is malformed.
    """
    request = flow.request
    if request.scheme != "https":
        raise Refusal(403, "Use TLS, since a secret never leaves without it")
    assert flow.server_conn.address is not None, "it follows CONNECT"  # noqa: S101
    host, port = flow.server_conn.address[:2]
    if (sni := flow.client_conn.sni) is not None and normalize_host(sni) != host:
        raise Refusal(421, f"The name in the TLS handshake is not that of the connection: {host}")
    _check_form(request)
    path, _, query = request.data.path.decode("latin-1").partition("?")
    method = request.data.method.decode("latin-1")
    return RequestHead(method, "https", host, port, path, query, decoded(request.headers))


def _check_form(request: http.Request) -> None:
    """Check the framing of a request, and that its host is in the header Host, which the session checks.

    Raises:
        Refusal: it is not, or the request has another transfer coding than chunked, or is not HTTP/1.
    """
    if request.http_version not in {"HTTP/1.0", "HTTP/1.1"}:
        raise Refusal(505, "The proxy speaks HTTP/1.1 only with the hosts of rules")
    if request.headers.get("transfer-encoding", "chunked").lower() != "chunked":
        raise Refusal(400, "The request has a transfer coding other than chunked")
    if request.data.authority or "host" not in request.headers:
        raise Refusal(400, "Name the host in the header Host, and not in the target of the request")


def decoded(headers: http.Headers) -> tuple[tuple[str, str], ...]:
    return tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in headers.fields)


def encoded(headers: Iterable[tuple[str, str]]) -> http.Headers:
    return http.Headers([(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers])


def apply_head(request: http.Request, head: RequestHead) -> None:
    request.data.path = head.target.encode("latin-1")
    request.headers = encoded(head.headers)


class OwnAnswer(http.Response):
    """An answer of the proxy itself, which has nothing to redact."""


def response_to(refusal: Refusal) -> http.Response:
    """Return the answer. Its reason phrase has the sentence too: npm, twine and others show nothing else."""
    response = OwnAnswer.make(refusal.status, refusal.content, dict(REFUSAL_HEADERS))
    response.data.reason = re.sub("[^ -~]", " ", refusal.reason[:_LONGEST_PHRASE]).encode("ascii")
    return response
