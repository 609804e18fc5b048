"""The event loop of the proxy: connections to the outside, without private addresses, and by the company's proxy."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import errno
import os
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies_environment, proxy_bypass

from strongroom.errors import ConfigurationError

_HANDSHAKE = 30.0
"""Seconds that the company's proxy may take to open a tunnel."""

_MAX_ANSWER = 65536

_OURS = "Strongroom: "
"""The beginning of the message of an OSError of this module, whose rest a worker may read."""

NOT_PUBLIC = "an address that is not public, and no rule names it"
"""The end of the message of an OSError for a host that the worker may not reach."""

_ERROR = re.compile(r"\[Errno (-?[0-9]+)\] ")


def connect_reason(message: str) -> str:
    """Return the reason of a failed connection for the worker, in words of ours or of the system's table of errors.

    The message itself may contain facts that a worker cannot know, such as the address to which the host resolved.

    Args:
        message: the text of the OSError.
    """
    if message.startswith(_OURS):
        return message.removeprefix(_OURS)
    if (found := _ERROR.match(message)) is None:
        return ""
    if (number := int(found[1])) < 0:
        return "its name cannot be resolved"
    return os.strerror(number) if number in errno.errorcode else ""


class CompanyProxy:
    """A proxy through which this machine reaches the outside, as HTTPS_PROXY and NO_PROXY name it.

    Args:
        url: `http://HOST:PORT`, with an optional user and password.
        direct: the hosts that are reached without it, as NO_PROXY lists them.

    Raises:
        ConfigurationError: the URL is not of this form.
    """

    def __init__(self, url: str, direct: str = "") -> None:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        try:
            self.address = (parts.hostname or "", parts.port or 3128)
        except ValueError:
            self.address = ("", 0)
        if parts.scheme != "http" or not self.address[0]:
            raise ConfigurationError("HTTPS_PROXY must be http://HOST:PORT: no other proxy can be chained")
        self._direct = direct
        self._credentials = ""
        if parts.username:
            text = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            self._credentials = base64.b64encode(text.encode("utf-8")).decode("ascii")

    @classmethod
    def of_environment(cls) -> CompanyProxy | None:
        """Return the proxy that the variables of this process name, if they name one."""
        found = getproxies_environment()
        url = found.get("https") or found.get("all")
        return cls(url, found.get("no", "")) if url else None

    def carries(self, host: str, port: int) -> bool:
        """Return False for a host that is reached without the proxy."""
        return not proxy_bypass(f"{host}:{port}", {"no": self._direct.replace("*.", ".")})

    def request(self, host: str, port: int) -> bytes:
        """Return the request for a tunnel."""
        target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        allowed = f"Proxy-Authorization: Basic {self._credentials}\r\n" if self._credentials else ""
        return f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{allowed}\r\n".encode("ascii")


class Network(asyncio.SelectorEventLoop):
    """An event loop that connects only to addresses that the worker may reach.

    Names are checked when they are resolved, so that a name whose address changes later is not a way around. With a
    proxy of the company, that proxy resolves them.

    Args:
        may_reach: decides about a host, a port, and an address to which the host resolves.
        proxy: the proxy of the company.
    """

    def __init__(self, may_reach: Callable[[str, int, str], bool], proxy: CompanyProxy | None = None) -> None:
        super().__init__()
        self._may_reach = may_reach
        self._proxy = proxy

    async def getaddrinfo(self, host: Any, port: Any, **options: Any) -> Any:
        found = await super().getaddrinfo(host, port, **options)
        if self._proxy is None or (host, port) != self._proxy.address:
            for *_, address in found:
                if not self._may_reach(host, port, str(address[0])):
                    raise OSError(f"{_OURS}{host} has {NOT_PUBLIC}")
        return found

    async def create_connection(self, protocol_factory: Any, host: Any = None, port: Any = None, **options: Any) -> Any:
        proxy = self._proxy
        if proxy is None or host is None or not proxy.carries(host, port):
            return await super().create_connection(protocol_factory, host, port, **options)
        reader = asyncio.StreamReader(_MAX_ANSWER, self)
        handshake = asyncio.StreamReaderProtocol(reader, loop=self)
        with contextlib.ExitStack() as failed:
            async with asyncio.timeout(_HANDSHAKE):
                transport, _ = await super().create_connection(lambda: handshake, *proxy.address)
                failed.callback(transport.abort)
                transport.write(proxy.request(host, port))
                await _read_answer(reader)
            failed.pop_all()
        protocol = protocol_factory()
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        return transport, protocol


async def _read_answer(reader: asyncio.StreamReader) -> None:
    """Raise OSError unless the company's proxy has opened the tunnel."""
    try:
        answer = await reader.readuntil(b"\r\n\r\n")  # the client speaks first, so nothing follows
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        raise OSError(f"{_OURS}the company's proxy does not answer as a proxy") from None
    status = answer[9:12]
    if not status.startswith(b"2"):
        shown = f" with {int(status)}" if status.isdigit() else ""
        raise OSError(f"{_OURS}the company's proxy refused the tunnel{shown}")
