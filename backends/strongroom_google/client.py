"""Calls of Google Secret Manager through its SDK, within the deadline, unlogged, and with Strongroom's errors."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from strongroom.errors import (
    PermissionDeniedError,
    StoreUnavailableError,
    StrongroomError,
    WriteOutcomeUnknownError,
)
from strongroom.store import fails_fast, in_daemon, remaining
from strongroom.store.process import random_factor
from strongroom.store.sdk_logging import silence_new_loggers, silenced_logs
from strongroom_google.errors import UNSENT, may_have_been_executed, translate

_OPTIONS = [
    ("grpc.max_receive_message_length", 16 << 20),
    ("grpc.max_reconnect_backoff_ms", 2_000),  # otherwise up to two minutes after an outage
    ("grpc.keepalive_time_ms", 60_000),  # with it, the kernel gives up a dead connection after the next timeout
    ("grpc.keepalive_timeout_ms", 5_000),
]
_SDK = ("google", "grpc", "urllib3")
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0

_TRANSIENT = frozenset({"ResourceExhausted", "ServiceUnavailable"})

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

    def __repr__(self) -> str:
        return f"Client({self.host})"

    def call(self, method: str, path: str | None, /, *, changes: bool = False, **request: Any) -> Any:
        """Call a method of `SecretManagerServiceClient` and return its reply.

        If nobody else can answer, a read is repeated while Google is out of reach, and any call while it is throttled.

        Args:
            method: the method's name.
            path: the path of the secret, for errors.
            changes: the method writes: a lost reply is a `WriteOutcomeUnknownError`.
            request: the fields of its request.
        """
        pause = _FIRST_PAUSE
        while True:
            if (limit := remaining()) <= 0:
                raise StoreUnavailableError(path, "Google did not answer in time")
            try:
                with silenced_logs(*_SDK):
                    client = self._client()
                    return getattr(client, method)(request=request, retry=None, timeout=max(remaining(), 0.001))
            except Exception as error:  # noqa: BLE001  # its frames hold values
                failure = self._failure(error, method, path, changes=changes)
                transient = type(error).__name__ in _TRANSIENT and type(failure) is StoreUnavailableError
            if not transient or fails_fast() or limit < 2 * pause:
                raise failure
            time.sleep(pause * random_factor(0.5, 1.0))
            pause = min(2 * pause, _LONGEST_PAUSE)

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

    def _failure(self, error: Exception, method: str, path: str | None, *, changes: bool) -> StrongroomError:
        token_failure = getattr(self._connection.tokens, "failure", None)
        if token_failure is not None and UNSENT in str(error):
            return _about(translate(token_failure, path), path)
        failure = _about(translate(error, path), path)
        if isinstance(failure, PermissionDeniedError):
            operation = method.title().replace("_", "")
            return failure.copy(reason=f"{operation}: {failure.reason}" if failure.reason else operation)
        sent = not isinstance(error, StrongroomError) and may_have_been_executed(error)
        if changes and sent and isinstance(failure, StoreUnavailableError):
            return WriteOutcomeUnknownError(path, failure.reason)
        return failure


def _about(error: StrongroomError, path: str | None) -> StrongroomError:
    return error.copy(path=path) if hasattr(error, "path") else error


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
