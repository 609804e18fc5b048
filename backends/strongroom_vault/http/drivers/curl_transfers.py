"""Requests on libcurl's multi interface, driven by the thread that waits for them."""

from __future__ import annotations

import io
import math
import select
import ssl
import string
import struct
import time
from functools import partial
from itertools import cycle
from typing import Any, Generic, TypeVar

import pycurl

from strongroom.store import in_daemon
from strongroom_vault.http.address import Address
from strongroom_vault.http.drivers.curl_faults import BROKEN, fault
from strongroom_vault.http.request_policy import Fault, FaultKind, Reply, Request, Send
from strongroom_vault.http.tls import Authorities, TLSSettings

_K = TypeVar("_K")

_LONGEST_POLL = 0.2
"""In seconds. A signal that arrives just before a wait does not interrupt it, and its handler runs after it."""

_NO_SOCKET = -1
_READABLE = select.POLLIN | select.POLLHUP | select.POLLERR
_NAME_BYTES = f"!#$%&'*+-.^_`|~{string.ascii_letters}{string.digits}".encode()  # RFC 9110, section 5.6.2
_STATIC_HEADERS = (
    b"Accept-Encoding: identity",
    b"Accept:",
    b"Expect:",  # libcurl would wait for a 100 before it sends a long body
)
_JSON = b"Content-Type: application/json"
_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})


class Handles:
    """Makes libcurl's handles with the settings of one store.

    Args:
        tls: settings for https addresses, None without any.
        proxy: an HTTP proxy for the connections.

    Attributes:
        certificates: address -> DER certificate of each https server that was connected to.
    """

    def __init__(self, tls: TLSSettings | None, proxy: Address | None) -> None:
        self.certificates: dict[str, bytes] = {}
        self.proxy = proxy
        self.server_name = None if tls is None else tls.server_name
        self._tls = tls
        self._authorities = Authorities() if tls is None else tls.authorities

    def new(self, http_version: int) -> pycurl.Curl:
        """Return a handle. Nothing of it comes from the environment or a home folder."""
        easy = pycurl.Curl()
        easy.setopt(pycurl.NOSIGNAL, 1)
        easy.setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
        easy.setopt(pycurl.PROXY, "" if self.proxy is None else str(self.proxy))  # "" ignores the variables
        easy.setopt(pycurl.NOPROXY, "")
        easy.setopt(pycurl.PATH_AS_IS, 1)
        easy.setopt(pycurl.USERAGENT, "strongroom")
        easy.setopt(pycurl.HTTP_VERSION, http_version)
        easy.setopt(pycurl.PIPEWAIT, 1)
        if self._tls is not None:
            self._secure(easy, self._tls)
        return easy

    def _secure(self, easy: pycurl.Curl, tls: TLSSettings) -> None:
        easy.setopt(pycurl.SSLVERSION, pycurl.SSLVERSION_TLSv1_2)
        easy.setopt(pycurl.SSL_VERIFYPEER, not tls.skip_verify)
        easy.setopt(pycurl.SSL_VERIFYHOST, 0 if tls.skip_verify else 2)
        easy.setopt(pycurl.OPT_CERTINFO, 1)
        # libcurl has authorities of its own for a setting that is left out.
        for option, value in ((pycurl.CAINFO, self._authorities.file), (pycurl.CAPATH, self._authorities.folder)):
            if value is None:
                easy.unsetopt(option)
            else:
                easy.setopt(option, str(value))
        if self._authorities.text is not None:
            easy.setopt(pycurl.CAINFO_BLOB, self._authorities.text.encode())
        if tls.client_cert is not None:
            easy.setopt(pycurl.SSLCERT, str(tls.client_cert))
            easy.setopt(pycurl.SSLKEY, str(tls.client_key or tls.client_cert))
            easy.setopt(pycurl.KEYPASSWD, "")  # OpenSSL would prompt for one on the terminal


