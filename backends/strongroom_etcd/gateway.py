"""etcd's JSON gateway: endpoints, the login, the deadline, and errors.

The gateway is described at https://etcd.io/docs/v3.5/dev-guide/api_grpc_gateway/. Errors are told by their codes and
constant messages; no other text of a reply is used.
"""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from math import inf
from typing import Any, NamedTuple

from strongroom.errors import (
    AuthenticationError,
    PermissionDeniedError,
    SecretTooLargeError,
    StoreError,
    StoreUnavailableError,
    WriteOutcomeUnknownError,
)
from strongroom.store import remaining, time_limit
from strongroom.store.calls import Caller, Fate, Fault

MAX_REPLY = 8 << 20
"""The largest reply in bytes."""

_PATIENCE = 2.0
"""Seconds for each of several endpoints in the first round: a member may wait seven for a leader that is gone."""

_HOPE = (Fate.ODD, Fate.UNSENT, Fate.FAILED, Fate.THROTTLED)
"""Fates of the endpoints of a round, the one that another round may end soonest last."""


class Answer(NamedTuple):
    """The answer to a call.

    Attributes:
        body: etcd's JSON object.
        doubted: an earlier attempt may have been executed, because its reply was lost.
    """

    body: Mapping[str, Any]
    doubted: bool

    def __repr__(self) -> str:
        return f"Answer(doubted={self.doubted})"


