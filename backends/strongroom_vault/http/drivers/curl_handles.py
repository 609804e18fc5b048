"""libcurl's handles: their settings, the request that one sends, and the reply or the fault that it ends with."""

from __future__ import annotations

import io
import math
import os
import re
import ssl
import string

import pycurl

from strongroom_vault.http.address import Address
from strongroom_vault.http.drivers.driver import BROKEN, NO_PROXY
from strongroom_vault.http.messages import FaultKind, HttpFault, HttpRequest, Reply, SendStep
from strongroom_vault.http.tls import Authorities, TLSSettings, is_refusal, tls_fault, untrusted

_NO_SOCKET = -1
_NAME_BYTES = f"!#$%&'*+-.^_`|~{string.ascii_letters}{string.digits}".encode()  # RFC 9110, section 5.6.2
_STATIC_HEADERS = (
    b"Accept-Encoding: identity",
    b"Accept:",
    b"Expect:",  # libcurl would wait for a 100 before it sends a long body
)
_JSON = b"Content-Type: application/json"
_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})

_REASON = re.compile(r"error:[0-9A-F]+:SSL routines:[^:]*:([a-z0-9 ]+)")
_PROBLEM = re.compile(r"SSL certificate (?:problem|OpenSSL verify result): ([\w ,()'-]+)")

_OWN_SETTINGS = {
    pycurl.E_SSL_CERTPROBLEM: "the client certificate cannot be used",
    pycurl.E_SSL_CACERT_BADFILE: "the file of trusted authorities cannot be read",
}


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
        # libcurl uses its default authorities if the setting is left out.
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


class Transfer:
    """A handle, and the request that it sends.

    libcurl calls back from C. A Python function there would run signal handlers, and an exception of one would be
    printed and lost. So all callbacks are functions of built-in types.

    If a connection that was kept open breaks before the first byte of a reply, libcurl repeats the request on another
    connection, even a POST (measured on 8.23). The server may have carried out a change. So libcurl reads its body from
    a function, which it cannot do again; a change without a body opens a connection.
    """

    __slots__ = ("_base", "_body", "_handles", "_head", "_http_version", "_reply", "_shape", "_socket", "easy", "send")

    def __init__(self, handles: Handles, http_version: int) -> None:
        self.send: SendStep | None = None
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

    def prepare(self, send: SendStep, seconds: float) -> None:
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

    def _set(self, request: HttpRequest, address: Address) -> None:
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

    def result(self, code: int, text: str) -> Reply | HttpFault:
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
            result: Reply | HttpFault = fault(easy, code, text, send, proxied=self._handles.proxy is not None)
        else:
            headers = _headers(self._head)
            if headers is None:
                result = HttpFault(FaultKind.LOST, BROKEN)
            else:
                result = Reply(easy.getinfo(pycurl.RESPONSE_CODE), headers, b"".join(self._reply))
        self._head.clear()
        self._reply.clear()
        if send.request.body:
            self._body.seek(0)
            self._body.truncate()
        self.send = None
        return result

    @property
    def has_no_socket(self) -> bool:
        """Return True if the handle is open without a connection: perhaps libcurl looks up a name."""
        return not self.easy.closed and self.easy.getinfo(pycurl.ACTIVESOCKET) == _NO_SOCKET

    def _note_certificate(self, address: Address) -> None:
        chain = self.easy.getinfo(pycurl.INFO_CERTINFO)
        text = dict(chain[0]).get("Cert") if chain else None
        if text is not None:
            self._handles.certificates[str(address)] = ssl.PEM_cert_to_DER_cert(text.strip())


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


def fault(easy: pycurl.Curl, code: int, text: str, send: SendStep, *, proxied: bool) -> HttpFault:  # one for each kind
    """Return the fault for a failed request.

    Args:
        easy: its handle, with what libcurl noted.
        code: libcurl's error.
        text: its description, of which only OpenSSL's own words are used.
        send: the request.
        proxied: a proxy was to connect to the server.
    """
    if code == pycurl.E_FILESIZE_EXCEEDED:
        return HttpFault(FaultKind.TOO_LARGE, f"a reply of more than {send.request.longest_reply:,} bytes")
    # Bytes of the request that left, also on a first connection that broke. A tunnel's own request does not count.
    if easy.getinfo(pycurl.REQUEST_SIZE):
        return _lost(code, _openssl_reason(text))
    if code == pycurl.E_PEER_FAILED_VERIFICATION:
        found = _PROBLEM.match(text)
        return untrusted(found[1] if found else "it is for another name")
    if code in _OWN_SETTINGS:
        return HttpFault(FaultKind.UNTRUSTED, f"TLS failed: {_OWN_SETTINGS[code]}")
    if code == pycurl.E_SSL_CONNECT_ERROR:
        return tls_fault(_openssl_reason(text))
    return HttpFault(FaultKind.UNREACHABLE, _obstacle(easy, code, proxied=proxied))


def _lost(code: int, reason: str | None) -> HttpFault:
    if is_refusal(reason):
        return tls_fault(reason)
    return HttpFault(FaultKind.LOST, "no whole reply in time" if code == pycurl.E_OPERATION_TIMEDOUT else BROKEN)


def _obstacle(easy: pycurl.Curl, code: int, *, proxied: bool) -> str:
    if code == pycurl.E_OPERATION_TIMEDOUT:
        return "no connection in time"
    if proxied:
        return NO_PROXY
    if code == pycurl.E_COULDNT_RESOLVE_HOST:
        return "the name has no address"
    number = easy.getinfo(pycurl.OS_ERRNO)
    return os.strerror(number) if number else "the connection ended before the request was sent"


def _openssl_reason(text: str) -> str | None:
    """Return OpenSSL's reason in the form of Python's `ssl.SSLError.reason`."""
    found = _REASON.search(text)
    return found[1].strip().upper().replace(" ", "_") if found else None
