"""The proxy of one session, on mitmproxy. It is imported late: the import takes half a second.

An addon of mitmproxy decides about each connection and each request. mitmproxy continues after an exception in one,
so each hook is wrapped: after a failure the request is refused, or its connection is closed.
"""
# The extra `agents` is installed in a separate environment.
# pyright: reportMissingImports=false

from __future__ import annotations

import asyncio
import functools
import logging
import os
import socket
import time
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Any

from mitmproxy import http, log, master, options
from mitmproxy.addons.proxyserver import Proxyserver
from mitmproxy.connection import Client, ConnectionState
from mitmproxy.net.http import status_codes
from mitmproxy.net.tls import starts_like_tls_record
from mitmproxy.proxy import layer, layers, mode_servers
from mitmproxy.proxy.layers import modes
from mitmproxy.proxy.layers.http import HTTPMode

from strongroom.agents._proxy import flows
from strongroom.agents._proxy.flows import EXCHANGE, FAILURE, OwnAnswer, destination, in_thread, response_to
from strongroom.agents._proxy.layers import MALFORMED, NO_ANSWER, Closed, Tls, UpstreamTls, connect_failure
from strongroom.agents._proxy.sandbox import BACKLOG
from strongroom.agents._rules.request import DEFAULT_PORTS, Refusal, RequestHead, normalize_host
from strongroom.agents.session import Exchange, SessionEnd

if TYPE_CHECKING:
    from strongroom.agents._proxy.setup import Setup

_LOGGERS = ("mitmproxy", "wsproto", "h11")
"""Loggers of the libraries below. Their records have headers, and so values."""

UNTRUSTED = "The program does not trust the session's authority: let it read the file of SSL_CERT_FILE"
"""Why a tunnel ended before a request, if the program said so."""

UNUSED = "The program ended the connection before its request. It may not trust the file of SSL_CERT_FILE"
"""The same if it did not say why: Node and wget verify a certificate after the handshake."""

_UNTRUSTED_ALERTS = ("unknown ca", "bad certificate", "certificate unknown")  # OpenSSL's names

_LAST = 0.5
"""The most seconds to wait for the end of the last connections."""

_OPTIONS = {
    "server": False,  # its own listeners: ours are given
    "http2": False,
    "connection_strategy": "eager",  # a connection to the upstream serves all requests of a client's connection
    "rawtcp": False,  # an upgrade to anything but a websocket ends the connection
    "store_streamed_bodies": False,
    "upstream_cert": False,
    "validate_inbound_headers": True,
}


async def serve(
    setup: Setup,
    listeners: Iterable[socket.socket],
    connected: Callable[[str, bool], object],
    stop: Future[None],
) -> None:
    """Serve the worker until `stop` is done."""
    proxy = master.Master(options.Options())
    _silence()
    server = Proxyserver()
    proxy.addons.add(server, Tls(setup.authorities), Addon(setup, server, connected))
    instance: mode_servers.ServerInstance[Any] = mode_servers.ServerInstance.make("regular", server)
    # A file that only this process has: the worker must not decide which upstreams are trusted.
    with os.fdopen(os.memfd_create("authorities"), "wb", 0) as roots:
        roots.write(setup.roots)
        proxy.options.update(**_OPTIONS, ssl_verify_upstream_trusted_ca=f"/proc/self/fd/{roots.fileno()}")
        listening = [await _listen(listener, instance) for listener in listeners]
        stop.add_done_callback(lambda _: proxy.shutdown())
        cut = asyncio.create_task(_cut_at(setup.end, server))
        try:
            await proxy.run()
        finally:
            cut.cancel()
            for listener in listening:
                listener.close()
            await _finish(server)


async def _cut_at(end: SessionEnd, server: Proxyserver) -> None:
    """Close all connections at the end: a request in flight must not outlive the session."""
    while (left := end.left()) > 0:  # noqa: ASYNC110  # a clock has no event
        await asyncio.sleep(left)
    for handler in list(server.connections.values()):
        _close(handler)


async def _finish(server: Proxyserver) -> None:
    """Wait a little for the last connections of the command: a failed handshake is recorded at their end."""
    end = time.monotonic() + _LAST
    while server.connections and time.monotonic() < end:  # noqa: ASYNC110  # a table has no event
        await asyncio.sleep(0.01)


def _close(handler: Any) -> None:
    if handler.client in handler.transports:
        handler.close_connection(handler.client)


