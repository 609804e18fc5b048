"""etcd's JSON gateway: endpoints, the login, and the deadline.

The gateway is described at https://etcd.io/docs/v3.5/dev-guide/api_grpc_gateway/.
"""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from math import inf
from typing import Any, NamedTuple

from strongroom.errors import (
    AuthenticationError,
    SecretTooLargeError,
    StoreError,
    StoreUnavailableError,
    WriteOutcomeUnknownError,
)
from strongroom.store import fails_fast, remaining, time_limit
from strongroom.store.process import random_factor
from strongroom.store.sdk_logging import silenced_logs
from strongroom_etcd.errors import AUTH_DISABLED, Reply, refusal, unreachable

MAX_REPLY = 8 << 20
"""The largest reply in bytes."""

_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.05, 0.2
"""Between two rounds of all endpoints, in seconds."""

_PATIENCE = 2.0
"""Seconds for each of several endpoints in the first round: a member may wait seven for a leader that is gone."""

_SDK = ("httpx", "httpcore")


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

    def __repr__(self) -> str:
        return f"Gateway({', '.join(self.endpoints)})"

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def call(self, operation: str, path: str | None, body: Mapping[str, Any], *, changes: bool = False) -> Answer:
        """Return etcd's answer, from the first endpoint that gives one.

        If `fails_fast`, each endpoint is tried once; otherwise until the time is over. So the call must be one that may
        be repeated: a read, or a transaction that compares a revision.

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
        content = json.dumps(body).encode()
        doubted, failure = False, StoreUnavailableError(path, "no time is left")
        for number, limit in self._attempts():
            try:
                with time_limit(limit), silenced_logs(*_SDK):
                    reply = self._exchange(self.endpoints[number], operation, content, path)
            except _LostReplyError as error:
                doubted, failure = True, error.failure
                continue
            except StoreUnavailableError as error:
                failure = error
                continue
            if reply.is_etcd:
                self._first = number
                return Answer(reply.body, doubted)
            refused = refusal(reply, path)
            if not isinstance(refused, StoreUnavailableError):
                raise WriteOutcomeUnknownError(path, refused.reason) if changes and doubted else refused
            failure = refused
            doubted = doubted or reply.status == 200 or reply.status >= 500
        raise WriteOutcomeUnknownError(path, failure.reason) if changes and doubted else failure.copy()

    def ask(self, endpoint: str, operation: str) -> Mapping[str, Any]:
        """Return the answer of one endpoint about itself."""
        with silenced_logs(*_SDK):
            try:
                reply = self._exchange(endpoint, operation, b"{}", None)
            except _LostReplyError as error:
                failure: StoreError = error.failure
            else:
                if reply.is_etcd:
                    return reply.body
                failure = refusal(reply, None)
        raise failure.copy()

    def _attempts(self) -> Iterator[tuple[int, float]]:
        """Yield the number of each endpoint to try, with its share of the time: a silent one must not take it all."""
        count = len(self.endpoints)
        patience = _PATIENCE if count > 1 else inf
        while True:
            first = self._first
            for tried in range(count):
                if (left := remaining()) <= 0:
                    return
                yield (first + tried) % count, min(left / (count - tried), patience)
            if fails_fast():
                return
            patience = inf
            time.sleep(min(random_factor(_SHORTEST_PAUSE, _LONGEST_PAUSE), remaining()))

    def _exchange(self, endpoint: str, operation: str, content: bytes, path: str | None) -> Reply:
        """Return the reply of one endpoint. If it refuses the token, log in again once."""
        token = self._valid_token(endpoint, None, path)
        reply = self._post(endpoint, operation, content, path, token)
        if token is not None and reply.refuses_token:
            token = self._valid_token(endpoint, token, path)
            reply = self._post(endpoint, operation, content, path, token)
        return reply

    def _valid_token(self, endpoint: str, refused: str | None, path: str | None) -> str | None:
        """Return the token of all threads, after a login if the only one was refused.

        It is empty if the server has authentication disabled, and None without a user.
        """
        if self._credentials is None:
            return None
        if not self._login.acquire(timeout=remaining()):
            raise StoreUnavailableError(path, "another thread's login has not ended")
        try:
            if self._token is None or self._token == refused:
                self._token = self._log_in(endpoint, path)
            return self._token
        finally:
            self._login.release()

    def _log_in(self, endpoint: str, path: str | None) -> str:
        content = json.dumps(self._credentials).encode()
        try:
            reply = self._post(endpoint, "auth/authenticate", content, path, None)
        except _LostReplyError as error:
            failure: StoreError = error.failure
        else:
            token = reply.body.get("token")
            if reply.is_etcd and isinstance(token, str) and token:
                return token
            if reply.message == AUTH_DISABLED:
                return ""
            failure = refusal(reply, path)
            if reply.status == 400 and type(failure) is StoreError:
                failure = AuthenticationError(path, "login refused")
        raise failure.copy()

    def _post(self, endpoint: str, operation: str, content: bytes, path: str | None, token: str | None) -> Reply:
        """Send one request and return its reply.

        httpx has a timeout for each operation of a socket and none for the whole, so a server that drips its headers is
        left to Strongroom's deadline.

        Raises:
            _LostReplyError: the request may have been executed.
            StoreUnavailableError: it was not sent.
            SecretTooLargeError: the reply has more than `MAX_REPLY` bytes.
        """
        import httpx

        if (left := remaining()) <= 0:
            raise StoreUnavailableError(path, "no time is left")
        headers = {"Authorization": token} if token else {}
        address = f"{endpoint}/v3/{operation}"
        received = bytearray()
        try:
            with self._client.stream("POST", address, content=content, headers=headers, timeout=left) as response:
                for chunk in response.iter_raw():
                    received += chunk
                    if len(received) > MAX_REPLY:
                        raise SecretTooLargeError(path, f"the reply has more than {MAX_REPLY:,} bytes")
                    if remaining() <= 0:
                        raise httpx.ReadTimeout("")
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            failure, is_sent = unreachable(error, endpoint, path), False
        except httpx.HTTPError as error:
            failure, is_sent = unreachable(error, endpoint, path), True
        else:
            return Reply(response.status_code, _object(bytes(received)))
        raise _LostReplyError(failure) if is_sent else failure


class _LostReplyError(Exception):
    """A request was sent, and its reply was lost: `failure` says how."""

    def __init__(self, failure: StoreUnavailableError) -> None:
        super().__init__()
        self.failure = failure


def _object(content: bytes) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
