"""Strongroom's errors for replies of the API server and exceptions of its client. Their text is never used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from strongroom.errors import (
    AuthenticationError,
    ConflictError,
    InvalidDataError,
    PermissionDeniedError,
    SecretNotFoundError,
    SecretTooLargeError,
    StoreError,
    StoreUnavailableError,
    WriteOutcomeUnknownError,
)

_LOGIN = "Run `kubectl auth whoami` with the same kubeconfig, and log in again if it fails"
_REACH = "Check the address, the proxy, the certificate authority, and that the network reaches it"


class ExpiredListError(StoreError):
    """The API server has dropped the state at which a list began (410 Gone): list again."""


_KINDS: Mapping[int, tuple[type[StoreError], str, str]] = {
    401: (AuthenticationError, "the API server does not accept the credentials", _LOGIN),
    403: (PermissionDeniedError, "HTTP 403", "Grant it with a Role; `kubectl auth can-i --list` shows the rights"),
    409: (ConflictError, "another writer has changed it", ""),
    410: (ExpiredListError, "the list has expired", "Try again"),
    413: (SecretTooLargeError, "Kubernetes does not accept a request of this size", ""),
    422: (
        InvalidDataError,
        "Kubernetes refuses it",
        "Give it the keys that the type of the Secret requires",
    ),
    429: (StoreUnavailableError, "the API server throttles these requests", "Send fewer requests"),
}
"""HTTP statuses with the class, the reason and the hint of the error that they become. Others are in `refusal`."""


def refusal(status: int, reply: Any, path: str | None, *, changes: bool) -> StoreError:
    """Return the error for a reply that is not 2xx.

    Args:
        status: the HTTP status.
        reply: the parsed body: an object of the kind Status, unless a proxy has sent it.
        path: the path of the secret.
        changes: the request writes. A server that failed may have written all the same.
    """
    if status == 404 and isinstance(reply, Mapping) and reply.get("reason") == "NotFound":
        details = reply.get("details")
        if changes and isinstance(details, Mapping) and details.get("kind") == "namespaces":
            return StoreError(path, "the namespace does not exist", hint="Create it, or correct the option `namespace`")
        return SecretNotFoundError(path)
    if status in _KINDS:
        kind, reason, hint = _KINDS[status]
        return kind(path, reason, hint=hint)
    if status >= 500:
        reason = f"the API server failed (HTTP {status})"
        return WriteOutcomeUnknownError(path, reason) if changes else StoreUnavailableError(path, reason)
    if status == 404 or status < 400:
        return malformed(path)
    return StoreError(path, f"the API server refused the request (HTTP {status})")


def failure(error: Exception, path: str | None, *, changes: bool) -> StoreError:
    """Return the error for an exception of urllib3, or for one that the client raises without a reply."""
    from kubernetes.config import ConfigException
    from urllib3 import exceptions

    kind = type(error).__name__
    unsent = (exceptions.NewConnectionError, exceptions.ConnectTimeoutError, exceptions.ProxyError)
    if changes and isinstance(error, exceptions.HTTPError) and not isinstance(error, unsent):
        return WriteOutcomeUnknownError(path, f"the reply was lost ({kind})")
    if isinstance(error, exceptions.HTTPError | OSError) or getattr(error, "status", None) == 0:
        return StoreUnavailableError(path, f"the API server cannot be reached ({kind})", hint=_REACH)
    if isinstance(error, ConfigException):
        return AuthenticationError(path, "the file of the token is empty", hint=_LOGIN)
    return StoreError(path, f"the client of Kubernetes raised {kind}", hint="This is a bug in the store's plugin")


def malformed(path: str | None) -> StoreUnavailableError:
    """Return the error for a reply of another server."""
    return StoreUnavailableError(path, "the reply is not that of an API server of Kubernetes", hint=_REACH)
