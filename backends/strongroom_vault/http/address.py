"""The address of a server: its URL, parsed and checked once. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeGuard
from urllib.parse import SplitResult, quote, urlsplit

from strongroom.errors import ConfigurationError

_PORTS = {"http": 80, "https": 443}
_UNIX = "unix://"


@dataclass(frozen=True, slots=True)
class Address:
    """A server's scheme, host and port, and the path under which a gateway publishes it, `""` or `/like/this`.

    Attributes:
        socket: the file of its Unix socket instead, of an address like `unix:///run/vault/agent.sock`.
    """

    scheme: str
    host: str
    port: int
    base: str = ""
    socket: str | None = None

    @classmethod
    def parse(cls, url: str) -> Address:
        """Return the address in a URL.

        Raises:
            ConfigurationError: it is not http, https or unix, has no host or the port 0, or has a user, a query or a
                fragment. The URL is not shown if it may hold a password.
        """
        if url.startswith(f"{_UNIX}/") and url.isprintable():
            return cls("http", "localhost", _PORTS["http"], socket=url.removeprefix(_UNIX))
        parts = _split(url)
        host = None if parts is None else parts.hostname
        if parts is None or parts.scheme not in _PORTS or not _is_host(host):
            raise ConfigurationError("url: a Vault address is like https://vault.example:8200")
        if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
            raise ConfigurationError(f"url: the address of {host} has a user, a query or a fragment")
        if parts.port == 0:
            raise ConfigurationError(f"url: the address of {host} has the port 0")
        base = quote(parts.path.rstrip("/"), safe="/%")
        return cls(parts.scheme, host, parts.port or _PORTS[parts.scheme], base)

    @classmethod
    def of_location(cls, location: str, here: Address) -> Address | None:
        """Return the origin in a Location header, relative to `here`; None if there is none."""
        parts = _split(location)
        if parts is None or not location:
            return None
        if not parts.scheme and not parts.netloc:
            return here
        scheme, host = parts.scheme or here.scheme, parts.hostname
        if scheme not in _PORTS or not host or not host.isprintable():
            return None
        return cls(scheme, host, parts.port or _PORTS[scheme])

    @property
    def authority(self) -> str:
        """Host and port, in the notation of a URL."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def origin(self) -> str:
        """Scheme, host and port, in the notation of a URL."""
        return f"{self.scheme}://{self.authority}"

    def __str__(self) -> str:
        return f"{_UNIX}{self.socket}" if self.socket is not None else f"{self.origin}{self.base}"


def _is_host(name: str | None) -> TypeGuard[str]:
    """Return True if the name can be looked up. For an empty or overlong label, a lookup raises UnicodeError."""
    try:
        return bool(name and name.encode("idna"))
    except UnicodeError:
        return False


def _split(url: str) -> SplitResult | None:
    if not url.isprintable():
        return None  # `urlsplit` would drop a line end, and a message would show it
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises if the port is not a number
    except ValueError:
        return None
    return parts