class Gateway:
    """A client of several endpoints, which share users and data.

    Args:
        endpoints: their URLs.
        username: the user; None to send requests without a login.
        password: its password.
        context: TLS for endpoints that begin with https.
    """

    def __init__(
        self, endpoints: Sequence[str], username: str | None, password: str | None, context: ssl.SSLContext
    ) -> None:
        import httpx

        self.endpoints = tuple(endpoint.rstrip("/") for endpoint in endpoints)
        self._first = 0
        self._credentials = None if username is None else {"name": username, "password": password or ""}
        self._token: str | None = None
        self._login = threading.Lock()
        # Neither a proxy of the environment nor a password of ~/.netrc.
        headers = {"Accept-Encoding": "identity"}
        self._client = httpx.Client(verify=context, trust_env=False, headers=headers)
        self._caller = Caller("etcd", lambda: None, _bug, loggers=("httpx", "httpcore"))

    def __repr__(self) -> str:
        return f"Gateway({', '.join(self.endpoints)})"

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def call(self, operation: str, path: str | None, body: Mapping[str, Any], *, changes: bool = False) -> Answer:
        """Return etcd's answer, from the first endpoint that gives one.

        All endpoints are tried in rounds. So the call must be one that may be repeated: a read, or a transaction that
        compares a revision.

        Args:
            operation: the end of its URL, such as `kv/range`.
            path: the secret's path, for errors.
            body: the request.
            changes: it changes something.

        Raises:
            WriteOutcomeUnknownError: it changes something, and may have been executed.
            StoreUnavailableError: no endpoint answered.
            StoreError: etcd refused it.
        """
        content, doubted, rounds = json.dumps(body).encode(), False, count()

        def ask_each(_: None) -> Mapping[str, Any]:
            nonlocal doubted
            fault = Fault(StoreUnavailableError(None, "no time is left"), Fate.ODD)
            for number, limit in self._shares(is_first=next(rounds) == 0):
                try:
                    with time_limit(limit):
                        answer = self._answer(self.endpoints[number], operation, content)
                except Fault as failed:
                    if failed.fate is Fate.ANSWERED:
                        raise
                    doubted |= failed.fate in {Fate.FAILED, Fate.ODD} and not isinstance(failed, _LoginFault)
                    if _HOPE.index(failed.fate) >= _HOPE.index(fault.fate):
                        fault = failed
                else:
                    self._first = number
                    return answer
            raise fault

        try:
            return Answer(self._caller.call(path, ask_each), doubted)
        except StoreError as error:
            if not (changes and doubted):
                raise
            reason = error.reason
        raise WriteOutcomeUnknownError(path, reason)

    def ask(self, endpoint: str, operation: str) -> Mapping[str, Any]:
        """Return the answer of one endpoint about itself."""
        return self._caller.call(None, lambda _: self._answer(endpoint, operation, b"{}"))

    def _shares(self, *, is_first: bool) -> Iterator[tuple[int, float]]:
        """Yield the number of each endpoint, with its share of the time: a silent one must not take it all."""
        tries, first = len(self.endpoints), self._first
        patience = _PATIENCE if tries > 1 and is_first else inf
        for tried in range(tries):
            if (left := remaining()) <= 0:
                return
            yield (first + tried) % tries, min(left / (tries - tried), patience)

    def _answer(self, endpoint: str, operation: str, content: bytes) -> Mapping[str, Any]:
        reply = self._exchange(endpoint, operation, content)
        if not reply.is_etcd:
            raise _refusal(reply)
        return reply.body

    def _exchange(self, endpoint: str, operation: str, content: bytes) -> _Reply:
        """Return the reply of one endpoint. If it refuses the token, log in again once."""
        token = self._valid_token(endpoint, None)
        reply = self._post(endpoint, operation, content, token)
        if token is not None and reply.refuses_token:
            token = self._valid_token(endpoint, token)
            reply = self._post(endpoint, operation, content, token)
        return reply

    def _valid_token(self, endpoint: str, refused: str | None) -> str | None:
        """Return the token of all threads, after a login if the only one was refused.

        It is empty if the server has authentication disabled, and None without a user.
        """
        if self._credentials is None:
            return None
        if not self._login.acquire(timeout=remaining()):
            raise _LoginFault(StoreUnavailableError(None, "another thread's login has not ended"), Fate.FAILED)
        try:
            if self._token is None or self._token == refused:
                self._token = self._log_in(endpoint)
            return self._token
        finally:
            self._login.release()

    def _log_in(self, endpoint: str) -> str:
        content = json.dumps(self._credentials).encode()
        try:
            reply = self._post(endpoint, "auth/authenticate", content, None)
        except Fault as fault:
            raise _LoginFault(fault.error, fault.fate) from None
        token = reply.body.get("token")
        if reply.is_etcd and isinstance(token, str) and token:
            return token
        if reply.message == _AUTH_DISABLED:
            return ""
        refused = _refusal(reply)
        if reply.status == 400 and type(refused.error) is StoreError:
            raise Fault(AuthenticationError(None, "login refused"))
        raise _LoginFault(refused.error, refused.fate)

    def _post(self, endpoint: str, operation: str, content: bytes, token: str | None) -> _Reply:
        """Send one request and return its reply.

        httpx has a timeout for each operation of a socket and none for the whole, so a server that drips its headers is
        left to Strongroom's deadline.

        Raises:
            Fault: the reply is incomplete, or has more than `MAX_REPLY` bytes.
        """
        import httpx

        headers = {"Authorization": token} if token else {}
        received = bytearray()
        try:
            if (left := remaining()) <= 0:
                raise httpx.PoolTimeout("")
            address = f"{endpoint}/v3/{operation}"
            with self._client.stream("POST", address, content=content, headers=headers, timeout=left) as response:
                for chunk in response.iter_raw():
                    received += chunk
                    if len(received) > MAX_REPLY:
                        raise Fault(SecretTooLargeError(None, f"the reply has more than {MAX_REPLY:,} bytes"))
                    if remaining() <= 0:
                        raise httpx.ReadTimeout("")
        except httpx.HTTPError as error:
            fault = _unreachable(error, endpoint)
        else:
            return _Reply(response.status_code, _object(bytes(received)))
        raise fault


class _LoginFault(Fault):
    """A failed login. The request itself was not sent, or refused for its token."""


def _bug(error: Exception) -> Fault:
    name = type(error).__name__
    return Fault(StoreError(None, f"httpx raised {name}", hint="This is a bug in the store's plugin"))


def _object(content: bytes) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


# --- replies and errors -----------------------------------------------------------------------------------------------

_LOGIN = "Check `username` and `password`: `etcdctl --user NAME user get NAME` tries them"
_GRANT = "Grant the user's role readwrite on this key: `etcdctl role grant-permission`"
_FULL = "Compact and defragment it, then run `etcdctl alarm disarm`"
_REACH = "Check the endpoint, and that etcd serves its JSON gateway there"
_NO_USER = "etcdserver: user name is empty"
_TOKEN_ERRORS = {_NO_USER, "etcdserver: invalid auth token", "etcdserver: revision of auth store is old"}
"""A token expired, was made before a change of users or roles, or belongs to a time without authentication."""

_AUTH_DISABLED = "etcdserver: authentication is not enabled"

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


class _Reply(NamedTuple):
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


def _refusal(reply: _Reply) -> Fault:
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


def _unreachable(error: Exception, endpoint: str) -> Fault:
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
