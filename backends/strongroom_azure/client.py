"""The SDK's client of one vault, with bounded waits and a silent log. A store imports this when it is opened."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import urlsplit

from azure.core.exceptions import AzureError, ServiceRequestError
from azure.core.pipeline.transport import RequestsTransport
from azure.identity import DefaultAzureCredential
from azure.keyvault.secrets import SecretClient

from strongroom.errors import ConfigurationError
from strongroom.store import remaining
from strongroom.store.sdk_logging import silenced_logs
from strongroom_azure.errors import NO_TIME, translate

_SDK = ("azure", "msal", "urllib3")
_CONNECT = 5.0
_READ = 10.0
"""Seconds that a request waits for a connection, and between two bytes. An abandoned call ends after them."""

PROBE_CONNECT = 1.0
PROBE_READ = 2.0
"""The same for the endpoint of a managed identity, which is on this machine or does not exist."""

_UNAUTHORIZED, _THROTTLED, _FAILED = 401, 429, 500

_R = TypeVar("_R")


class Client:
    """A client of one vault, with the identity that `DefaultAzureCredential` finds.

    Args:
        url: the address of the vault.

    Raises:
        ConfigurationError: the SDK refuses the AZURE_* variables.
    """

    def __init__(self, url: str) -> None:
        self._transport = _Transport(urlsplit(url).hostname)
        bounds: dict[str, Any] = {"retry_total": 0, "transport": self._transport}
        credential = _found_credential(bounds)
        with silenced_logs(*_SDK):
            # A redirect would send a new value to the host that a reply names.
            self._sdk = SecretClient(url, credential, permit_redirects=False, **bounds)

    def call(self, path: str | None, operation: Callable[[SecretClient], _R], *, changes: bool = False) -> _R:
        """Return the result of an operation, or raise its translated failure.

        Args:
            path: the path of the secret, for errors.
            operation: takes the SDK's client. It must return no iterator, which would send requests later.
            changes: the operation writes.
        """
        try:
            with silenced_logs(*_SDK):
                return operation(self._sdk)
        except Exception as error:  # noqa: BLE001  # its frames hold values
            failure = translate(error, path, changes=changes, outage=self._transport.login_outage)
        raise failure

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()


class TokenClient:
    """The tokens of the identity that `DefaultAzureCredential` finds.

    Raises:
        ConfigurationError: the SDK refuses the AZURE_* variables.
    """

    def __init__(self) -> None:
        self._transport = _Transport(None)
        self._credential = _found_credential({"retry_total": 0, "transport": self._transport})

    def token(self, path: str, scope: str) -> tuple[str, float]:
        """Return a token, and its end as Unix time. The SDK keeps a token, and fetches another one near its end."""
        try:
            with silenced_logs(*_SDK):
                found = self._credential.get_token(scope)
                return found.token, found.expires_on
        except Exception as error:  # noqa: BLE001  # its frames hold credentials
            failure = translate(error, path, changes=False, outage=self._transport.login_outage)
        raise failure

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()


def _found_credential(bounds: Mapping[str, Any]) -> DefaultAzureCredential:
    with silenced_logs(*_SDK):
        credential = _credential(bounds)
    if credential is None:
        raise ConfigurationError("The settings of Azure are wrong. Check the AZURE_* variables")
    return credential


def _credential(bounds: Mapping[str, Any]) -> DefaultAzureCredential | None:
    """Return the credential, or None if a variable is wrong, which the text of the error would quote."""
    try:
        return DefaultAzureCredential(process_timeout=int(_READ), **bounds)
    except ValueError:
        return None


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
        try:
            if left <= 0:
                raise ServiceRequestError(NO_TIME)
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
