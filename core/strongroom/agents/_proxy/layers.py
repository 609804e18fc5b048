"""Changes to layers of mitmproxy, so that no body is kept in memory, and nothing reaches the worker without a hook.

The body of a request that the proxy answers itself is dropped, and one that is needed whole has a limit. On HTTP/2 a
sender gets more credit only when what it has sent has left again; mitmproxy grants two gigabytes at once, and would
keep what the other side does not take. No hook sees the pings of a websocket and the reason of its close, so they are
redacted here. mitmproxy's pages about errors quote the malformed bytes, so each is replaced by one sentence. On
HTTP/1, it takes an informational answer such as 103 for the final one, and fails at trailers: both are dropped here.
Its TLS takes the authority from a folder, and the name of the upstream from the client. mitmproxy's layers are not a
published interface, so this module stands alone, and the extra `agents` allows one minor version only.
"""
# The extra `agents` is installed in a separate environment.
# pyright: reportMissingImports=false

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache
from typing import Any

import h2.exceptions
import wsproto.events
from cryptography.x509 import DNSName
from h11 import Data, EndOfMessage
from h11._readers import ChunkedReader
from mitmproxy import certs, connection, tls
from mitmproxy.addons.tlsconfig import TlsConfig
from mitmproxy.http import HTTPFlow, Response
from mitmproxy.net.http import http1
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers import http, websocket
from mitmproxy.proxy.layers.http import HttpLayer, HttpStream, _http1, _http2
from mitmproxy.proxy.layers.http._events import ErrorCode, HttpEvent, RequestData, ResponseProtocolError
from mitmproxy.proxy.layers.http._hooks import HttpResponseHeadersHook
from mitmproxy.proxy.layers.http._http1 import Http1Client, Http1Server
from mitmproxy.proxy.layers.http._http2 import Http2Server
from mitmproxy.proxy.layers.http._http_h2 import BufferedH2Connection

from strongroom.agents._proxy.authority import Authority, certificate_name
from strongroom.agents._proxy.flows import refuse_long_body
from strongroom.agents._proxy.network import connect_reason
from strongroom.agents._rules.request import REFUSAL_HEADERS, Refusal
from strongroom.agents.session import MAX_BODY

_CREDIT = 1 << 21
"""Bytes that a sender on HTTP/2 may be ahead of the other side, in each stream."""


class _Credited(BufferedH2Connection):
    """An HTTP/2 connection that grants credit when `grant` is called."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.local_settings.initial_window_size = _CREDIT
        self.local_settings.acknowledge()  # otherwise the peer would get the setting from before
        self._received: list[tuple[int, int]] = []

    def acknowledge_received_data(self, acknowledged_size: int, stream_id: int) -> None:
        self._received.append((acknowledged_size, stream_id))

    def grant(self) -> bytes:
        """Return the bytes that grant credit for all that was received."""
        received, self._received = self._received, []
        for size, stream in received:
            with suppress(h2.exceptions.ProtocolError):  # the connection has ended
                super().acknowledge_received_data(size, stream)
        return self.data_to_send() if received else b""

    def waiting(self) -> int:
        """Return the number of bytes that the peer does not take yet."""
        return sum(len(chunk.data) for chunks in self.stream_buffers.values() for chunk in chunks)


_http2.BufferedH2Connection = _Credited  # type: ignore[attr-defined, misc, unused-ignore]


MALFORMED = "The request is malformed"
"""The answer to a request that mitmproxy cannot parse."""

_CERTIFICATE = "Certificate verify failed: "
"""The beginning of mitmproxy's message for a certificate that OpenSSL refuses. OpenSSL's own reason follows."""


def connect_failure(host: str, message: str) -> Refusal:
    """Return the answer for a failed connection to a host, with the reason of the system or of OpenSSL.

    Args:
        host: the host, with its port.
        message: mitmproxy's message.
    """
    if message.startswith(_CERTIFICATE):
        return Refusal(502, f"The certificate of {host} is refused: {message.removeprefix(_CERTIFICATE)}")
    if reason := connect_reason(message):
        return Refusal(502, f"Cannot connect to {host}: {reason}")
    return Refusal(502, f"Cannot connect to {host}, or it does not speak TLS")


def _failure(context: Context, event: ResponseProtocolError) -> Refusal:
    """Return the answer for a request that failed."""
    if event.code is ErrorCode.CONNECT_FAILED:
        host, port = (context.server.address or ("the upstream", 0))[:2]
        return connect_failure(f"{host}:{port}", event.message)
    if event.code.http_status_code() == 502:
        return Refusal(502, "The upstream ended too early, or its answer is malformed")
    return Refusal(event.code.http_status_code() or 400, MALFORMED)


def _error_response(status: int, message: str) -> bytes:
    """Return the answer of HTTP/1 for an error, after which the connection ends. A message at 400 is mitmproxy's."""
    refusal = Refusal(status, message if status == 502 else MALFORMED)
    response = Response.make(status, refusal.content, {**dict(REFUSAL_HEADERS), "connection": "close"})
    content: bytes = http1.assemble_response(response)
    return content