class _Transfer:
    """A handle, and the request that it sends.

    libcurl calls back from C. A Python function there would run signal handlers, and an exception of one would be
    printed and lost. So all callbacks are functions of built-in types.

    If a connection that was kept open breaks before the first byte of a reply, libcurl repeats the request on another
    connection, even a POST (measured on 8.23). The server may have carried out a change. So libcurl reads its body from
    a function, which it cannot do again; a change without a body opens a connection.
    """

    __slots__ = ("_base", "_body", "_handles", "_head", "_http_version", "_reply", "_shape", "_socket", "easy", "send")

    def __init__(self, handles: Handles, http_version: int) -> None:
        self.send: Send | None = None
        self._handles = handles
        self._http_version = http_version
        self._head: list[bytes] = []
        self._reply: list[bytes] = []
        self._body = io.BytesIO()
        self._open(None)

    def _open(self, socket: str | None) -> None:
        self.easy = easy = self._handles.new(self._http_version)
        self._shape: tuple[object, ...] = ()
        self._base = ""
        self._socket = socket
        if socket is not None:
            easy.setopt(pycurl.UNIX_SOCKET_PATH, socket)
        easy.setopt(pycurl.HEADERFUNCTION, self._head.append)
        easy.setopt(pycurl.WRITEFUNCTION, self._reply.append)
        easy.setopt(pycurl.READFUNCTION, self._body.read)

    def prepare(self, send: Send, seconds: float) -> None:
        """Set the handle up for this request, which may take `seconds` in total."""
        request, address = send.request, send.address
        if address.socket != self._socket:
            self.easy.close()
            self._open(address.socket)  # a handle cannot forget a socket
        easy, self.send = self.easy, send
        shape = (address, request.method, request.headers, request.changes, bool(request.body))
        if shape != self._shape:
            self._shape = shape
            self._set(request, address)
        easy.setopt(pycurl.URL, self._base + request.target)
        easy.setopt(pycurl.TIMEOUT_MS, max(1, math.ceil(seconds * 1000)))
        if request.body:
            self._body.write(request.body)
            easy.setopt(pycurl.POSTFIELDSIZE, len(request.body))
            self._body.seek(0)

    def _set(self, request: Request, address: Address) -> None:
        """Set the options that most requests share with the one before."""
        easy, posts = self.easy, bool(request.body) or request.method in _WITH_BODY
        name = self._handles.server_name if address.scheme == "https" else None
        origin = address.origin
        if name is not None:
            origin = f"https://{name}:{address.port}"
            easy.setopt(pycurl.CONNECT_TO, [f"{name}:{address.port}:{address.authority}"])
        self._base = origin + address.base
        easy.setopt(pycurl.POST if posts else pycurl.HTTPGET, 1)
        easy.setopt(pycurl.POSTFIELDSIZE, 0)
        easy.setopt(pycurl.CUSTOMREQUEST, request.method)
        easy.setopt(pycurl.MAXFILESIZE_LARGE, request.longest_reply)
        easy.setopt(pycurl.FRESH_CONNECT, request.changes and not request.body)
        lines: list[bytes] = [*_STATIC_HEADERS, _JSON] if posts else [*_STATIC_HEADERS]
        if name is not None:
            lines.append(_line("Host", address.authority))
        easy.setopt(pycurl.HTTPHEADER, [*lines, *(_line(name, value) for name, value in request.headers.items())])

    def result(self, code: int, text: str) -> Reply | Fault:
        """Return the reply, or the fault for libcurl's error, and forget the request.

        Args:
            code: libcurl's error, 0 for none.
            text: its description, which may quote the server.
        """
        easy, send = self.easy, self.send
        assert send is not None, "it has a request"  # noqa: S101  # the caller's contract
        address = send.address
        if address.scheme == "https" and easy.getinfo(pycurl.NUM_CONNECTS):
            self._note_certificate(address)
        if code:
            result: Reply | Fault = fault(easy, code, text, send, proxied=self._handles.proxy is not None)
        else:
            headers = _headers(self._head)
            if headers is None:
                result = Fault(FaultKind.LOST, BROKEN)
            else:
                result = Reply(easy.getinfo(pycurl.RESPONSE_CODE), headers, b"".join(self._reply))
        self._head.clear()
        self._reply.clear()
        if send.request.body:
            self._body.seek(0)
            self._body.truncate()
        self.send = None
        return result

    def _note_certificate(self, address: Address) -> None:
        chain = self.easy.getinfo(pycurl.INFO_CERTINFO)
        text = dict(chain[0]).get("Cert") if chain else None
        if text is not None:
            self._handles.certificates[str(address)] = ssl.PEM_cert_to_DER_cert(text.strip())


