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
)
from strongroom.store.calls import Fate, Fault, is_unsent, retry_after

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


def refusal(status: int, reply: Any, headers: Mapping[str, str] | None, *, changes: bool) -> Fault:
    """Return the fault for a reply that is not 2xx.

    Args:
        status: the HTTP status.
        reply: the parsed body: an object of the kind Status, unless a proxy has sent it.
        headers: the headers of the reply.
        changes: the request writes.
    """
    if status == 404 and isinstance(reply, Mapping) and reply.get("reason") == "NotFound":
        details = reply.get("details")
        if changes and isinstance(details, Mapping) and details.get("kind") == "namespaces":
            hint = "Create it, or correct the option `namespace`"
            return Fault(StoreError(None, "the namespace does not exist", hint=hint))
        return Fault(SecretNotFoundError())
    kind, reason, hint = _KINDS.get(status, (StoreError, f"the API server refused the request (HTTP {status})", ""))
    if status >= 500:
        error = StoreUnavailableError(None, f"the API server failed (HTTP {status})")
        return Fault(error, Fate.FAILED, retry_after(headers))
    if status == 404 or status < 400:
        return Fault(malformed(None), Fate.ODD)
    return Fault(
        kind(None, reason, hint=hint), Fate.THROTTLED if status == 429 else Fate.ANSWERED, retry_after(headers)
    )


def fault_of(error: Exception) -> Fault:
    """Translate an exception of urllib3, or one that the client raises without a reply."""
    from kubernetes.config import ConfigException
    from urllib3 import exceptions

    kind = type(error).__name__
    if isinstance(error, exceptions.HTTPError | OSError) or getattr(error, "status", None) == 0:
        is_sent = isinstance(error, exceptions.HTTPError) and not is_unsent(error)
        reason = f"the API server cannot be reached ({kind})"
        return Fault(StoreUnavailableError(None, reason, hint=_REACH), Fate.FAILED if is_sent else Fate.UNSENT)
    if isinstance(error, ConfigException):
        return Fault(AuthenticationError(None, "the file of the token is empty", hint=_LOGIN))
    return Fault(
        StoreError(None, f"the client of Kubernetes raised {kind}", hint="This is a bug in the store's plugin")
    )


def malformed(path: str | None) -> StoreUnavailableError:
    """Return the error for a reply of another server."""
    return StoreUnavailableError(path, "the reply is not that of an API server of Kubernetes", hint=_REACH)
