"""The SDK's client of one vault, with bounded waits and a silent log. A store imports this when it is opened."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar
from urllib.parse import urlsplit

from azure.core.exceptions import AzureError, ServiceRequestError
from azure.core.pipeline.transport import RequestsTransport
from azure.identity import DefaultAzureCredential
from azure.keyvault.secrets import SecretClient

from strongroom.errors import ConfigurationError, StoreUnavailableError
from strongroom.store import remaining
from strongroom.store.calls import Caller, Fate, Fault
from strongroom.store.sdk_logging import silenced_logs
from strongroom_azure.errors import fault_of

_SDK = ("azure", "msal", "urllib3")
_CONNECT = 5.0
_READ = 10.0
"""Seconds that a request waits for a connection, and between two bytes. An abandoned call ends after them."""

PROBE_CONNECT = 1.0
PROBE_READ = 2.0
"""The same for the endpoint of a managed identity, which is on this machine or does not exist."""

_UNAUTHORIZED, _THROTTLED, _FAILED = 401, 429, 500

_C = TypeVar("_C")


class Client(Caller[_C]):
    """A client of Azure, with the identity that `DefaultAzureCredential` finds.

    Args:
        vault: the host of the vault, if the client is for one.
        make: returns the SDK's client for a credential, with bounds that every client of the SDK takes.

    Raises:
        ConfigurationError: the SDK refuses the AZURE_* variables.
    """

    def __init__(self, vault: str | None, make: Callable[[DefaultAzureCredential, dict[str, Any]], _C]) -> None:
        transport = _Transport(vault)
        bounds = {"retry_total": 0, "transport": transport}
        sdk: _C | None = None
        with silenced_logs(*_SDK), suppress(ValueError):  # its text quotes a variable
            sdk = make(DefaultAzureCredential(process_timeout=int(_READ), **bounds), bounds)
        if sdk is None:
            raise ConfigurationError("The settings of Azure are wrong. Check the AZURE_* variables")
        made = sdk
        super().__init__(
            "Azure", lambda: made, lambda error: fault_of(error, outage=transport.login_outage), loggers=_SDK
        )
        self.close = transport.close


def vault_client(url: str) -> Client[SecretClient]:
    """Return a client of one vault. A redirect would send a new value to the host that a reply names."""
    return Client(
        urlsplit(url).hostname,
        lambda credential, bounds: SecretClient(url, credential, permit_redirects=False, **bounds),
    )


def token_client() -> Client[DefaultAzureCredential]:
    """Return a client for tokens. The SDK keeps a token, and fetches another one near its end."""
    return Client(None, lambda credential, _: credential)


class _Transport(RequestsTransport):  # type: ignore[misc]  # the package loads the class late, as Any to mypy
    """Requests within `remaining()`, and none after it: its caller has left, and a late write would undo a newer one.

    The SDK's timeouts are for single socket operations.

    Attributes:
        login_outage: the last request for a token was not answered, or with a failure of the service. msal repeats the
            failure for a minute without a request, and the SDK reports it as a refusal of all credentials.
    """

    def __init__(self, vault: str | None) -> None:
        super().__init__()
        self._vault = vault
        self.login_outage = False

    def send(self, request: Any, *, proxies: Any = None, **options: Any) -> Any:
        left = remaining()
        url = urlsplit(request.url)
        is_login = url.hostname != self._vault
        is_probe = url.scheme == "http"  # all but the endpoint of a managed identity have TLS
        if left <= 0:
            self.login_outage = self.login_outage or is_login
            raise Fault(StoreUnavailableError(reason="no time is left"), Fate.UNSENT)
        try:
            connect, read = (PROBE_CONNECT, PROBE_READ) if is_probe else (_CONNECT, _READ)
            options |= {"connection_timeout": min(connect, left), "read_timeout": min(read, left)}
            reply = super().send(request, proxies=proxies, **options)
            if reply.status_code == _UNAUTHORIZED and not is_login and "WWW-Authenticate" not in reply.headers:
                # Not Key Vault, which names a challenge, but a server before it: nothing was carried out.
                reply = super().send(request, proxies=proxies, **options)
        except AzureError as error:
            # A machine outside Azure lacks the endpoint of a managed identity. That does not count as an outage.
            if is_login and not (is_probe and isinstance(error, ServiceRequestError)):
                self.login_outage = True
            raise
        if is_login:
            self.login_outage = reply.status_code == _THROTTLED or reply.status_code >= _FAILED
        return reply

    def close(self) -> None:
        """Close the connections now. requests only drops the pools, which wait for the garbage collector."""
        adapters = [] if self.session is None else list(self.session.adapters.values())
        for adapter in adapters:
            for manager in (adapter.poolmanager, *adapter.proxy_manager.values()):
                for key in manager.pools.keys():  # noqa: SIM118  # the container cannot be iterated over
                    manager.pools[key].close()
        super().close()
