"""Which addresses a store may have."""

from __future__ import annotations

from strongroom.errors import ConfigurationError


def check_address(address: str, origin: str, *, production: bool) -> None:
    """Refuses an address with a password in it, and in production one that is neither https nor loopback.

    Raises:
        ConfigurationError: names the source, and of the address its scheme and host alone.
    """
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(address)
        host = parts.hostname
    except ValueError:
        parts, host = None, None
    # Outside the `except`, whose error quotes the address.
    if parts is None or not parts.scheme or not host:
        raise ConfigurationError(f"{origin}: must be a URL such as https://vault.example:8200")
    if "@" in parts.netloc:
        raise ConfigurationError(f"{origin}: a URL holds no user or password here")
    if production and parts.scheme != "https" and not _is_loopback(host):
        raise ConfigurationError(
            f"{origin}: {parts.scheme}://{host} is not https, and production talks in the clear to loopback alone"
        )


def _is_loopback(host: str) -> bool:
    import ipaddress

    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
