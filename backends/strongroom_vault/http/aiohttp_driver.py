"""The driver of an exchange on aiohttp, in an event loop: pooled connections, whole replies, deadline and byte cap."""

from __future__ import annotations

import asyncio
import socket
import ssl
from types import TracebackType
from typing import TYPE_CHECKING, Self
from weakref import WeakSet

from aiohttp import (
    ClientConnectorCertificateError,
    ClientConnectorDNSError,
    ClientConnectorError,
    ClientError,
    ClientHttpProxyError,
    ClientProxyConnectionError,
    ClientRequest,
    ClientResponse,
    ClientSession,
    ClientSSLError,
    ClientTimeout,
    ConnectionTimeoutError,
    DummyCookieJar,
    TCPConnector,
)
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from strongroom_vault.http.address import Address
from strongroom_vault.http.alarm import Alarm
from strongroom_vault.http.deadline_sockets import look_up
from strongroom_vault.http.request_policy import Fault, FaultKind, Reply, Request, Send, Steps
from strongroom_vault.http.tls import is_refusal, tls_fault

if TYPE_CHECKING:
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.tracing import Trace


class _Resolver(AbstractResolver):
    """Resolves names in a daemon thread: a hanging lookup of aiohttp's resolver delays the end of the process."""

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_UNSPEC,  # noqa: ARG002  # aiohttp's signature
    ) -> list[ResolveResult]:
        """Return the host's addresses, of every family."""
        numeric = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
        return [
            ResolveResult(
                hostname=host,
                host=socket.getnameinfo(address, numeric)[0],  # with the scope of an IPv6 address
                port=port,
                family=kind,
                proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for kind, _, protocol, _, address in await asyncio.wrap_future(look_up(host, port))
        ]

    async def close(self) -> None:
        """Do nothing: the connector cancels the tasks that wait for an address."""


class _Connector(TCPConnector):
    """Ends hanging connections before the event loop ends: TLS would wait for the server's close notification."""

    def __init__(self, context: ssl.SSLContext | None) -> None:
        super().__init__(ssl=context or True, limit=0, resolver=_Resolver())  # the batch limits the number of exchanges
        self._made: WeakSet[asyncio.Transport] = WeakSet()

    async def _create_connection(
        self,
        req: ClientRequest,
        traces: list[Trace],
        timeout: ClientTimeout,  # noqa: ASYNC109  # aiohttp's signature
    ) -> ResponseHandler:
        """Create a connection and remember it. `connect` is called for each request."""
        protocol = await super()._create_connection(req, traces, timeout)
        if protocol.transport is not None:
            self._made.add(protocol.transport)
        return protocol

    def abort(self) -> None:
        """Abort the connections that are still closing."""
        for transport in list(self._made):
            if transport.is_closing():
                transport.abort()


_UNTIMED = ClientTimeout(total=None)
"""The alarm keeps the time limit of an exchange; aiohttp would set two more timers."""

_BROKEN = "the connection broke before the reply was whole"


class AsyncTransport:
    """Runs exchanges in the event loop that it is entered in: an async context manager.

    It uses no proxy variables, no netrc and no cookies, and follows no redirect by itself.

    Args:
        context: the TLS context for https addresses.
        server_name: the name in their certificates, if it is not the host's.
        proxy: an HTTP proxy for the connections.
    """

    def __init__(self, context: ssl.SSLContext | None, server_name: str | None, proxy: Address | None = None) -> None:
        self._server_name = server_name
        self._proxy = None if proxy is None else URL(str(proxy))
        self._connector = _Connector(context)
        self._alarm = Alarm()
        self._http = ClientSession(
            connector=self._connector,
            cookie_jar=DummyCookieJar(),
            headers={"Accept-Encoding": "identity"},
            auto_decompress=False,
        )
        # The exchange alone decides on retries; aiohttp would retry once without notice. Its test client turns this off
        # in the same way.
        self._http._retry_connection = False  # noqa: SLF001

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._connector.abort()
        await self._http.close()
        await asyncio.sleep(0)

    async def run(self, steps: Steps) -> Reply:
        """Return the reply that an exchange ends with, or raise its error."""
        step = next(steps)
        while True:
            result = None
            if isinstance(step, Send):
                result = await self._send(step)
            else:
                await asyncio.sleep(step.seconds)
            try:
                step = steps.send(result)
            except StopIteration as done:
                reply: Reply = done.value
                return reply

    async def _send(self, step: Send) -> Reply | Fault:
        try:
            with self._alarm.after(step.timeout):
                return await self._answer(step.request, step.address)
        except (ClientError, OSError, TimeoutError) as error:
            return _fault(error)

    async def _answer(self, request: Request, address: Address) -> Reply | Fault:
        response = await self._http.request(
            request.method,
            _url(address, request.target),
            data=request.body,
            headers=request.headers,
            allow_redirects=False,
            proxy=self._proxy,
            server_hostname=self._server_name if address.scheme == "https" else None,
            timeout=_UNTIMED,
        )
        try:
            return await _whole(response, request.longest_reply)
        finally:
            response.release()  # closes the connection if the reply was not read to its end


def _url(address: Address, target: str) -> URL:
    """Build the URL from its parts: parsing is most of the work of making one."""
    path, _, query = target.partition("?")
    return URL.build(
        scheme=address.scheme, authority=address.authority, path=address.base + path, query_string=query, encoded=True
    )


async def _whole(response: ClientResponse, longest: int) -> Reply | Fault:
    body = bytearray()
    while part := await response.content.readany():
        body += part
        if len(body) > longest:
            return Fault(FaultKind.TOO_LARGE, f"a reply of more than {longest:,} bytes")
    return Reply(response.status, response.headers, bytes(body))


def _fault(error: Exception) -> Fault:  # noqa: PLR0911  # one for each kind
    """Return the fault for an exception of aiohttp's, whose own text may quote the server."""
    match error:
        case ClientConnectorCertificateError(certificate_error=ssl.SSLCertVerificationError(verify_message=words)):
            return Fault(FaultKind.UNTRUSTED, f"its certificate is not trusted: {words}")
        case ClientSSLError(os_error=cause):
            return tls_fault(cause)
        case ssl.SSLError() if is_refusal(error):
            return tls_fault(error)
        case ClientProxyConnectionError() | ClientHttpProxyError():
            return Fault(FaultKind.UNREACHABLE, "the proxy does not connect to it")
        case ClientConnectorDNSError():
            return Fault(FaultKind.UNREACHABLE, "the name has no address")
        case ClientConnectorError(os_error=OSError(strerror=str(words))):
            return Fault(FaultKind.UNREACHABLE, words)
        case ClientConnectorError() | ConnectionTimeoutError():
            return Fault(FaultKind.UNREACHABLE, "no connection in time")
        case TimeoutError():
            return Fault(FaultKind.LOST, "no whole reply in time")
        case _:
            return Fault(FaultKind.LOST, _BROKEN)