_http1.make_error_response = _error_response  # type: ignore[assignment, unused-ignore]


class _Http1Server(Http1Server):
    """The worker's side of HTTP/1."""

    def send(self, event: HttpEvent) -> layer.CommandGenerator[None]:
        """Send an answer, or our own sentence after a failure."""
        if isinstance(event, ResponseProtocolError):
            event = ResponseProtocolError(event.stream_id, _failure(self.context, event).reason, event.code)
        yield from super().send(event)


class _Http2Server(Http2Server):
    """The worker's side of HTTP/2."""

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        if isinstance(event, ResponseProtocolError) and self._can_answer(event):
            refusal, stream = _failure(self.context, event), event.stream_id
            headers = [(":status", str(refusal.status)), *REFUSAL_HEADERS]
            self.h2_conn.send_headers(stream, [(name.encode(), value.encode()) for name, value in headers])
            self.h2_conn.send_data(stream, refusal.content, end_stream=True)
            yield commands.SendData(self.conn, self.h2_conn.data_to_send())
        else:
            yield from super()._handle_event(event)

    def _can_answer(self, event: ResponseProtocolError) -> bool:
        is_open = event.code.http_status_code() is not None and self.is_open_for_us(event.stream_id)
        return is_open and not self.h2_conn.streams[event.stream_id].state_machine.headers_sent

    def protocol_error(self, message: str, *code: Any) -> layer.CommandGenerator[None]:  # noqa: ARG002  # mitmproxy's
        """End the connection. The worker gets the message with the last frame."""
        yield from super().protocol_error(MALFORMED, *code)


class _Http1Client(Http1Client):
    """The upstream's side of HTTP/1."""

    def read_headers(self, event: events.ConnectionEvent) -> layer.CommandGenerator[None]:
        """Read the head of the final answer, and drop those before it. On HTTP/2, mitmproxy drops them."""
        while _INFORMATIONAL.match(bytes(self.buf)) and self.buf.maybe_extract_lines():
            pass
        yield from super().read_headers(event)


_INFORMATIONAL = re.compile(rb"HTTP/1\.[0-9] 1(?!01)[0-9][0-9][ \r\n]")


class _Chunks(ChunkedReader):
    """Reads the chunks of a body, and drops the trailers."""

    def __call__(self, buf: Any) -> Data | EndOfMessage | None:
        event = super().__call__(buf)
        return EndOfMessage() if isinstance(event, EndOfMessage) else event


http.Http1Server, http.Http1Client = _Http1Server, _Http1Client  # type: ignore[attr-defined, misc, unused-ignore]
http.Http2Server = _Http2Server  # type: ignore[attr-defined, misc, unused-ignore]
_http1.ChunkedReader = _Chunks  # type: ignore[attr-defined, misc, unused-ignore]


REDACT = "strongroom.redact"
"""The metadata of a flow with the function that redacts the frames of its websocket to the worker."""

_UNREADABLE = {1002, 1007, 1009}
"""The codes of a close for frames that cannot be read. The reason is then that of the library, which may quote them."""

_LONGEST_CONTROL = 123
"""Bytes of a websocket's ping, or of the reason of its close."""


class _ToWorker(websocket.WebsocketConnection):
    """The worker's side of a websocket.

    Attributes:
        redact: redacts the content of a control frame.
    """

    redact: Callable[[bytes], bytes]

    def send2(self, event: wsproto.events.Event) -> commands.SendData:
        """Return the command that sends a frame."""
        if isinstance(event, wsproto.events.Ping | wsproto.events.Pong):
            event = replace(event, payload=self.redact(bytes(event.payload))[:_LONGEST_CONTROL])
        elif isinstance(event, wsproto.events.CloseConnection) and event.code in _UNREADABLE:
            event = replace(event, reason=None)
        elif isinstance(event, wsproto.events.CloseConnection) and event.reason:
            redacted = self.redact(event.reason.encode())[:_LONGEST_CONTROL]
            event = replace(event, reason=redacted.decode(errors="ignore"))
        return super().send2(event)


