"""Translation of etcd's errors, by their codes and constant messages. No other text of a reply is used."""

from __future__ import annotations

import ssl
from typing import Any, NamedTuple

from strongroom.errors import (
    AuthenticationError,
    PermissionDeniedError,
    SecretTooLargeError,
    StoreError,
    StoreUnavailableError,
)
from strongroom.store.calls import Fate, Fault

_LOGIN = "Check `username` and `password`: `etcdctl --user NAME user get NAME` tries them"
_GRANT = "Grant the user's role readwrite on this key: `etcdctl role grant-permission`"
_FULL = "Compact and defragment it, then run `etcdctl alarm disarm`"
_REACH = "Check the endpoint, and that etcd serves its JSON gateway there"
_NO_USER = "etcdserver: user name is empty"
_TOKEN_ERRORS = {_NO_USER, "etcdserver: invalid auth token", "etcdserver: revision of auth store is old"}
"""A token expired, was made before a change of users or roles, or belongs to a time without authentication."""

AUTH_DISABLED = "etcdserver: authentication is not enabled"

_KINDS: dict[str, tuple[type[StoreError], str, str]] = {
    _NO_USER: (AuthenticationError, "it requires a user", "Set `username` and `password`"),
    "etcdserver: authentication failed, invalid user ID or password": (AuthenticationError, "login refused", _LOGIN),
    "etcdserver: invalid auth token": (AuthenticationError, "token refused", _LOGIN),
    "etcdserver: revision of auth store is old": (AuthenticationError, "token refused", _LOGIN),
    "etcdserver: permission denied": (PermissionDeniedError, "", _GRANT),
    "etcdserver: request is too large": (SecretTooLargeError, "more than etcd's --max-request-bytes", ""),
    "etcdserver: too many requests": (StoreUnavailableError, "too many requests", "Send fewer requests"),
    "etcdserver: mvcc: database space exceeded": (StoreError, "its database is full", _FULL),
}
"""Class, reason and hint for messages of etcd 3.5.

They are constants of its API: https://github.com/etcd-io/etcd/blob/v3.5.16/api/v3rpc/rpctypes/error.go
"""

_CODES: dict[int, tuple[type[StoreError], str, str]] = {
    7: (PermissionDeniedError, "", _GRANT),
    8: (SecretTooLargeError, "more than etcd receives in one request", ""),
    16: (AuthenticationError, "token refused", _LOGIN),
}
"""The same for codes of gRPC, for other messages."""


class Reply(NamedTuple):
    """A reply of the gateway: its HTTP status, and its JSON object, which is empty if the body has another form."""

    status: int
    body: dict[str, Any]

    def __repr__(self) -> str:
        return f"Reply({self.status})"

    @property
    def message(self) -> object:
        """The error's message."""
        return self.body.get("message")

    @property
    def is_etcd(self) -> bool:
        """Whether etcd answered a call; otherwise it is an error or another server."""
        return self.status == 200 and isinstance(self.body.get("header"), dict)

    @property
    def refuses_token(self) -> bool:
        """Whether another login may help."""
        return self.body.get("code") == 16 or self.message in _TOKEN_ERRORS


def refusal(reply: Reply) -> Fault:
    """Return the fault for a reply that is not a success."""
    code, message = reply.body.get("code"), reply.message
    known = _KINDS.get(message) if isinstance(message, str) else None
    if known is None and isinstance(code, int) and reply.status in {401, 403, 429}:
        known = _CODES.get(code)
    if known is not None:
        kind, reason, hint = known
        fate = Fate.THROTTLED if kind is StoreUnavailableError else Fate.ANSWERED
        return Fault(kind(None, reason or f"HTTP {reply.status}", hint=hint), fate)
    if reply.status >= 500:
        reason = f"etcd has no quorum, or is overloaded (HTTP {reply.status})"
        return Fault(StoreUnavailableError(None, reason), Fate.FAILED)
    if not isinstance(code, int) or code == 5:  # a gateway that is disabled answers 404
        reason = f"the server is not etcd's gateway (HTTP {reply.status})"
        return Fault(StoreUnavailableError(None, reason, hint=_REACH), Fate.ODD)
    return Fault(StoreError(None, f"etcd refused the request (HTTP {reply.status}, code {code})"))


def unreachable(error: Exception, endpoint: str) -> Fault:
    """Return the fault for an exception of httpx."""
    import httpx

    reason, cause = type(error).__name__, error.__cause__ or error.__context__
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            reason = f"its certificate is not trusted: {cause.verify_message}"
        elif isinstance(cause, ssl.SSLError) and cause.reason:
            reason = f"TLS failed: {cause.reason}"
        cause = cause.__cause__ or cause.__context__
    unsent = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
    fate = Fate.UNSENT if isinstance(error, unsent) else Fate.FAILED
    return Fault(StoreUnavailableError(None, f"{endpoint}: {reason}"), fate)
