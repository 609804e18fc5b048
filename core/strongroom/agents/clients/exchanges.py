"""The exchange of a client in this process: its session, the head of a request, its body, and failures to send it."""

from __future__ import annotations

import logging
import os
import socket
import ssl
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Any, Self
from urllib.parse import urlsplit

from strongroom._manager import SecretsManager
from strongroom.agents._rules.request import DEFAULT_PORTS, Refusal, RequestHead, normalize_host
from strongroom.agents.session import MAX_BODY, AgentSession, Exchange, body_too_large
from strongroom.logging import RedactingFilter
from strongroom.secrets_manager import default_manager

_LOGGERS = (
    *(f"urllib3.{name}" for name in ("connection", "connectionpool", "http2.connection", "poolmanager", "response")),
    "urllib3.util.retry",
    *(f"httpcore.{name}" for name in ("connection", "http11", "http2", "proxy", "socks")),
    *(f"httpcore2.{name}" for name in ("connection", "http11", "http2", "proxy", "socks")),
)
"""Loggers below the transports. Their records have the query of a request, or the headers of an answer. By name, since
some of these modules are imported during the first request, and a filter of `urllib3` would see no record of theirs."""

_COMPRESSED = ("hpack.hpack", "hpack.table")
"""Loggers whose records, all of level DEBUG, have headers in a compressed form, in which no value is found."""


def open_session(secrets: SecretsManager | None = None) -> AgentSession:
    """Return a session with the rules of the configuration, `[agents.rules]`.

    Args:
        secrets: the manager that reads the values, and that has the configuration. It must stay open as long as the
            session is used. By default it is the one that `get_secret` uses.

    Raises:
        ConfigurationError: no rule is configured, or the rules come from a file that is not trusted.
        StrongroomError: the secret of a rule cannot be read.
    """
    secrets = default_manager() if secrets is None else secrets
    return AgentSession(secrets, secrets.config.agents)


@cache
def redact_logs() -> None:
    """Mask values in the records of the libraries that send the requests, for the rest of this process."""
    redacting = RedactingFilter()
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(redacting)
    for name in _COMPRESSED:
        logging.getLogger(name).addFilter(lambda _: False)


def covered_head(
    session: AgentSession, method: str, url: str, headers: Iterable[tuple[str, str]]
) -> RequestHead | None:
    """Return the head of a request, or None if no rule names its host, so that it passes unchanged.

    Raises:
        Refusal: the host is malformed, or a host of a rule would get the request without TLS.
    """
    parts = urlsplit(url)
    if parts.scheme not in DEFAULT_PORTS:
        return None
    try:
        host, port = normalize_host(parts.hostname or ""), parts.port or DEFAULT_PORTS["https"]
    except ValueError:
        raise Refusal(400, "The host or the port is malformed") from None
    if not session.covers(host, port):
        return None
    if parts.scheme != "https":
        raise Refusal(403, f"A rule names {host}: send this request with https")
    return RequestHead(method.upper(), parts.scheme, host, port, parts.path or "/", parts.query, tuple(headers))


class Caught:
    """Keeps a failure without its frames, which hold values.

    Args:
        make: returns the exception that is raised in the place of the failure.

    Attributes:
        refusal: the failure, if it is a refusal.
    """

    def __init__(self, make: Callable[[Exception], Exception]) -> None:
        self._make = make
        self._error: Exception | None = None
        self.refusal: Refusal | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> bool:
        if isinstance(error, Exception):
            self._error = self._make(error)
            self.refusal = error if isinstance(error, Refusal) else None
        return self._error is not None

    def raise_again(self) -> None:
        """Raise an exception in the place of the failure, if there is one."""
        if self._error is not None:
            raise self._error


def read_body(exchange: Exchange, parts: Iterable[bytes]) -> bytes:
    """Return the whole body of a request.

    Raises:
        Refusal: 413, it is too long.
    """
    content = bytearray()
    for part in parts:
        content += part
        if len(content) > MAX_BODY:
            raise exchange.refuse(body_too_large())
    return bytes(content)


def redacted(exchange: Exchange, parts: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the body of an answer, redacted. No part is empty."""
    for part in parts:
        if content := exchange.feed(part):
            yield content
    if content := exchange.finish():
        yield content


def end(exchange: Exchange, answer: Any) -> None:
    """Close an answer, and end its exchange."""
    try:
        answer.close()
    finally:
        exchange.end(answer.status_code)


def failure_text(error: Exception) -> str:
    """Return our own text for an exception of a library: its class, and the reason of the system or of OpenSSL.

    Its own text may show the request, which has values, or the answer, in a form in which no value is found.
    """
    reason = next(filter(None, map(_reason, _chained(error))), "")
    return f"The request failed with {type(error).__name__}{reason and f': {reason}'}"


def _chained(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception and its causes. requests and urllib3 have them as arguments.

    The context does not count: the application may handle another exception.
    """
    while error is not None:
        yield error
        error = error.__cause__ or next((each for each in error.args if isinstance(each, BaseException)), None)


def _reason(error: BaseException) -> str:
    if not isinstance(error, OSError) or error.errno is None:
        return ""
    # The numbers of OpenSSL and of the resolver are not those of the system, whose text could have an address.
    return str(error.strerror) if isinstance(error, ssl.SSLError | socket.gaierror) else os.strerror(error.errno)