async def _listen(listener: socket.socket, instance: mode_servers.ServerInstance[Any]) -> asyncio.Server:
    if listener.family == socket.AF_UNIX:

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            renamed: Any = _UnixWriter(writer)
            await instance.handle_stream(reader, renamed)

        return await asyncio.start_unix_server(handle, sock=listener, backlog=BACKLOG)
    # Asyncio sets it for sockets that name TCP only, which one of `socket.create_server` does not. Without it, the end
    # of an answer waits 40 ms for the client's acknowledgment.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return await asyncio.start_server(instance.handle_stream, sock=listener, backlog=BACKLOG)


class _UnixWriter:
    """The writer of a connection on a Unix socket, with addresses of the form that mitmproxy expects."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._writer, name)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("unix", 0) if name in {"peername", "sockname"} else self._writer.get_extra_info(name, default)


def _silence() -> None:
    for name in _LOGGERS:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    for handler in logging.getLogger().handlers[:]:
        if isinstance(handler, log.MitmLogHandler):
            logging.getLogger().removeHandler(handler)


def _fails_closed(hook: Callable[[Addon, Any], Awaitable[None]]) -> Callable[[Addon, Any], Awaitable[None]]:
    """Return the hook with a refusal after any exception. mitmproxy would go on without the hook's work."""

    @functools.wraps(hook)
    async def guarded(self: Addon, data: Any) -> None:
        try:
            await hook(self, data)
        except Exception:  # noqa: BLE001  # its message may have a value
            self.refuse_after_failure(data)

    return guarded


