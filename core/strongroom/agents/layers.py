"""Changes to layers of mitmproxy, so that no body is kept in memory, and no frame passes without a hook.

The body of a request that the proxy answers itself is dropped, and one that is needed whole has a limit. On HTTP/2 a
sender gets more credit only when what it has sent has left again; mitmproxy grants two gigabytes at once, and would
keep what the other side does not take. No hook sees the pings of a websocket and the reason of its close, so they are
redacted here, and its page about an answer that it cannot parse shows none of it. mitmproxy's layers are not a
published interface, so this module stands alone, and the extra `agents` allows one minor version only.
"""
# The extra `agents` is installed in a separate environment.
# pyright: reportMissingImports=false

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import h2.exceptions
import wsproto.events
from mitmproxy.http import Response
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers import websocket
from mitmproxy.proxy.layers.http import HttpLayer, HTTPMode, HttpStream, _http2
from mitmproxy.proxy.layers.http._events import ErrorCode, RequestData, RequestProtocolError, ResponseProtocolError
from mitmproxy.proxy.layers.http._http_h2 import BufferedH2Connection

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


REDACT = "strongroom.redact"
"""The metadata of a flow with the function that redacts the frames of its websocket to the worker."""

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


class Stream(HttpStream):
    """One request and its answer.

    Attributes:
        max_kept: the longest body that is kept until the request is sent, in bytes.
        too_large: makes the answer to a longer one.
    """

    max_kept: int
    too_large: Callable[[], Response]

    def state_consume_request_body(self, event: events.Event) -> layer.CommandGenerator[None]:
        """Keep a part of the body, unless the request is answered already."""
        if isinstance(event, RequestData):
            if self.flow.response is None and len(self.request_body_buf) + len(event.data) > self.max_kept:
                self.flow.response = self.too_large()
            if self.flow.response is not None:
                self.request_body_buf.clear()
                return
        yield from super().state_consume_request_body(event)

    def handle_protocol_error(
        self, event: RequestProtocolError | ResponseProtocolError
    ) -> layer.CommandGenerator[None]:
        """Answer after a failure, without what the upstream sent: mitmproxy's page would show a malformed line."""
        if isinstance(event, ResponseProtocolError) and event.code is ErrorCode.GENERIC_SERVER_ERROR:
            reason = "The upstream ended too early, or its answer is malformed"
            event = ResponseProtocolError(event.stream_id, reason, event.code)
        yield from super().handle_protocol_error(event)

    def is_behind(self) -> bool:
        """Return True if parts of the body wait for a hook or a connection."""
        return bool(self._paused_event_queue)


class Http(HttpLayer):
    """The requests of one connection."""

    def __init__(self, context: Context, mode: HTTPMode, max_kept: int, too_large: Callable[[], Response]) -> None:
        super().__init__(context, mode)
        self._max_kept = max_kept
        self._too_large = too_large

    def make_stream(self, stream_id: int) -> layer.CommandGenerator[None]:
        """Add a stream."""
        stream = Stream(self.context.fork(), stream_id)
        stream.max_kept, stream.too_large = self._max_kept, self._too_large
        self.streams[stream_id] = stream
        yield from self.event_to_child(stream, events.Start())

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