class _Websocket(websocket.WebsocketLayer):
    """The frames of a websocket."""

    def start(self, event: events.Start) -> layer.CommandGenerator[None]:
        """Begin to relay."""
        yield from super().start(event)
        self.client_ws.__class__ = _ToWorker
        self.client_ws.redact = self.flow.metadata.get(REDACT, bytes)

    _handle_event = start


websocket.WebsocketLayer = _Websocket  # type: ignore[misc, unused-ignore]


class Tls(TlsConfig):
    """TLS with the worker and with upstreams. The authorities are in memory, and CONNECT decides about the host.

    Args:
        authorities: the session's authorities, of which the first that covers a host makes its certificate. Others may
            be added later.
    """

    def __init__(self, authorities: Sequence[Authority]) -> None:
        self._authorities = authorities
        self._store_of = cache(_certificate_store)
        self.certstore = self._store_of(authorities[0])

    def configure(self, updated: set[str]) -> None:
        """Keep the authority with every set of options."""

    def running(self) -> None:
        """Keep the authority."""

    def request(self, flow: HTTPFlow) -> None:
        """Answer no request: mitmproxy's addon has a list of revoked certificates."""

    def get_cert(self, conn_context: Context) -> certs.CertStoreEntry:
        """Return a certificate for the host of CONNECT."""
        assert conn_context.server.address is not None, "the layer is made after CONNECT"  # noqa: S101
        host = conn_context.server.address[0]
        name = certificate_name(host)
        store = self._store_of(next(authority for authority in self._authorities if authority.covers(host)))
        # OpenSSL compares a common name with the permitted names, and an address is never one of these.
        return store.get_cert(host if isinstance(name, DNSName) else None, [name])

    def tls_start_server(self, tls_start: tls.TlsData) -> None:
        """Verify the upstream as the host of CONNECT, not as the client's SNI."""
        assert isinstance(tls_start.conn, connection.Server), "mitmproxy connects to no other"  # noqa: S101
        assert tls_start.conn.address is not None, "it is connected"  # noqa: S101
        tls_start.conn.sni = tls_start.conn.address[0]
        super().tls_start_server(tls_start)


def _certificate_store(authority: Authority) -> certs.CertStore:
    no_parameters: Any = None  # of the Diffie-Hellman exchange over finite fields, which nobody needs
    return certs.CertStore(authority.key, certs.Cert(authority.certificate), None, b"", no_parameters)


class Stream(HttpStream):
    """One request and its answer."""

    def state_wait_for_request_headers(self, event: Any) -> layer.CommandGenerator[None]:
        """Read the head, and send an answer of the proxy itself, however long the body is."""
        yield from super().state_wait_for_request_headers(event)
        if self.client_state == self.state_consume_request_body and self.flow.response is not None:
            yield from self._answer()

    def state_consume_request_body(self, event: events.Event) -> layer.CommandGenerator[None]:
        """Keep a part of the body."""
        if isinstance(event, RequestData) and len(self.request_body_buf) + len(event.data) > MAX_BODY:
            refuse_long_body(self.flow)
            yield from self._answer()
        else:
            yield from super().state_consume_request_body(event)

    def _answer(self) -> layer.CommandGenerator[None]:
        """Send the answer. The rest of the body, for a stream that is done, is dropped."""
        self.request_body_buf.clear()
        self.client_state = self.state_done
        yield HttpResponseHeadersHook(self.flow)
        if not (yield from self.check_killed(emit_error_hook=True)):
            yield from self.send_response()

    def is_behind(self) -> bool:
        """Return True if parts of the body wait for a hook or a connection."""
        return bool(self._paused_event_queue)


http.HttpStream = Stream  # type: ignore[misc, unused-ignore]


class Http(HttpLayer):
    """The requests of one connection."""

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        yield from super()._handle_event(event)
        client = self.context.client
        connections = dict(self._credited())
        ahead = sum(about.waiting() for peer, about in connections.items() if peer is not client)
        behind = any(isinstance(stream, Stream) and stream.is_behind() for stream in self.streams.values())
        for peer, about in connections.items():
            other = ahead if peer is client else connections[client].waiting() if client in connections else 0
            if other < _CREDIT and not (behind and peer is client) and (granted := about.grant()):
                yield commands.SendData(peer, granted)

    def _credited(self) -> Iterator[tuple[Any, _Credited]]:
        """Yield the HTTP/2 connections, of the client and of upstreams."""
        for peer, first in self.connections.items():
            last = first.context.layers[-1]
            if isinstance(last, _http2.Http2Connection) and isinstance(last.h2_conn, _Credited):
                yield peer, last.h2_conn


class Closed(layer.Layer):
    """The end of a connection that is not served."""

    def _handle_event(self, _: events.Event) -> layer.CommandGenerator[None]:
        yield commands.CloseConnection(self.context.client)
