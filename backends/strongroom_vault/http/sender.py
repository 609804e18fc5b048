"""One request to the cluster: its headers, its deadline, and the state that it is to be answered from."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol, TypeVar

from strongroom.errors import StoreError
from strongroom.secret import SensitiveStr
from strongroom.store import remaining, time_limit
from strongroom_vault.errors import VaultUnsureError
from strongroom_vault.http.address import Address
from strongroom_vault.http.nodes import Cluster
from strongroom_vault.http.read_after_write import FORWARD, INCONSISTENT, INDEX, later, required
from strongroom_vault.http.request_policy import Reply, Request, Start, Steps, exchange, may_be_applied

_CHANGES = frozenset({"POST", "PUT", "PATCH", "DELETE"})


_K = TypeVar("_K")


class Ask(NamedTuple):
    """What is asked of the server: the method, the target as `Sender` takes it, and what the body's JSON holds.

    With `wrap_ttl`, such as `2m`, the answer comes in a response-wrapping token that lives for so long.
    """

    method: str
    target: str
    content: Mapping[str, Any] | None = None
    wrap_ttl: str | None = None


class Driver(Protocol):
    """What runs an exchange."""

    def run(self, steps: Steps) -> Reply:
        """The reply that the exchange ends with."""
        ...

    def run_many(self, items: Iterable[tuple[_K, Start]]) -> Iterator[tuple[_K, Reply | StoreError]]:
        """What many exchanges end with, in any order; a few dozen items are taken ahead of what is given back."""
        ...

    def certificates(self) -> Mapping[str, bytes]:
        """Address -> the certificate, in DER form, of each https server that it has connected to."""
        ...

    def close(self) -> None:
        """Gives back the connections."""
        ...

    def reset(self) -> None:
        """Drops the connections without a word to the server: in the child of a fork they are the parent's."""
        ...


class Sender:
    """Sends requests in a namespace of a cluster, each with the token that it is given or with none.

    Args:
        driver: sends and waits.
        addresses: the nodes of one cluster.
        namespace: the namespace's path, or None for the root.
    """

    def __init__(self, driver: Driver, addresses: Sequence[Address], namespace: str | None) -> None:
        self._driver = driver
        self._cluster = Cluster.of(addresses)
        self._namespace = namespace
        self._index: str | None = None
        self._seen: str | None = None
        self._doubted: dict[str, object] = {}  # target to a mark of the last change to it that may have been made

    @property
    def where(self) -> str:
        """Namespace and address, in words."""
        within = f"in namespace '{self._namespace}' " if self._namespace else ""
        return f"{within}at {', '.join(map(str, self._cluster))}"

    def __call__(
        self,
        method: str,
        target: str,
        content: Mapping[str, Any] | None = None,
        wrap_ttl: str | None = None,
        *,
        namespace: str | None = None,
        token: SensitiveStr | None = None,
        idempotent: bool = False,
    ) -> Reply:
        """The reply to one request, whatever its status.

        Args:
            method: the HTTP method; LIST is one.
            target: path and query, percent-encoded, from `/v1/` on.
            content: what the body's JSON holds.
            wrap_ttl: as `Ask` has it.
            namespace: another than the usual one; `""` is the root.
            token: the token to send.
            idempotent: it may be sent again where it is not known whether it was done, though it is a change.

        Raises:
            StoreError: as `exchange` and the driver do.
        """
        ask, doubt = Ask(method, target, content, wrap_ttl), self._doubted.get(target)
        request = self._request(ask, self._namespace if namespace is None else namespace, token, idempotent=idempotent)
        try:
            with time_limit(remaining()):
                reply = self._driver.run(exchange(request, self._cluster, remaining))
        except VaultUnsureError:
            self._doubted[target] = object()
            raise
        self._note(ask, reply, doubt)
        return reply

    def many(
        self, asks: Iterable[tuple[_K, Ask, SensitiveStr | None]]
    ) -> Iterator[tuple[tuple[_K, Ask], Reply | StoreError]]:
        """The reply to each of many requests, in any order: each with a name, and the token to send with it.

        A few dozen are taken ahead of what is given back. Each may take what `remaining()` is at the start.

        Raises:
            StoreUnavailableError: nothing came within `remaining()`.
        """

        def started() -> Iterator[tuple[tuple[_K, Ask], Start]]:
            for name, ask, token in asks:
                request = self._request(ask, self._namespace, token)
                yield (name, ask), partial(exchange, request, self._cluster)

        for (name, ask), outcome in self._driver.run_many(started()):
            if isinstance(outcome, Reply):
                self._note(ask, outcome, None)
            elif isinstance(outcome, VaultUnsureError):
                self._doubted[ask.target] = object()
            yield (name, ask), outcome

    def _request(
        self, ask: Ask, namespace: str | None, token: SensitiveStr | None, *, idempotent: bool = False
    ) -> Request:
        headers = {"X-Vault-Request": "true"}
        if token is not None:
            headers["X-Vault-Token"] = token
        if namespace:
            headers["X-Vault-Namespace"] = namespace
        if ask.wrap_ttl:
            headers["X-Vault-Wrap-TTL"] = ask.wrap_ttl
        if (state := required(self._index, self._seen, newest=ask.target in self._doubted)) is not None:
            headers[INDEX], headers[INCONSISTENT] = state, FORWARD
        changes = ask.method in _CHANGES and not idempotent
        return Request(ask.method, ask.target, headers, _encoded(ask.content), changes)

    def _note(self, ask: Ask, reply: Reply, doubt: object | None) -> None:
        """Keeps which state a change has led to, and one that names the cluster.

        After a change that may have been made, the next read of the same has to be the active node's, and what comes
        after that not older.
        """
        state = reply.headers.get(INDEX.lower())
        self._seen = state or self._seen
        if ask.method in _CHANGES:
            self._index = later(self._index, state)
            if may_be_applied(reply):
                self._doubted[ask.target] = object()
        elif doubt is not None and doubt is self._doubted.get(ask.target) and reply.status in {200, 404}:
            self._index = later(self._index, state)
            self._doubted.pop(ask.target, None)

    def certificates(self) -> Mapping[str, bytes]:
        """As the driver has them."""
        return self._driver.certificates()

    def close(self) -> None:
        """Closes the connections."""
        self._driver.close()

    def reset(self) -> None:
        """Drops the connections without a word to the server."""
        self._driver.reset()
        self._cluster.unlock()


def _encoded(content: Mapping[str, Any] | None) -> bytes | None:
    """The content as JSON. No frame that can be on the way of an error keeps it in a variable."""
    return None if content is None else json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