class Addon:
    """The hooks of mitmproxy.

    Args:
        setup: the parts of the proxy.
        server: the addon with the open connections.
        connected: gets each destination, and whether its requests pass unread; called in a thread.
    """

    def __init__(self, setup: Setup, server: Proxyserver, connected: Callable[[str, bool], object]) -> None:
        self._session = setup.session
        self._destinations = setup.destinations
        self._ends = setup.end
        self._server = server
        self._connected = connected
        self._silent: dict[str, str] = {}  # the address of each tunnel in which nothing was sent, by its connection

    def refuse_after_failure(self, data: Any) -> None:
        """Answer, or close the connection, after a hook failed with this argument."""
        if isinstance(data, layer.NextLayer):
            data.layer = Closed(data.context)
        elif isinstance(data, Client):
            pass  # it has left
        elif data.response is None:
            data.response = response_to(Refusal(502, "The proxy failed, and the request was not sent"))
        else:
            for message in data.websocket.messages if data.websocket else ():
                message.drop()
            if data.killable:
                data.kill()
            if (handler := self._server.connections.get(data.client_conn.id)) is not None:
                asyncio.get_running_loop().call_soon(_close, handler)

    async def _record(self, flow: http.HTTPFlow, refusal: Refusal) -> None:
        """Record a refusal of the proxy itself. The session records its own."""
        named = destination(flow).removesuffix(f":{DEFAULT_PORTS['https']}")
        method, path = flow.request.method, flow.request.path.partition("?")[0]
        await in_thread(partial(self._session.record_refusal, refusal, named, method, path))

    async def _record_tunnel(self, address: str, refusal: Refusal) -> None:
        """Record why a tunnel ended before the worker had sent a request."""
        named = address.removesuffix(f":{DEFAULT_PORTS['https']}")
        await in_thread(partial(self._session.record_refusal, refusal, named, "CONNECT"))

    # Connections.

    @_fails_closed
    async def next_layer(self, nextlayer: layer.NextLayer) -> None:
        """Choose the protocol: HTTP with CONNECT, then TLS and HTTP for the hosts of rules, otherwise a tunnel."""
        context = nextlayer.context
        if isinstance(context.layers[-1], modes.HttpProxy):
            nextlayer.layer = layers.HttpLayer(context, HTTPMode.regular)
        elif isinstance(context.layers[-1], layers.ClientTLSLayer):
            self._silent.pop(context.client.id, None)
            nextlayer.layer = layers.HttpLayer(context, HTTPMode.transparent)
        elif context.server.address is None:
            nextlayer.layer = Closed(context)
        elif not self._destinations.is_looked_into("https", *context.server.address[:2]):
            nextlayer.layer = layers.TCPLayer(context, ignore=True)
        elif ConnectionState.CAN_READ not in context.server.state:  # the upstream has left: mitmproxy would wait for it
            address = self._silent.pop(context.client.id)
            await self._record_tunnel(address, Refusal(502, f"{address} ended the connection at once"))
            nextlayer.layer = Closed(context)
        elif len(nextlayer.data_client()) >= 3:
            if starts_like_tls_record(nextlayer.data_client()):
                outer = UpstreamTls(context)
                outer.child_layer = layers.ClientTLSLayer(context)
                nextlayer.layer = outer
            else:  # the request is refused, since it is not encrypted
                nextlayer.layer = layers.HttpLayer(context, HTTPMode.transparent)

    @_fails_closed
    async def http_connect(self, flow: http.HTTPFlow) -> None:
        """Decide about a tunnel."""
        try:
            self._require_time()
            host, port = normalize_host(flow.request.host), flow.request.port
            is_read = self._destinations.is_looked_into("https", host, port)
            flow.request.host = host
            await in_thread(partial(self._connected, f"{host}:{port}", not is_read))
            if is_read:
                self._silent[flow.client_conn.id] = f"{host}:{port}"
        except Refusal as refusal:
            await self._record(flow, refusal)
            flow.response = response_to(refusal)

    @_fails_closed
    async def http_connect_error(self, flow: http.HTTPFlow) -> None:
        """Answer in our own words if the upstream cannot be reached."""
        if flow.server_conn.error is not None:
            refusal = connect_failure(destination(flow), flow.server_conn.error)
            flow.response = response_to(refusal)
            await self._record(flow, refusal)  # most programs hide the body of an answer to CONNECT

    @_fails_closed
    async def client_disconnected(self, client: Client) -> None:
        """Record a program that began TLS and sent no request. Some send an alert, others just leave."""
        address = self._silent.pop(client.id, None)
        if address is None or not client.tls:  # some programs connect ahead
            return
        is_told = any(alert in (client.error or "") for alert in _UNTRUSTED_ALERTS)
        refusal = Refusal(0, UNTRUSTED if is_told else UNUSED)
        if not client.error and not client.tls_established:  # it waited for the upstream
            refusal = Refusal(502, f"{address} did not answer the TLS handshake")
        await self._record_tunnel(address, refusal)

    # Requests.

    def _require_time(self) -> None:
        if self._ends.left() == 0:
            raise self._ends.refusal()

    @_fails_closed
    async def requestheaders(self, flow: http.HTTPFlow) -> None:
        """Check the head of a request, and put the values into it."""
        if flow.error is not None:  # mitmproxy refuses it
            await self._record(flow, Refusal(400, MALFORMED))
            return
        try:
            self._require_time()
            if flow.server_conn.address is None:
                await self._pass_unread(flow)
                return
            head = flows.head_of(flow)
        except Refusal as refusal:
            await self._record(flow, refusal)
            flow.response = response_to(refusal)
            return
        handler: Any = self._server.connections[flow.client_conn.id]
        try:
            # mitmproxy takes this lock after each part that it has read, and would keep the parts that come meanwhile.
            async with handler._drain_lock:  # noqa: SLF001  # no hook can pause the reader
                exchange = await in_thread(partial(self._session.begin, head))
        except Refusal as refusal:
            flow.response = response_to(refusal)
            return
        flow.metadata[EXCHANGE] = exchange
        if not exchange.needs_body:
            flows.apply_head(flow.request, exchange.head)
            flow.request.stream = True

    async def _pass_unread(self, flow: http.HTTPFlow) -> None:
        """Let a request pass that is neither encrypted nor for the host of a rule."""
        if flow.request.scheme != "http":
            raise Refusal(400, "Use CONNECT for https")
        host = normalize_host(flow.request.host)
        self._destinations.is_looked_into("http", host, flow.request.port)
        self._session.observe(RequestHead(flow.request.method, "http", host, flow.request.port, "/", "", ()))
        flow.request.data.host = host
        await in_thread(partial(self._connected, destination(flow), True))  # noqa: FBT003  # its signature
        flow.metadata[EXCHANGE] = None
        flow.request.stream = True

    @_fails_closed
    async def request(self, flow: http.HTTPFlow) -> None:
        """Replace placeholders in a body that was kept for this."""
        exchange = flow.metadata[EXCHANGE]
        if exchange is None or not exchange.needs_body:
            return
        try:
            body = await in_thread(partial(exchange.replace_body, flow.request.raw_content or b""))
        except Refusal as refusal:
            flow.response = response_to(refusal)
            return
        flows.apply_head(flow.request, exchange.head)
        flow.request.headers.pop("transfer-encoding", None)
        flow.request.headers["content-length"] = str(len(body))
        flow.request.data.content = body

    @_fails_closed
    async def responseheaders(self, flow: http.HTTPFlow) -> None:
        """Redact the head of an answer, and prepare its body."""
        response = flow.response
        assert response is not None, "mitmproxy sets it"  # noqa: S101
        if isinstance(response, OwnAnswer):
            return
        exchange = flow.metadata[EXCHANGE]
        if exchange is None:
            response.stream = True
            return
        try:
            headers = exchange.answer(response.status_code, flows.decoded(response.headers))
        except Refusal as refusal:
            self._replace(flow, refusal)
            return
        response.headers = flows.encoded(headers)
        response.data.reason = status_codes.RESPONSES.get(response.status_code, "").encode("ascii")
        response.stream = partial(self._redact, flow, exchange)
        # A client would go on with HTTP/1.0, in which an answer that is cut short looks whole.
        if response.http_version == "HTTP/1.0":
            response.http_version = "HTTP/1.1"
            response.headers["connection"] = "close"
        is_chunked = "content-length" not in response.headers and flow.request.http_version == "HTTP/1.1"
        if is_chunked and exchange.has_body(response.status_code):
            response.headers["transfer-encoding"] = "chunked"

    def _redact(self, flow: http.HTTPFlow, exchange: Exchange, part: bytes) -> list[bytes]:
        """Return what a part of an answer becomes, and nothing after a failure. The end is an empty part."""
        if flow.error is not None:
            return []
        try:
            redacted = exchange.feed(part) if part else exchange.finish()
        except Exception:  # noqa: BLE001  # its message may have a value
            self.refuse_after_failure(flow)
            return []
        return [redacted] if redacted else []  # mitmproxy takes b"" for the end

    @staticmethod
    def _replace(flow: http.HTTPFlow, refusal: Refusal) -> None:
        """Send our own answer in the place of the upstream's, whose body is dropped."""
        ours = response_to(refusal)
        content = [refusal.content]
        ours.headers["connection"] = "close"
        ours.stream = lambda _: [content.pop()] if content else []
        flow.response = ours

    @_fails_closed
    async def response(self, flow: http.HTTPFlow) -> None:
        """Record the end of an answer, unless a websocket begins."""
        ours = flow.response
        if isinstance(ours, OwnAnswer) and flow.request.method == "HEAD":
            ours.data.content = b""
        elif isinstance(ours, OwnAnswer) and callable(ours.stream):
            rest: Any = ours.stream(b"")  # all of it, if the answer of the upstream had no body to stream
            ours.data.content = b"".join(rest)
        if flow.websocket is None:
            await self._end(flow)

    @_fails_closed
    async def error(self, flow: http.HTTPFlow) -> None:
        """Record a request without an answer, or with a part of one, and why the upstream failed."""
        failure, response = flow.metadata.get(FAILURE), flow.response
        if isinstance(response, OwnAnswer):
            failure = None
        elif response is not None and not response.stream:  # its head is malformed
            failure = Refusal(502, NO_ANSWER)
        if failure is not None and (exchange := flow.metadata.get(EXCHANGE)) is not None:
            exchange.refuse(failure)
        elif failure is not None:
            await self._record(flow, failure)
        await self._end(flow)

    @_fails_closed
    async def websocket_message(self, flow: http.HTTPFlow) -> None:
        """Redact a message to the worker, and forget it: mitmproxy keeps all of them."""
        assert flow.websocket is not None, "mitmproxy sets it"  # noqa: S101
        exchange, messages = flow.metadata[EXCHANGE], flow.websocket.messages
        if exchange is not None and not messages[-1].from_client:
            messages[-1].content = exchange.message(messages[-1].content)
        messages.clear()

    @_fails_closed
    async def websocket_end(self, flow: http.HTTPFlow) -> None:
        """Record the end of a websocket."""
        await self._end(flow)

    @staticmethod
    async def _end(flow: http.HTTPFlow) -> None:
        """Record the status of the upstream's answer."""
        response = flow.response
        status = 0 if response is None or isinstance(response, OwnAnswer) else response.status_code
        if (exchange := flow.metadata.get(EXCHANGE)) is not None:
            await in_thread(partial(exchange.end, status))
