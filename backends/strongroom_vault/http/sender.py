"""Requests to a cluster: headers, deadline, and the state from which a node must answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from strongroom.errors import StoreError, WriteOutcomeUnknownError
from strongroom.secret import SensitiveStr
from strongroom.store import fails_fast, remaining, time_limit
from strongroom_vault.http.address import Address
from strongroom_vault.http.drivers import Driver
from strongroom_vault.http.hvac_adapter import ApiRequest
from strongroom_vault.http.messages import Reply, Request, Start, Steps
from strongroom_vault.http.nodes import Cluster
from strongroom_vault.http.read_after_write import FORWARD, INCONSISTENT, INDEX, States, is_from_active_node
from strongroom_vault.http.request_policy import exchange

_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))  # `json.dumps` would make one for each body
_CHANGES = frozenset({"POST", "PUT", "PATCH", "DELETE"})

_K = TypeVar("_K")


class Sender:
    """Sends requests to a namespace of a cluster.

    Args:
        driver: runs the exchanges.
        addresses: the nodes of one cluster.
        namespace: the namespace's path, or None for the root.
        mount: the mount path of the secrets, if that is known.
    """

    def __init__(
        self, driver: Driver, addresses: Sequence[Address], namespace: str | None, *, mount: str | None = None
    ) -> None:
        self._driver = driver
        self._cluster = Cluster.of(addresses)
        self._namespace = namespace
        self._states = States(mount)

    @property
    def location(self) -> str:
        """Namespace and addresses, for messages."""
        within = f"in namespace '{self._namespace}' " if self._namespace else ""
        return f"{within}at {', '.join(map(str, self._cluster))}"

    def send(
        self,
        request: ApiRequest,
        *,
        namespace: str | None = None,
        token: SensitiveStr | None = None,
        idempotent: bool = False,
        settled: bool = False,
        counted: bool = False,
    ) -> Reply:
        """Return the reply to one request, with any status.

        Args:
            request: what to send.
            namespace: another namespace than the usual one; `""` is the root.
            token: the token to send.
            idempotent: the request may be repeated when its outcome is unknown, although it is a change.
            settled: the caller finds out the outcome of this change if it is unknown, or calls `doubt`.
            counted: the uses of the token are counted.

        Raises:
            StoreError: as `exchange` and the driver do.
        """
        unknown = self._states.unknown(request.target)
        namespace = self._namespace if namespace is None else namespace
        http_request = self._http_request(request, namespace, token, idempotent=idempotent)
        try:
            with time_limit(remaining()):
                reply = self._driver.run(self._steps(http_request, remaining, counted=counted))
        except WriteOutcomeUnknownError:
            if not settled:
                self.doubt(request)
            raise
        self._note(request, reply, unknown)
        if request.method in _CHANGES and not settled and reply.may_be_applied:
            self.doubt(request)
        return reply

    def doubt(self, request: ApiRequest) -> None:
        """Let the active node answer the next read of what this change of unknown outcome concerns."""
        self._states.doubt(request.target)

    def send_many(
        self, requests: Iterable[tuple[_K, ApiRequest, SensitiveStr | None, bool]]
    ) -> Iterator[tuple[tuple[_K, ApiRequest], Reply | StoreError]]:
        """Yield the reply to each of many requests, in any order.

        Each has a name, the token to send with it, and True if the uses of that token are counted.

        A few dozen requests are taken ahead of the results. Each may take what `remaining()` is at its start. If the
        outcome of a change is unknown, the caller finds it out.

        Raises:
            StoreUnavailableError: nothing came within `remaining()`.
        """

        def exchanges() -> Iterator[tuple[tuple[_K, ApiRequest], Start]]:
            for name, request, token, counted in requests:
                http_request = self._http_request(request, self._namespace, token, batched=True)
                yield (name, request), partial(self._steps, http_request, counted=counted)

        for (name, request), outcome in self._driver.run_many(exchanges()):
            if isinstance(outcome, Reply):
                self._note(request, outcome, None)
            yield (name, request), outcome

    def _steps(self, request: Request, remaining: Callable[[], float], *, counted: bool = False) -> Steps:
        """Return the steps of `exchange`. After a 404, the active node is asked too, since it has the newest state.

        A standby may not know yet that another process has just written a secret. With its 404, the chain would return
        the value of a fallback, or a default, instead of that secret.

        If the uses of the token are counted, the active node has answered already, because spending one is a write:
        of 100 reads of a new secret from a standby, none was stale, and with another token all were (measured on
        OpenBao 2.7.2). A second request would spend another use.
        """
        reply = yield from exchange(request, self._cluster, remaining)
        if reply.status != 404 or counted or not request.reads:
            return reply
        newest = self._states.newest()
        if newest is None or request.headers.get(INDEX) == newest:
            return reply
        headers = {**request.headers, INDEX: newest, INCONSISTENT: FORWARD}
        return (yield from exchange(replace(request, headers=headers), self._cluster, remaining))

    def _http_request(
        self,
        request: ApiRequest,
        namespace: str | None,
        token: SensitiveStr | None,
        *,
        idempotent: bool = False,
        batched: bool = False,
    ) -> Request:
        headers = {"X-Vault-Request": "true"}
        if token is not None:
            headers["X-Vault-Token"] = token
        if namespace:
            headers["X-Vault-Namespace"] = namespace
        if request.wrap_ttl:
            headers["X-Vault-Wrap-TTL"] = request.wrap_ttl
        if (state := self._states.needed(request.method, request.target)) is not None:
            headers[INDEX], headers[INCONSISTENT] = state, FORWARD
        return Request(
            request.method,
            request.target,
            headers,
            _encoded(request.content),
            changes=request.method in _CHANGES and not idempotent,
            creates=request.creates,
            batched=batched,
            patient=not fails_fast(),
        )

    def _note(self, request: ApiRequest, reply: Reply, unknown: object | None) -> None:
        """Keep the state that a change led to, or that the answer after a change of unknown outcome shows."""
        state = _state(reply)
        self._states.seen(state)
        if request.method in _CHANGES:
            self._states.changed(request.target, state)
        elif reply.status in {200, 404} and (unknown is not None or is_from_active_node()):
            self._states.settle(request.target, state, unknown)


def _state(reply: Reply) -> str | None:
    return reply.headers.get(INDEX.lower())


def _encoded(content: Mapping[str, Any] | None) -> bytes | None:
    """Return the content as JSON. No frame that an error can pass through keeps it in a variable."""
    return None if content is None else _ENCODER.encode(content).encode()
