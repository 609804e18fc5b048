"""Calls of Google Secret Manager through its SDK, within the deadline, unlogged, and with Strongroom's errors."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import urlsplit

from strongroom.errors import PermissionDeniedError, StoreUnavailableError
from strongroom.store import in_daemon, remaining
from strongroom.store.calls import Caller, Fate, Fault
from strongroom.store.sdk_logging import silence_new_loggers
from strongroom_google.errors import UNSENT, fault_of

_OPTIONS = [
    ("grpc.max_receive_message_length", 16 << 20),
    ("grpc.initial_reconnect_backoff_ms", 100),  # otherwise a second, in which no call is sent
    ("grpc.min_reconnect_backoff_ms", 3_000),  # the time of one attempt to connect
    ("grpc.max_reconnect_backoff_ms", 2_000),  # otherwise up to two minutes after an outage
    ("grpc.keepalive_time_ms", 60_000),  # with it, the kernel gives up a dead connection after the next timeout
    ("grpc.keepalive_timeout_ms", 5_000),
]
_SDK = ("google", "grpc", "urllib3")

_R = TypeVar("_R")

_inherited: list[object] = []
"""Channels of the parent of this process. Even their destructors can wait for threads that a fork did not copy."""


@dataclass
class _Connection:
    """The connection of one process. A forked child must not use it."""

    process: int = field(default_factory=os.getpid)
    lock: threading.Lock = field(default_factory=threading.Lock)
    opening: Future[Any] | None = None
    tokens: Any = None  # strongroom_google.credentials.Tokens


class Client:
    """Secret Manager, with a connection for each process.

    Args:
        host: host and port.
        encrypted: use TLS, and send credentials.
    """

    def __init__(self, host: str, *, encrypted: bool) -> None:
        self.host = host
        self._encrypted = encrypted
        self._connection = _Connection()
        self._caller = Caller("Google", self._client, self._fault_of, loggers=_SDK)

    def __repr__(self) -> str:
        return f"Client({self.host})"

    def call(
        self,
        method: str,
        path: str | None,
        /,
        parse: Callable[[Any], _R] = lambda reply: reply,
        *,
        changes: bool = False,
        settle: Callable[[], _R | None] | None = None,
        **request: Any,
    ) -> _R:
        """Call a method of `SecretManagerServiceClient` and return its parsed reply. For the rest, see `Caller.call`.

        Args:
            method: the method's name.
            path: the path of the secret, for errors.
            parse: takes the reply; raises `malformed` if it is not one of Google.
            changes: the method writes.
            settle: looks up what became of a change whose reply was lost. Without it, the change is sent again.
            request: the fields of its request.
        """

        def send(client: Any) -> _R:
            return parse(getattr(client, method)(request=request, retry=None, timeout=max(remaining(), 0.001)))

        try:
            return self._caller.call(path, send, changes=changes, settle=settle, repeatable=settle is None)
        except PermissionDeniedError as error:
            failure = error
        operation = method.title().replace("_", "")
        raise failure.copy(reason=f"{operation}: {failure.reason}" if failure.reason else operation)

    def pages(self, method: str, path: str | None, /, **request: Any) -> Iterator[Any]:
        """Yield each page of a listing. The SDK's own paging would apply its timeout to each page."""
        token = ""
        while True:
            page = self.call(method, path, page_token=token, **request)
            yield page
            if not (token := page.next_page_token):
                return

    def close(self) -> None:
        """Close the connection of this process."""
        connection, self._connection = self._own_connection(), _Connection()
        if connection.opening is not None and connection.opening.done() and not connection.opening.exception():
            connection.opening.result().transport.close()

    # ------------------------------------------------------------------------------------------------------------------

    def _own_connection(self) -> _Connection:
        if self._connection.process != os.getpid():
            _inherited.append(self._connection)
            self._connection = _Connection()
        return self._connection

    def _client(self) -> Any:
        """Return the client of this process. Callers of one moment share the search for credentials."""
        connection = self._own_connection()
        with connection.lock:
            opening = connection.opening
            if opening is None or (opening.done() and opening.exception() is not None):
                opening = connection.opening = in_daemon(lambda: self._connect(connection), "google")
        try:
            return opening.result(remaining())
        except TimeoutError:
            if opening.done():
                raise
        raise StoreUnavailableError(reason="Google's credentials were not found in time")

    def _connect(self, connection: _Connection) -> Any:
        import grpc  # type: ignore[import-untyped]  # grpcio ships no types
        from google.cloud.secretmanager_v1 import SecretManagerServiceClient
        from google.cloud.secretmanager_v1.services.secret_manager_service.transports import (
            SecretManagerServiceGrpcTransport,
        )

        from strongroom_google.credentials import find_tokens

        if self._encrypted:
            connection.tokens = find_tokens()
            tokens = grpc.metadata_call_credentials(connection.tokens)
            credentials = grpc.composite_channel_credentials(grpc.ssl_channel_credentials(), tokens)
            channel = grpc.secure_channel(self.host, credentials, _OPTIONS)
        else:
            channel = grpc.insecure_channel(self.host, _OPTIONS)
        client = SecretManagerServiceClient(
            transport=SecretManagerServiceGrpcTransport(host=self.host, channel=channel)
        )
        silence_new_loggers(*_SDK)
        return client

    def _fault_of(self, error: Exception) -> Fault:
        failure = getattr(self._connection.tokens, "failure", None) if UNSENT in str(error) else None
        if failure is None:
            return fault_of(error)
        fault = fault_of(failure)
        return Fault(fault.error, Fate.UNSENT) if fault.fate is Fate.FAILED else fault


def host_of(region: str | None, endpoint_url: str | None) -> tuple[str, bool]:
    """Return the host with the port, and whether it is reached with TLS and credentials.

    Google's SDK finds the credentials of the machine, so no other host than Google's gets them: a configuration file in
    a foreign folder could name one.

    Raises:
        ValueError: the endpoint is neither an https URL of a host below googleapis.com, nor an http URL of a host.
    """
    if endpoint_url is None:
        return f"secretmanager.{region}.rep.googleapis.com:443" if region else "secretmanager.googleapis.com:443", True
    parts = urlsplit(endpoint_url)
    encrypted = parts.scheme == "https"
    if not parts.hostname or parts.path.strip("/") or parts.query or not (encrypted or parts.scheme == "http"):
        raise ValueError
    if encrypted and not parts.hostname.endswith(".googleapis.com"):
        raise ValueError
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{host}:{parts.port or (443 if encrypted else 80)}", encrypted