class _SocketEvents:
    """Notes what libcurl wants to know about which socket, without any Python code (see `_Transfer`).

    Attributes:
        note: the callback. It packs its arguments into the next slot of a buffer, and the last two as True or False.
    """

    _SLOT = struct.Struct("=ii??")
    _NOTED = 8  # the place of the first bool
    _SLOTS = 1024  # an action of libcurl on sixteen requests changes some dozens of sockets

    def __init__(self) -> None:
        size = self._SLOT.size * self._SLOTS
        offsets = cycle(range(0, size, self._SLOT.size))
        self._buffer = bytearray(size)
        self._offset = 0
        index: Any = type("_Offset", (), {"__index__": offsets.__next__})()  # `pack_into` takes any index
        self.note = partial(self._SLOT.pack_into, self._buffer, index)

    def taken(self) -> list[tuple[int, int]]:
        """Return the events since the last call: event and descriptor."""
        taken: list[tuple[int, int]] = []
        while self._buffer[self._offset + self._NOTED]:
            what, descriptor, _, _ = self._SLOT.unpack_from(self._buffer, self._offset)
            self._SLOT.pack_into(self._buffer, self._offset, 0, 0, 0, 0)
            self._offset = (self._offset + self._SLOT.size) % len(self._buffer)
            taken.append((what, descriptor))
        return taken


