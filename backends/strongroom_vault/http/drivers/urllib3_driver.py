"""The driver of an exchange on urllib3: pooled connections, whole replies, the total deadline and the byte cap."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from http.client import HTTPException, HTTPResponse
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    NameResolutionError,
    NewConnectionError,
    ProxyError,
    ReadTimeoutError,
    SSLError,
)
from urllib3.util import parse_url

from strongroom.errors import StoreError
from strongroom.store import in_daemon, time_limit
from strongroom_vault.http.address import Address
from strongroom_vault.http.drivers.deadline_sockets import (
    DeadlineSocket,
    DeadlineTLSSocket,
    checked,
    connect,
    connect_unix,
)
from strongroom_vault.http.drivers.driver import BROKEN, NO_PROXY, Driver, run_many
from strongroom_vault.http.drivers.pool import Pool
from strongroom_vault.http.messages import (
    NO_FREE_CONNECTION,
    FaultKind,
    HttpFault,
    HttpRequest,
    Reply,
    SendStep,
    Start,
    Steps,
)
from strongroom_vault.http.tls import TLSSettings, is_refusal, tls_fault, untrusted

_K = TypeVar("_K")

MAX_CONNECTIONS = 64
"""The largest number of connections to one address. Further requests wait for a free one, within their deadline."""


def _connected(connection: HTTPConnection, file: str | None = None) -> DeadlineSocket:
    """Return a socket that is connected to the server, or to this Unix socket.

    Raise urllib3's errors, which tell whether anything was sent.
    """
    host, port = connection._dns_host, connection.port or connection.default_port  # noqa: SLF001  # `host` lacks a final dot
    try:
        return connect(host, port) if file is None else connect_unix(file)
    except socket.gaierror as error:
        raise NameResolutionError(host, connection, error) from error
    except TimeoutError as error:
        raise ConnectTimeoutError(connection, "timed out") from error
    except OSError as error:
        raise NewConnectionError(connection, error.strerror or "failed") from error


class _Response(HTTPResponse):
    """A reply with well-formed headers. urllib3 would ignore malformed ones, and log their content."""

    def begin(self) -> None:
        super().begin()
        if self.headers.defects or self.headers.get_payload():
            raise HTTPException("its headers cannot be read")


# urllib3 makes its sockets in `_new_conn`, which its SOCKS support replaces too.


class _Connection(HTTPConnection):
    response_class = _Response

    def __init__(self, *args: Any, socket_file: str | None, **options: Any) -> None:
        super().__init__(*args, **options)
        self._socket_file = socket_file

    def _new_conn(self) -> socket.socket:
        return _connected(self, self._socket_file)


class _TLSConnection(HTTPSConnection):
    response_class = _Response

    def __init__(self, *args: Any, seen: Callable[[bytes | None], None], **options: Any) -> None:
        super().__init__(*args, **options)
        self._seen = seen  # takes the server's certificate

    def _new_conn(self) -> socket.socket:
        return _connected(self)

    def connect(self) -> None:
        """Connect, including the handshake. Nothing of the request is sent before."""
        try:
            super().connect()
        except TimeoutError as error:
            raise ConnectTimeoutError(self, "timed out") from error
        except OSError as error:  # ssl.SSLError is one
            raise NewConnectionError(self, "failed") from error
        self.is_verified = True  # the store warns once if it is not verified; urllib3 would warn for each request
        if isinstance(self.sock, ssl.SSLSocket):
            self._seen(self.sock.getpeercert(binary_form=True))


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection  # pyright: ignore[reportAssignmentType]  # urllib3's own fails its protocol too


class _TLSPool(HTTPSConnectionPool):
    ConnectionCls = _TLSConnection  # pyright: ignore[reportAssignmentType]  # urllib3's own fails its protocol too


class Urllib3Driver(Driver):
    """Runs exchanges on urllib3."""

    def __init__(self, addresses: Sequence[Address], tls: TLSSettings, proxy: Address | None = None) -> None:
        self._addresses = tuple(addresses)
        self._server_name = tls.server_name
        self._context: ssl.SSLContext | None = None
        if any(address.scheme == "https" for address in addresses):
            self._context = tls.context()
            self._context.sslsocket_class = DeadlineTLSSocket
        self._proxy = proxy
        self._certificates: dict[str, bytes] = {}
        super().__init__()
        self._open_pools()

    def _open_pools(self) -> None:
        # Each pool of urllib3's has one connection: it gives several in no order, and closes none that is idle.
        self._pools = {
            address: Pool(partial(self._new_pool, address), HTTPConnectionPool.close, MAX_CONNECTIONS)
            for address in self._addresses
        }

    def _new_pool(self, address: Address) -> HTTPConnectionPool:
        if address.scheme == "http":
            server = self._proxy or address
            return _Pool(server.host, server.port, maxsize=1, block=True, timeout=None, socket_file=address.socket)
        return _TLSPool(
            address.host,
            address.port,
            maxsize=1,
            block=True,
            timeout=None,
            _proxy=None if self._proxy is None else parse_url(str(self._proxy)),  # as urllib3's ProxyManager passes it
            ssl_context=self._context,
            server_hostname=self._server_name,
            seen=partial(self._note_certificate, address),
        )

    def _note_certificate(self, address: Address, certificate: bytes | None) -> None:
        if certificate:
            self._certificates[str(address)] = certificate

    def run_many(self, items: Iterable[tuple[_K, Start]]) -> Iterator[tuple[_K, Reply | StoreError]]:
        self._check_open()
        yield from run_many(_Urllib3Batch[_K](self.run), items)

    def certificates(self) -> dict[str, bytes]:
        return dict(self._certificates)

    def close(self) -> None:
        self._closed.set()
        for pool in self._pools.values():
            pool.idle.close()

    def reset(self) -> None:
        self._renew_event()
        self._open_pools()

    def _is_proxied(self, step: SendStep) -> bool:
        """Return True if a proxy sends the request itself, as it does without TLS."""
        return self._proxy is not None and step.address.scheme == "http"

    def _send(self, step: SendStep) -> Reply | HttpFault:
        pool = self._pools[step.address]
        connection, ends = pool.take(step)
        if connection is None:
            return NO_FREE_CONNECTION
        try:
            with checked(self._liveness(step)):
                return self._sent(connection, step, ends - time.monotonic())
        finally:
            pool.give_back(connection, usable=not self._closed.is_set())

    def _send_apart(self, step: SendStep) -> Reply | HttpFault:
        pool = self._new_pool(step.address)
        try:
            with checked(None):
                return self._sent(pool, step, step.timeout)
        finally:
            pool.close()

    def _sent(self, pool: HTTPConnectionPool, step: SendStep, seconds: float) -> Reply | HttpFault:
        try:
            with time_limit(seconds):
                base = str(step.address) if self._is_proxied(step) else step.address.base
                return _whole(pool, base + step.request.target, step.request)
        except HTTPError as error:
            fault = _fault(error)
            if fault.kind is FaultKind.UNREACHABLE and self._is_proxied(step):
                return HttpFault(FaultKind.UNREACHABLE, NO_PROXY)
            return fault
        except OSError as error:
            return HttpFault(FaultKind.LOST, type(error).__name__)


class _Urllib3Batch(Generic[_K]):
    """The exchanges of one batch, each on a thread; see `driver.Batch`."""

    def __init__(self, run: Callable[[Steps], Reply]) -> None:
        self._run = run
        self._results: SimpleQueue[tuple[_K, Reply | BaseException]] = SimpleQueue()
        self.size = 0

    def begin(self, name: _K, steps: Steps) -> None:
        self.size += 1  # in a daemon thread: the end of the process does not wait for it
        in_daemon(partial(self._finish, name, steps), "vault batch")

    def progress(self, limit: float) -> list[tuple[_K, Reply | StoreError]]:
        try:
            name, result = self._results.get(timeout=max(0.0, limit))
        except Empty:
            return []
        self.size -= 1
        if isinstance(result, BaseException) and not isinstance(result, StoreError):
            raise result
        return [(name, result)]

    def close(self) -> None:
        """Leave the exchanges under way to their threads, which end at their deadlines."""

    def _finish(self, name: _K, steps: Steps) -> None:
        try:
            result: Reply | BaseException = self._run(steps)
        except BaseException as error:  # noqa: BLE001  # raised in the thread of the caller
            result = error
        self._results.put((name, result))


def _whole(pool: HTTPConnectionPool, target: str, request: HttpRequest) -> Reply | HttpFault:
    """Send one request and read its whole reply, without retries and redirects of urllib3."""
    response = pool.urlopen(
        request.method,
        target,
        body=request.body,
        headers=request.headers,
        retries=False,
        redirect=False,
        assert_same_host=False,
        preload_content=False,
        decode_content=False,
    )
    longest = request.longest_reply
    content = response.read(longest + 1)
    too_large = len(content) > longest
    # A bounded read does not report a body that is shorter than the server announced.
    if too_large or response.length_remaining:
        response.close()  # the connection cannot be used again
    response.release_conn()
    if too_large:
        return HttpFault(FaultKind.TOO_LARGE, f"a reply of more than {longest:,} bytes")
    if response.length_remaining:
        return HttpFault(FaultKind.LOST, BROKEN)
    return Reply(response.status, response.headers, content)


def _fault(error: HTTPError) -> HttpFault:  # noqa: PLR0911  # one for each kind
    """Return the fault for an exception of urllib3's, whose own text may quote the server."""
    match error:
        case ProxyError():
            return HttpFault(FaultKind.UNREACHABLE, NO_PROXY)
        case NameResolutionError():
            return HttpFault(FaultKind.UNREACHABLE, "the name has no address")
        case NewConnectionError(__cause__=ssl.SSLError() as cause):
            return _handshake_fault(cause)
        case NewConnectionError(__cause__=OSError(strerror=str(words))):
            return HttpFault(FaultKind.UNREACHABLE, words)
        case NewConnectionError() | ConnectTimeoutError():
            return HttpFault(FaultKind.UNREACHABLE, "no connection in time")
        case SSLError(args=(ssl.SSLError() as cause, *_)) if is_refusal(cause.reason):
            return tls_fault(cause.reason)
        case ReadTimeoutError():
            return HttpFault(FaultKind.LOST, "no whole reply in time")
        case _:
            return HttpFault(FaultKind.LOST, BROKEN)


def _handshake_fault(error: ssl.SSLError) -> HttpFault:
    match error:
        case ssl.SSLCertVerificationError(verify_message=words):
            return untrusted(words)
        case ssl.SSLEOFError() | ssl.SSLZeroReturnError():
            return tls_fault(None)
        case _:
            return tls_fault(error.reason or "UNKNOWN")
