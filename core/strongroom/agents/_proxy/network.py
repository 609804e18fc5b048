"""The event loop of the proxy: connections to the outside, without private addresses, and by the company's proxy."""

from __future__ import annotations

import asyncio
import base64
import errno
import os
import re
import socket
from collections.abc import Callable
from functools import partial
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies_environment, proxy_bypass

from strongroom.errors import ConfigurationError
from strongroom.store import in_daemon

_HANDSHAKE = 30.0
"""Seconds that the company's proxy may take to accept a connection, and for each part of its answer."""

_OURS = "Strongroom: "
"""The beginning of the message of an OSError of this module, whose rest a worker may read."""

_REFUSED = re.compile(r"Tunnel connection failed: ([1-5][0-9]{2}) ")
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
        self.headers: dict[str, str] = {}
        if parts.username:
            text = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            self.headers["Proxy-Authorization"] = f"Basic {base64.b64encode(text.encode()).decode()}"

    @classmethod
    def of_environment(cls) -> CompanyProxy | None:
        """Return the proxy that the variables of this process name, if they name one."""
        found = getproxies_environment()
        url = found.get("https") or found.get("all")
        return cls(url, found.get("no", "")) if url else None

    def carries(self, host: str, port: int) -> bool:
        """Return False for a host that is reached without the proxy."""
        return not proxy_bypass(f"{host}:{port}", {"no": self._direct.replace("*.", ".")})

    def open_tunnel(self, host: str, port: int) -> socket.socket:
        """Return a connection to a host through the proxy. This blocks.

        Raises:
            OSError: the proxy cannot be reached, or refuses.
        """
        connection = HTTPConnection(*self.address, timeout=_HANDSHAKE)
        named = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        connection.set_tunnel(host, port, {"Host": named, **self.headers})
        try:
            connection.connect()
        except (HTTPException, ValueError):
            connection.close()
            raise OSError(f"{_OURS}the company's proxy does not answer as a proxy") from None
        except OSError as error:
            if (refused := _REFUSED.match(str(error))) is None:
                raise
            raise OSError(f"{_OURS}the company's proxy refused the tunnel with {refused[1]}") from None
        connection.sock.setblocking(False)  # noqa: FBT003  # its signature
        return connection.sock


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
        for *_, address in found:
            if not self._may_reach(host, port, str(address[0])):
                raise OSError(f"{_OURS}{host} has an address that is not public, and no rule names it")
        return found

    async def create_connection(self, protocol_factory: Any, host: Any = None, port: Any = None, **options: Any) -> Any:
        proxy = self._proxy
        if proxy is None or host is None or not proxy.carries(host, port):
            return await super().create_connection(protocol_factory, host, port, **options)
        tunnel = await asyncio.wrap_future(in_daemon(partial(proxy.open_tunnel, host, port), "strongroom-agent-tunnel"))
        return await super().create_connection(protocol_factory, sock=tunnel)
