"""Changes to layers of mitmproxy, so that no body is kept in memory, and nothing reaches the worker without a hook.

The body of a request that the proxy answers itself is dropped, and one that is needed whole has a limit. No hook sees
the pings of a websocket and the reason of its close, so they are redacted here. mitmproxy's pages about errors quote
the malformed bytes, so each is replaced by one sentence. It takes an informational answer such as 103 for the final
one, and fails at trailers: both are dropped here. Its TLS takes the authority from a folder, and the upstream's name
and protocols from the client. mitmproxy's layers are not a published interface, so this module stands alone, and the
extra `agents` allows one minor version only.
"""
# The extra `agents` is installed in a separate environment.
# pyright: reportMissingImports=false

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import wsproto.events
from cryptography.x509 import DNSName
from h11 import Data, EndOfMessage
from h11._readers import ChunkedReader
from h11._receivebuffer import ReceiveBuffer
from mitmproxy import certs, connection, tls
from mitmproxy.addons.tlsconfig import TlsConfig
from mitmproxy.http import HTTPFlow
from mitmproxy.net.http import http1
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers import ServerTLSLayer, http, websocket
from mitmproxy.proxy.layers.http import HttpStream, _http1
from mitmproxy.proxy.layers.http._events import ErrorCode, HttpEvent, RequestData, ResponseProtocolError
from mitmproxy.proxy.layers.http._http1 import Http1Client, Http1Connection, Http1Server
from mitmproxy.proxy.tunnel import TunnelState

from strongroom.agents._proxy.authority import Authority, certificate_name
from strongroom.agents._proxy.flows import EXCHANGE, FAILURE, destination, response_to
from strongroom.agents._proxy.network import connect_reason
from strongroom.agents._rules.request import Refusal
from strongroom.agents.session import MAX_BODY

MALFORMED = "The request is malformed"
"""The answer to a request that mitmproxy cannot parse."""

NO_ANSWER = "The upstream ended too early, or its answer is malformed"
"""The answer to a request after whose connection the upstream failed."""

_CERTIFICATE = "Certificate verify failed: "
"""The beginning of mitmproxy's message for a certificate that OpenSSL refuses. OpenSSL's own reason follows."""


def connect_failure(host: str, message: str) -> Refusal:
    """Return the answer for a failed connection to a host, with the reason of the system or of OpenSSL.

    Args:
        host: the host, with its port.
        message: mitmproxy's message.
    """
    if message.startswith(_CERTIFICATE):
        reason = message.removeprefix(_CERTIFICATE)
        is_unknown = "issuer" in reason or "self-signed" in reason  # such as that of a company
        hint = ". If you trust its authority, add that to the file of SSL_CERT_FILE" if is_unknown else ""
        return Refusal(502, f"The certificate of {host} is refused: {reason}{hint}")
    if reason := connect_reason(message):
        return Refusal(502, f"Cannot connect to {host}: {reason}")
    return Refusal(502, f"Cannot connect to {host}, or it does not speak HTTP/1.1 over TLS")


def _error_response(status: int, message: str) -> bytes:
    """Return the answer for an error, after which the connection ends. A message at 400 is mitmproxy's."""
    response = response_to(Refusal(status, message if status == 502 else MALFORMED))
    response.headers["connection"] = "close"
    content: bytes = http1.assemble_response(response)
    return content


_http1.make_error_response = _error_response  # type: ignore[assignment, unused-ignore]


_LONGEST_HEAD = 1 << 18
"""Bytes of a head, or of the line before a chunk, that are held. Node and h11 take 16 KiB of a head."""


class _Bounded(Http1Connection):
    """A side that is taken to have left if it sends a longer head."""

    buf: ReceiveBuffer

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        yield from super()._handle_event(event)
        if len(self.buf) > _LONGEST_HEAD:
            self.buf = ReceiveBuffer()
            yield from self.state(events.ConnectionClosed(self.conn))


class _Http1Server(_Bounded, Http1Server):
    """The worker's side."""

    def send(self, event: HttpEvent) -> layer.CommandGenerator[None]:
        """Send an answer, or our own sentence after a failure."""
        if isinstance(event, ResponseProtocolError) and event.code is not ErrorCode.CONNECT_FAILED:
            event = ResponseProtocolError(event.stream_id, NO_ANSWER, event.code)
        yield from super().send(event)


class _Http1Client(_Bounded, Http1Client):
    """The upstream's side."""

    def read_headers(self, event: events.ConnectionEvent) -> layer.CommandGenerator[None]:
        """Read the head of the final answer, and drop those before it."""
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
_http1.ChunkedReader = _Chunks  # type: ignore[attr-defined, misc, unused-ignore]


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
        exchange = self.flow.metadata[EXCHANGE]
        self.client_ws.redact = bytes if exchange is None else exchange.message

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
        """Verify the upstream as the host of CONNECT, not as the client's SNI, and offer it HTTP/1.1 alone."""
        assert isinstance(tls_start.conn, connection.Server), "mitmproxy connects to no other"  # noqa: S101
        assert tls_start.conn.address is not None, "it is connected"  # noqa: S101
        tls_start.conn.sni = tls_start.conn.address[0]
        tls_start.conn.alpn_offers = (b"http/1.1",)
        super().tls_start_server(tls_start)


def _certificate_store(authority: Authority) -> certs.CertStore:
    no_parameters: Any = None  # of the Diffie-Hellman exchange over finite fields, which nobody needs
    return certs.CertStore(authority.key, certs.Cert(authority.certificate), None, b"", no_parameters)


class UpstreamTls(ServerTLSLayer):
    """TLS with the upstream. A worker that leaves meanwhile ends its connection, as mitmproxy's layer would not."""

    def event_to_child(self, event: events.Event) -> layer.CommandGenerator[None]:
        """Pass an event of the worker's connection on."""
        yield from super().event_to_child(event)
        if isinstance(event, events.ConnectionClosed) and self.tunnel_state is TunnelState.ESTABLISHING:
            yield commands.CloseConnection(self.context.client)


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
            self.flow.response = response_to(self.flow.metadata[EXCHANGE].refuse_long_body())
            yield from self._answer()
        else:
            yield from super().state_consume_request_body(event)

    def handle_protocol_error(self, event: Any) -> layer.CommandGenerator[None]:
        """Give a failure of the upstream a reason of ours, for the worker and for the record."""
        if isinstance(event, ResponseProtocolError):
            failure = Refusal(502, NO_ANSWER)
            if event.code is ErrorCode.CONNECT_FAILED:
                failure = connect_failure(destination(self.flow), event.message)
            self.flow.metadata[FAILURE] = failure
            event = ResponseProtocolError(event.stream_id, failure.reason, event.code)
        yield from super().handle_protocol_error(event)

    def _answer(self) -> layer.CommandGenerator[None]:
        """Send the answer. The rest of the body, for a stream that is done, is dropped."""
        self.request_body_buf.clear()
        self.client_state = self.state_done
        yield from self.send_response()


http.HttpStream = Stream  # type: ignore[misc, unused-ignore]


class Closed(layer.Layer):
    """The end of a connection that is not served."""

    def _handle_event(self, _: events.Event) -> layer.CommandGenerator[None]:
        yield commands.CloseConnection(self.context.client)
