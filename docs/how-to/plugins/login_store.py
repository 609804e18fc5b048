"""A store of a service that exchanges a key for a token of some minutes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import httpx

from strongroom import Secret, SensitiveStr
from strongroom.errors import (
    AuthenticationError,
    PermissionDeniedError,
    SecretNotFoundError,
    StoreError,
    StoreUnavailableError,
)
from strongroom.store import remaining
from strongroom.store.calls import Caller, Fate, Fault, retry_after

ANSWERS = {401: AuthenticationError, 403: PermissionDeniedError, 404: SecretNotFoundError}


class Login:
    """The token in use. One thread logs in, for all.

    Args:
        exchange: sends the key, and returns a token and the seconds of its life.
    """

    def __init__(self, exchange: Callable[[], tuple[str, float]]) -> None:
        self._exchange = exchange
        self._lock = threading.Lock()
        self._token, self._renew_at = "", 0.0

    def token(self) -> str:
        if not self._lock.acquire(timeout=max(0.0, remaining())):
            raise StoreUnavailableError(reason="the login takes too long")
        try:
            began = time.monotonic()
            if not self._token or began >= self._renew_at:
                self._token, life = self._exchange()
                self._renew_at = began + life * 2 / 3
            return self._token
        finally:
            self._lock.release()

    def forget(self, token: str) -> None:
        if self._token == token:  # otherwise another thread has logged in since
            self._token = ""


class LoginStore:
    """Secrets at `/secrets/PATH`. The token comes from `/login`."""

    def __init__(self, client: httpx.Client, key: str) -> None:
        self._client, self._key = client, key
        self._login = Login(self._exchange)
        self._caller = Caller("The zoo", self._login.token, fault_of, loggers=("httpx", "httpcore"))

    def read(self, path: str) -> Secret:
        return self._call(path, lambda token: Secret(path, self._send("GET", f"/secrets/{path}", token)["data"]))

    def close(self) -> None:
        self._client.close()

    def _call(self, path: str, operation: Callable[[str], Any], **options: Any) -> Any:
        """Log in again, once, if the service rejects a token: it was revoked, or the service has restarted."""
        used = ""

        def send(token: str) -> Any:
            nonlocal used
            used = token
            return operation(token)

        try:
            return self._caller.call(path, send, **options)
        except AuthenticationError:
            if not used:  # the service rejects the key
                raise
        self._login.forget(used)
        return self._caller.call(path, send, **options)

    def _exchange(self) -> tuple[str, float]:
        found = self._send("POST", "/login", self._key)
        return SensitiveStr(found["token"]), found["expires_in"]  # no traceback shows it

    def _send(self, method: str, url: str, credential: str) -> Any:
        headers = {"Authorization": f"Bearer {credential}"}
        reply = self._client.request(method, url, headers=headers, timeout=max(0.001, remaining()))
        status = reply.status_code
        if status == 429 or status >= 500:
            fate = Fate.THROTTLED if status == 429 else Fate.FAILED
            raise Fault(StoreUnavailableError(reason=f"HTTP {status}"), fate, retry_after(reply.headers))
        try:
            found = reply.json()
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise Fault(StoreUnavailableError(reason="the reply of another server"), Fate.ODD)
        if status != 200:
            raise Fault(ANSWERS.get(status, StoreError)(reason=f"HTTP {status}"))
        return found


def fault_of(error: Exception) -> Fault:
    sent = not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
    return Fault(StoreUnavailableError(reason=type(error).__name__), Fate.FAILED if sent else Fate.UNSENT)
