"""Drivers of exchanges: libcurl, or urllib3 where libcurl cannot be used."""

from __future__ import annotations

import socket
from collections.abc import Sequence

from strongroom_vault.http.address import Address
from strongroom_vault.http.drivers.driver import Driver
from strongroom_vault.http.tls import TLSSettings


def new_driver(addresses: Sequence[Address], tls: TLSSettings, proxy: Address | None = None) -> Driver:
    """Return a driver for these servers.

    It is urllib3's where pycurl is not installed (it has no wheel for musl), its libcurl lacks what the driver needs,
    or the sockets of Python are replaced, as gevent does: libcurl would block all greenlets.

    Args:
        addresses: every server that it may connect to.
        tls: settings for https addresses.
        proxy: an HTTP proxy for the connections.

    Raises:
        ConfigurationError: a file of `tls` cannot be used.
        ImportError: neither pycurl nor urllib3 is installed.
    """
    if socket.socket.__module__ == "socket":
        try:
            from strongroom_vault.http.drivers.curl_driver import CurlDriver
        except ImportError:
            pass
        else:
            return CurlDriver(addresses, tls, proxy)
    from strongroom_vault.http.drivers.urllib3_driver import Urllib3Driver

    return Urllib3Driver(addresses, tls, proxy)
