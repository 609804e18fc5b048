"""Two layers of mitmproxy with a change: the body of a refused request is dropped, and a kept one has a limit.

mitmproxy would keep the whole body of a request that is answered without the upstream. Its layers are not a published
interface, so this module stands alone, and the extra `agents` allows one minor version only.
"""

from __future__ import annotations

from collections.abc import Callable

from mitmproxy.http import Response
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers.http import HttpLayer, HTTPMode, HttpStream
from mitmproxy.proxy.layers.http._events import RequestData


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


class Closed(layer.Layer):
    """The end of a connection that is not served."""

    def _handle_event(self, _: events.Event) -> layer.CommandGenerator[None]:
        yield commands.CloseConnection(self.context.client)
