"""etcd's JSON gateway: endpoints, the login, and the deadline.

The gateway is described at https://etcd.io/docs/v3.5/dev-guide/api_grpc_gateway/.
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
    SecretTooLargeError,
    StoreError,
    StoreUnavailableError,
    WriteOutcomeUnknownError,
)
from strongroom.store import remaining, time_limit
from strongroom.store.calls import Caller, Fate, Fault
from strongroom_etcd.errors import AUTH_DISABLED, Reply, refusal, unreachable

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
            raise refusal(reply)
        return reply.body

    def _exchange(self, endpoint: str, operation: str, content: bytes) -> Reply:
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
        if reply.message == AUTH_DISABLED:
            return ""
        refused = refusal(reply)
        if reply.status == 400 and type(refused.error) is StoreError:
            raise Fault(AuthenticationError(None, "login refused"))
        raise _LoginFault(refused.error, refused.fate)

    def _post(self, endpoint: str, operation: str, content: bytes, token: str | None) -> Reply:
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
            fault = unreachable(error, endpoint)
        else:
            return Reply(response.status_code, _object(bytes(received)))
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
