"""A token at a cluster: every request of a store goes through here, and every refusal is understood here."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol
from urllib.parse import quote
from weakref import WeakSet

from strongroom.errors import PermissionDeniedError, StoreUnavailableError, StrongroomError
from strongroom.model import SensitiveStr
from strongroom.store import remaining, time_limit
from strongroom_vault.address import Address
from strongroom_vault.answers import failure
from strongroom_vault.consistency import FORWARD, INCONSISTENT, INDEX, later
from strongroom_vault.errors import VaultAuthenticationError
from strongroom_vault.exchange import Reply, Request, Steps, exchange

_VERDICT_LASTS = 60.0
"""For how many seconds it is believed that a token is good, or is not: a loop of denied reads asks once a minute."""

LOOKUP = "/v1/auth/token/lookup-self"
_CHANGES = frozenset({"POST", "PUT", "PATCH", "DELETE"})


def mount_target(mount: str) -> str:
    """The request that tells what is mounted there."""
    return f"/v1/sys/internal/ui/mounts/{quote(mount)}"


class Driver(Protocol):
    """What runs an exchange."""

    def run(self, steps: Steps) -> Reply:
        """The reply that the exchange ends with."""
        ...

    def close(self) -> None:
        """Gives back the connections."""
        ...

    def reset(self) -> None:
        """Drops the connections without a word to the server: in the child of a fork they are the parent's."""
        ...


_sessions: WeakSet[Session] = WeakSet()


class Session:
    """Sends requests with a token, in a namespace, for one mount.

    Args:
        driver: sends and waits.
        addresses: the nodes of one cluster.
        token: the client token.
        namespace: the namespace's path, or None for the root.
        mount: where the engine is mounted.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        driver: Driver,
        addresses: Sequence[Address],
        token: SensitiveStr,
        *,
        namespace: str | None,
        mount: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.mount = mount
        self._driver = driver
        self._addresses = addresses
        self._token: SensitiveStr | None = token
        self._namespace = namespace
        self._index: str | None = None
        self._clock = clock
        self._judging = threading.Lock()
        self._verdict: tuple[bool, float] | None = None
        _sessions.add(self)

    def __repr__(self) -> str:
        return f"Session({self.place})"

    @property
    def place(self) -> str:
        """Mount, namespace and address, in words."""
        within = f" in namespace '{self._namespace}'" if self._namespace else ""
        return f"mount '{self.mount}'{within} at {', '.join(map(str, self._addresses))}"

    def close(self) -> None:
        """Closes the connections and forgets the token."""
        self._token = None
        self._driver.close()

    def reset(self) -> None:
        """What a fork's child must do first: a connection with two readers hands out another path's secret."""
        self._judging = threading.Lock()
        self._driver.reset()

    def request(
        self, method: str, target: str, content: Mapping[str, Any] | None = None, *, everywhere: bool = False
    ) -> Reply:
        """The reply to one request, whatever its status.

        Args:
            method: the HTTP method; LIST is one.
            target: path and query, percent-encoded, from `/v1/` on.
            content: what the body's JSON holds.
            everywhere: leave the namespace out, for what only the root has.

        Raises:
            StoreError: as `exchange` and the driver do.
        """
        headers = {"X-Vault-Request": "true"}
        if self._token is not None:
            headers["X-Vault-Token"] = self._token
        if self._namespace and not everywhere:
            headers["X-Vault-Namespace"] = self._namespace
        if self._index is not None:
            headers[INDEX], headers[INCONSISTENT] = self._index, FORWARD
        changes = method in _CHANGES
        request = Request(method, target, headers, _encoded(content), changes)
        with time_limit(remaining()):
            reply = self._driver.run(exchange(request, self._addresses, remaining))
        if changes:
            self._index = later(self._index, reply.headers.get(INDEX.lower()))
        return reply

    def failure(self, reply: Reply, path: str | None, *, changes: bool = False) -> StrongroomError:
        """The error for a reply that is not the answer to what was asked."""
        if reply.status != 403:
            return failure(reply, path, self.place, changes=changes)
        if self.token_is_good():
            return PermissionDeniedError(path, f"the token's policies do not allow it at {self.place}")
        return VaultAuthenticationError(
            path, f"{self.place} does not accept the token: it is wrong, expired or revoked"
        )

    def token_is_good(self) -> bool:
        """Whether the server accepts the token at all, since 403 does not tell a bad token from a denied path.

        Asks at most once in a minute. Which mount answers for a path (`sys/internal/ui/mounts`) is told to every token
        that has any right below it, without a policy for that and without spending one of the token's uses; only where
        it has none is the token itself looked up, which needs the policy `default` or its like.

        Raises:
            StoreUnavailableError: there was no answer.
        """
        if not self._judging.acquire(timeout=remaining()):
            raise StoreUnavailableError(reason="no time is left to check the token")
        try:
            if self._verdict is None or self._clock() >= self._verdict[1]:
                good = self._accepts(mount_target(self.mount))
                good = good or self._accepts(LOOKUP)
                self._verdict = good, self._clock() + _VERDICT_LASTS
            return self._verdict[0]
        finally:
            self._judging.release()

    def _accepts(self, target: str) -> bool:
        reply = self.request("GET", target)
        if reply.status not in {200, 403}:
            raise failure(reply, None, self.place)
        return reply.status == 200


def _encoded(content: Mapping[str, Any] | None) -> bytes | None:
    """The content as JSON. No frame that can be on the way of an error keeps it in a variable."""
    return None if content is None else json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()


def _reset_in_child() -> None:
    for session in list(_sessions):
        session.reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_in_child)