class Transfers(Generic[_K]):
    """Requests under way, each with a name. It is used by one thread at a time, and keeps its connections open.

    Args:
        handles: makes libcurl's handles.
        at_once: the most requests under way.
    """

    def __init__(self, handles: Handles, at_once: int = 1) -> None:
        # On one connection, HTTP/2 carries all requests of a batch. For a single one it is slower than HTTP/1.1.
        version = pycurl.CURL_HTTP_VERSION_1_1 if at_once == 1 else pycurl.CURL_HTTP_VERSION_2TLS
        self._is_acting = False  # it stays True after an exception
        self._is_stuck = False  # a request ended in the lookup of a name, which may still hang
        self._idle = [_Transfer(handles, version) for _ in range(at_once)]
        self._running: dict[pycurl.Curl, tuple[_K, _Transfer]] = {}
        self._due: float | None = None
        self._timers: list[int] = []
        self._sockets = _SocketEvents()
        self._poll = select.poll()
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._timers.append)
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._sockets.note)

    @property
    def is_usable(self) -> bool:
        """Return True if no request is under way, no call was interrupted, and no lookup of a name may hang."""
        return not (self._is_stuck or self._running or self._is_acting)

    @property
    def size(self) -> int:
        """The number of requests under way."""
        return len(self._running)

    def start(self, name: _K, send: Send, seconds: float) -> None:
        """Start a request, which may take `seconds` in total."""
        self._is_acting = True
        transfer = self._idle.pop()
        transfer.prepare(send, seconds)
        self._running[transfer.easy] = name, transfer
        self._multi.add_handle(transfer.easy)
        self._note()
        self._is_acting = False

    def turn(self, limit: float) -> list[tuple[_K, Reply | Fault]]:
        """Wait for progress, at most `limit` seconds, and return the results that are there."""
        self._is_acting = True
        wait = min(limit, _LONGEST_POLL)
        if self._due is not None:
            wait = min(wait, self._due - time.monotonic())
        running = len(self._running)
        if wait > 0 or self._due is None:
            for descriptor, events in self._poll.poll(max(wait, 0) * 1000):
                mask = pycurl.CSELECT_IN if events & _READABLE else 0
                mask |= pycurl.CSELECT_OUT if events & select.POLLOUT else 0
                running = self._act(descriptor, mask)
        if self._due is not None and self._due <= time.monotonic():
            self._due = None
            running = self._act(pycurl.SOCKET_TIMEOUT, 0)
        results = self._results() if running < len(self._running) else []
        self._is_acting = False
        return results

    def close(self) -> None:
        """End the requests under way, and close the connections.

        libcurl waits for the lookups of names that have not ended. A daemon thread does that.
        """
        if self._multi.closed:
            return
        # The collector closes the handles of an abandoned batch in any order, some of them before the batch itself.
        running = [easy for easy in self._running if not easy.closed]
        if self._is_stuck or any(easy.getinfo(pycurl.ACTIVESOCKET) == _NO_SOCKET for easy in running):
            in_daemon(self._close, "vault connections")
        else:
            self._close()

    def _close(self) -> None:
        self._multi.close()
        for transfer in (*self._idle, *(transfer for _, transfer in self._running.values())):
            transfer.easy.close()
        self._running.clear()

    def _act(self, descriptor: int, mask: int) -> int:
        """Let libcurl act on a socket or its timer. Return the number of requests that have not ended."""
        _, running = self._multi.socket_action(descriptor, mask)
        self._note()
        return running

    def _note(self) -> None:
        """Take over the time and the sockets that libcurl waits for."""
        if self._timers:
            milliseconds = self._timers[-1]
            self._timers.clear()
            self._due = None if milliseconds < 0 else time.monotonic() + milliseconds / 1000
        for what, descriptor in self._sockets.taken():
            if what == pycurl.POLL_REMOVE:
                self._poll.unregister(descriptor)
            else:
                events = select.POLLIN if what & pycurl.POLL_IN else 0
                self._poll.register(descriptor, events | (select.POLLOUT if what & pycurl.POLL_OUT else 0))

    def _results(self) -> list[tuple[_K, Reply | Fault]]:
        _, done, failed = self._multi.info_read()
        results = [self._ended(easy, 0, "") for easy in done]
        results += [self._ended(*failure) for failure in failed]
        if results:
            self._note()
        return results

    def _ended(self, easy: pycurl.Curl, code: int, text: str) -> tuple[_K, Reply | Fault]:
        name, transfer = self._running.pop(easy)
        self._is_stuck |= code == pycurl.E_OPERATION_TIMEDOUT and easy.getinfo(pycurl.ACTIVESOCKET) == _NO_SOCKET
        result = transfer.result(code, text)
        self._multi.remove_handle(easy)
        self._idle.append(transfer)
        return name, result


def _line(name: str, value: str) -> bytes:
    if not value.isprintable():
        raise ValueError(f"the header {name} has a character that headers do not allow")
    return f"{name}: {value}".encode() if value else f"{name};".encode()


def _headers(lines: list[bytes]) -> dict[str, str] | None:
    """Return the headers of a reply, None if one is malformed. Interim replies come before them, trailers after."""
    headers: dict[str, str] = {}
    ended = False
    for line in lines:
        if line.startswith(b"HTTP/"):
            headers.clear()
            ended = False
        elif line in {b"\r\n", b"\n"}:
            ended = True
        elif not ended:
            raw_name, colon, raw_value = line.partition(b":")
            value = raw_value.decode("latin-1").strip(" \t\r\n")
            if not (colon and raw_name) or raw_name.translate(None, _NAME_BYTES) or "\r" in value:
                return None
            name = raw_name.decode().lower()
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers
