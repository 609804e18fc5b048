"""A request of a worker: its head, checked and normalized, and the refusal that answers it. Pure.

A host or a path that two programs may understand differently is refused, since the worker could use the difference to
send a value to a place that no rule names.
"""

from __future__ import annotations

import ipaddress
import re
from functools import partial
from typing import NamedTuple
from urllib.parse import unquote, unquote_plus

DEFAULT_PORTS = {"https": 443, "http": 80}

_NAME = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)*"
)
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_PATH = re.compile(r"/[!-~]*")
_QUERY = re.compile(r"[!-~]*")
AUTHORITY = re.compile(r"(\[[^\]]*\]|[^:\[\]]+)(?::([0-9]{1,5}))?")
"""A host and its port."""

_FORBIDDEN = frozenset("\r\n\0")
_NUMERIC = re.compile(r"(?:0x[0-9a-f]*|[0-9]+)")
"""The last label of a name that programs may read as an address, such as `127.1`, `2130706433` or `0x7f.1`."""


class Refusal(Exception):  # noqa: N818  # an answer to the worker, not a fault of the program
    """A request is refused.

    Attributes:
        status: the HTTP status of the answer, such as 403; 0 if the worker gets none.
        reason: one sentence for the worker, without a value.
        rule: the name of the refusing rule, or the empty string.
    """

    def __init__(self, status: int, reason: str, rule: str = "") -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.rule = rule

    @property
    def content(self) -> bytes:
        """The body of the answer: the reason as a line of text."""
        return f"{self.reason}\n".encode()


REFUSAL_HEADERS = (("content-type", "text/plain; charset=utf-8"),)
"""The headers of an answer that refuses a request."""


class RequestHead(NamedTuple):
    """A request without its body.

    Attributes:
        method: in upper case.
        scheme: `https` or `http`.
        host: the name or address to which it is sent, as `normalize_host` returns it.
        port: the port.
        path: the path as it is sent, without query.
        query: the query as it is sent, without the question mark.
        headers: names and values, decoded as Latin-1, in their order.
    """

    method: str
    scheme: str
    host: str
    port: int
    path: str
    query: str
    headers: tuple[tuple[str, str], ...]

    def __repr__(self) -> str:
        return f"RequestHead({self.method} {self.scheme}://{self.host}:{self.port}{self.path})"  # no header, no query

    @property
    def target(self) -> str:
        """The path and the query as they are sent."""
        return f"{self.path}?{self.query}" if self.query else self.path

    @property
    def authority(self) -> str:
        """The host, in brackets if it is an address of IPv6, and the port unless it is that of the scheme."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    def header(self, name: str) -> str:
        """Return the value of a header, with several joined by commas; empty if the request has none."""
        return ", ".join(value for own, value in self.headers if own.lower() == name)

    def without(self, *names: str) -> RequestHead:
        """Return the head without some headers."""
        return self._replace(headers=tuple(header for header in self.headers if header[0].lower() not in names))

    def with_header(self, name: str, value: str) -> RequestHead:
        """Return the head with one header of this name, at the place of the first, or at the end."""
        at = next((at for at, header in enumerate(self.headers) if header[0].lower() == name), len(self.headers))
        others = self.without(name).headers
        return self._replace(headers=(*others[:at], (name, value), *others[at:]))


def check_head(head: RequestHead) -> None:
    """Check what programs may read in different ways: the method, the target, the headers, and the host among them.

    Raises:
        Refusal: the head is malformed, or its Host header names another host.
    """
    if not _TOKEN.fullmatch(head.method):
        raise Refusal(400, "The method is malformed")
    if head.method != head.method.upper():  # servers may take it for another one
        raise Refusal(400, "The method is not in upper case")
    if not _PATH.fullmatch(head.path) or not _QUERY.fullmatch(head.query):
        raise Refusal(400, "The path or the query has characters that must be escaped")
    for name, value in head.headers:
        if not _TOKEN.fullmatch(name) or not _FORBIDDEN.isdisjoint(value):
            raise Refusal(400, "A header is malformed: it has a line break, a NUL or an invalid name")
    hosts = [value for name, value in head.headers if name.lower() == "host"]
    if len(hosts) > 1:
        raise Refusal(400, "There are two Host headers")
    for host in hosts:
        found = AUTHORITY.fullmatch(host)
        port = DEFAULT_PORTS[head.scheme] if found is None or not found[2] else int(found[2])
        if found is None or (normalize_host(found[1]), port) != (head.host, head.port):
            raise Refusal(400, f"The Host header names another host than the connection: {head.authority}")


def normalize_host(host: str) -> str:
    """Return a host in lower case and without a trailing dot, an international name as Punycode, an address as it is
    written canonically, without brackets.

    Raises:
        Refusal: it is neither a name nor a canonical address.
    """
    try:
        return _normalized(host)
    except ValueError:
        raise Refusal(400, "The host is neither a name nor an address in its usual form") from None


def _normalized(host: str) -> str:
    """Return a host in the form of `normalize_host`. Raises ValueError."""
    brackets = host.startswith("[") and host.endswith("]")
    text = host[1:-1] if brackets else host
    if "%" in text:  # the zone of an address
        raise ValueError(host)
    if brackets or ":" in text:
        return ipaddress.IPv6Address(text).compressed
    if not text.isascii():  # some programs decode Punycode. A name that two versions of IDNA encode differently...
        encoded = text.encode("idna")
        text = encoded.decode("ascii") if encoded.decode("idna") == text else ""  # ...is refused
    text = text.lower().removesuffix(".")
    if not _NAME.fullmatch(text):
        raise ValueError(host)
    return ipaddress.IPv4Address(text).compressed if _NUMERIC.fullmatch(text.rpartition(".")[2]) else text


def form_pairs(text: str) -> list[tuple[str, str]]:
    """Return the names and values of a query or a form, decoded. Some servers split it at `;` too."""
    split = (part.partition("=") for part in re.split("[&;]", text) if part)
    return [(unquote_plus(name), unquote_plus(value)) for name, _, value in split]


def normalize_path(path: str) -> str:
    """Return a path with its percent escapes decoded once, for comparison with a rule's patterns.

    An escaped slash stays escaped, since it is a part of a segment.

    Raises:
        Refusal: programs may read the path in different ways: it has a segment `.` or `..`, an empty segment, a
            backslash, a control character or text that is not UTF-8, plain or escaped, or an escape within an escape.
    """
    decoded = partial(unquote, errors="strict")
    try:
        once = decoded(path)
        is_ambiguous = (
            not path.startswith("/")
            or "//" in path
            or "#" in path
            or "\\" in once
            or not once.isprintable()
            or not {".", ".."}.isdisjoint(segment.partition(";")[0] for segment in once.split("/"))
            or decoded(once) != once
        )
    except UnicodeError:
        is_ambiguous = True
    if is_ambiguous:
        raise Refusal(400, "The path is ambiguous: write it without dot segments, double slashes and double escapes")
    return "/".join(decoded(segment).replace("/", "%2F") for segment in path.split("/"))
