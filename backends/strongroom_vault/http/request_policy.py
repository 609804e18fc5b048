"""The policy of one request, as a pure generator: retries, redirects, the deadline. No I/O, no clock.

`exchange` yields a `Send` or a `Wait`, and receives the result of the `Send`; a driver executes them. So the policy is
tested without a server and without waiting, and all drivers share it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TypeAlias

from strongroom.errors import SecretTooLargeError, StoreError, StoreUnavailableError, WriteOutcomeUnknownError
from strongroom_vault.errors import VaultConnectionError
from strongroom_vault.http.address import Address
from strongroom_vault.http.nodes import Cluster

MAX_REPLY = 4 * 1024 * 1024
"""The longest body of a reply, in bytes: four times the largest secret that a server holds by default."""

MAX_LISTING = 32 * 1024 * 1024
"""The same for LIST and SCAN, which return a whole folder: some 300,000 long names."""


@dataclass(frozen=True, slots=True)
class Request:
    """An HTTP request. The target is the path and query below the address, percent-encoded.

    Attributes:
        changes: it is a write, and may be repeated only if it certainly was not applied.
    """

    method: str
    target: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes | None = field(default=None, repr=False)
    changes: bool = False

    @property
    def longest_reply(self) -> int:
        """The longest body of the reply, in bytes."""
        return MAX_LISTING if self.method in {"LIST", "SCAN"} else MAX_REPLY


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole reply: header names in lower case, at most `Request.longest_reply` bytes of body."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


class FaultKind(Enum):
    """Reason for a missing or partial reply."""

    UNREACHABLE = "the request never left"
    LOST = "the request may have arrived"
    UNTRUSTED = "TLS failed"
    NO_TLS = "the server does not speak TLS"
    TOO_LARGE = "the reply is too long"


@dataclass(frozen=True, slots=True)
class Fault:
    """No whole reply. The reason contains no text of the server."""

    kind: FaultKind
    reason: str


@dataclass(frozen=True, slots=True)
class Send:
    """Send the request to that address and read the whole reply, within `timeout` seconds in total."""

    request: Request
    address: Address
    timeout: float


@dataclass(frozen=True, slots=True)
class Wait:
    """Wait for that number of seconds."""

    seconds: float


Steps: TypeAlias = Generator[Send | Wait, Reply | Fault | None, Reply]

Start: TypeAlias = Callable[[Callable[[], float]], Steps]
"""Begins an exchange, from a function that returns the seconds left."""

# The server did nothing: it is behind the state asked for (412), over a limit (429), or a standby (472, 473).
_NOT_APPLIED = frozenset({412, 429, 472, 473})
# 501 is a server that is not initialized. A retry does not change that.
_FAILED = frozenset(range(500, 600)) - {501}
# After such a status, another node is tried first. A node that is behind (412) is healthy.
_UNHEALTHY = _NOT_APPLIED - {412} | frozenset(range(500, 600))

_SYSTEM_API = "/v1/sys/"
_LAST_CHANCE = 0.5
_SHORTEST_PAUSE = 1.0

_TLS_HINTS = {
    FaultKind.UNTRUSTED: "Check `ca_cert`, `tls_server_name` and the client certificate of this store",
    FaultKind.NO_TLS: "If the server is meant to speak plain HTTP, start its address with http://",
}


def may_be_applied(reply: Reply) -> bool:
    """Return True if a change with this reply may have been applied all the same.

    "leadership lost while committing log" is a 500, and the change may be there. Vault answers 503 when it did nothing;
    a gateway may answer 503 for a lost reply. A success without a JSON object is not Vault's reply.
    """
    vaults_own = reply.body.lstrip().startswith(b"{")
    if 200 <= reply.status < 300:
        return bool(reply.body) and not vaults_own
    return reply.status in _FAILED and not (reply.status == 503 and vaults_own)


def exchange(
    request: Request,
    addresses: Sequence[Address],
    remaining: Callable[[], float],
    jitter: Callable[[], float] = random.random,
) -> Steps:
    """Send one request until there is a final reply.

    A node that cannot be reached is skipped, and after a failure the next node is tried at once. While other nodes
    remain, a node gets half of the time left, so that one that hangs does not take all of it. There is a pause before
    the last attempt, once every node was tried, and when the cluster has no leader: Retry-After plus 1.0 to 1.5 s, or
    without Retry-After 1.0 to 1.5 s and then twice that, as in Vault's Go client (hashicorp/vault `api/client.go`,
    `DefaultRetryPolicy`). By default a request is sent three times at most; following a redirect does not count. A
    node that redirects to an unknown address cannot answer now: a leader that has just stepped down does that for some
    tenths of a second (measured on OpenBao 2.7.2).

    A change is repeated only if the server certainly did not apply it. `store.write_reconciliation` finds out the rest.

    Args:
        request: what to send.
        addresses: the nodes of one cluster; a `Cluster` remembers which of them are healthy.
        remaining: returns the seconds left, in total.
        jitter: returns a number from 0 to 1.

    Returns:
        The first reply that is neither a redirect nor worth a retry, or else the last reply.

    Raises:
        VaultConnectionError: no whole reply arrived.
        WriteOutcomeUnknownError: no whole reply arrived to a change that may have been applied.
        StoreUnavailableError: a redirect that is not followed, or leads to a node that cannot be reached; or the
            option rate_limit does not allow the request in time.
        SecretTooLargeError: the reply is longer than `Request.longest_reply`.
    """
    cluster = Cluster.of(addresses)
    remaining = _within(cluster.timeout, remaining)
    request = replace(request, headers={**cluster.headers, **request.headers}) if cluster.headers else request
    if cluster.rate is not None and (wait := cluster.rate.turn()) > 0:
        if wait >= remaining():
            raise StoreUnavailableError(reason="the option rate_limit does not allow this request in time")
        yield Wait(wait)
    progress = _Progress(request, cluster)
    while True:
        node, left = progress.next(), remaining()
        if left <= 0:
            raise VaultConnectionError(reason=f"no time is left for a request to {node}")
        result = yield Send(request, node, progress.share(left))
        assert result is not None, "a Send is answered with a Reply or a Fault"  # noqa: S101  # the driver's contract
        if (reply := progress.record(node, result)) is not None:
            return reply
        left = remaining()
        if progress.continues and left > 0:
            continue
        pause = (
            None
            if progress.continues or progress.is_over
            else _pause(progress.failure, progress.attempts, left, jitter)
        )
        if pause is None:
            return _final(progress.failure)
        yield Wait(pause)
        progress.restart()


def _within(timeout: float | None, remaining: Callable[[], float]) -> Callable[[], float]:
    """Limit `remaining` to `timeout` seconds from now on."""
    spare = 0.0 if timeout is None else max(0.0, remaining() - timeout)
    return lambda: remaining() - spare


class _Progress:
    """Progress of one exchange: the nodes that are left, the attempts, and the last failure."""

    def __init__(self, request: Request, cluster: Cluster) -> None:
        self.attempts = 0
        self.failure: Reply | StoreError = StoreUnavailableError(reason="nothing was sent")
        self.continues = True
        self._request = request
        self._cluster = cluster
        self._nodes = list(cluster.order)  # not known to be unreachable
        self._due = list(self._nodes)  # not tried since the last pause
        self._first: list[Address] = []  # due first after the next pause
        self._hop: Address | None = None  # the target of a redirect

    @property
    def is_over(self) -> bool:
        """No further attempt is allowed or possible."""
        return self.attempts > self._cluster.retries or not self._nodes

    def next(self) -> Address:
        """Return the node for the next attempt."""
        return self._hop or self._due.pop(0)

    def share(self, left: float) -> float:
        """Return the seconds for this attempt. A change leaves some time to find out its outcome."""
        if len(self._nodes) > 1 and self.attempts < self._cluster.retries:
            return left / 2
        return left * 3 / 4 if self._request.changes else left

    def restart(self) -> None:
        """Make every node due again, after a pause."""
        self._due, self._first = [*self._first, *(node for node in self._nodes if node not in self._first)], []

    def record(self, node: Address, result: Reply | Fault) -> Reply | None:
        """Return a final reply. Otherwise return None: the exchange `continues` at once, or pauses."""
        hopped, self._hop = self._hop is not None, None
        if isinstance(result, Fault):
            self._take_fault(node, result, hopped=hopped)
        elif 300 <= result.status < 400:
            self._take_redirect(node, result, hopped=hopped)
        elif self._take_reply(node, result):
            return result
        return None

    def _take_fault(self, node: Address, fault: Fault, *, hopped: bool) -> None:
        self._cluster.failed(node)
        self.failure = _failure(fault, self._request, node)
        if fault.kind is FaultKind.UNREACHABLE:
            self._nodes.remove(node)
            self.attempts += hopped
        else:
            self.attempts += 1
            # The connection was closed just before its use, or the node stopped. Both are found out at once.
            self._due = self._due or list(self._nodes)
        lost_leader = hopped and fault.kind is FaultKind.UNREACHABLE  # the others would redirect there too
        self.continues = bool(self._due) and not self.is_over and not lost_leader

    def _take_redirect(self, node: Address, reply: Reply, *, hopped: bool) -> None:
        target = _target(reply, self._request, node, self._cluster)
        if isinstance(target, StoreError):
            self._cluster.failed(node)
            self._try_others(target)
            return
        if not hopped and target in self._nodes:
            self._due = [other for other in self._due if other != target]
            self._hop, self.continues = target, True
            return
        why = "which redirects too" if target in self._nodes else "which cannot be reached"
        self.failure = StoreUnavailableError(reason=f"{node} redirects to {target}, {why}: the cluster has no leader")
        self.attempts += 1
        self.continues = False  # the others would redirect there too

    def _take_reply(self, node: Address, reply: Reply) -> bool:
        """Return True if the reply is final."""
        (self._cluster.failed if reply.status in _UNHEALTHY else self._cluster.answered)(node)
        if not _worth_repeating(reply, self._request):
            return True
        # A mount that is still starting answers 400, and is not on the other nodes yet.
        if reply.status == 400:
            self.failure, self.continues = reply, False
            self.attempts += 1
        else:
            self._try_others(reply, None if _retry_after(reply) is None else node)
        return False

    def _try_others(self, failure: Reply | StoreError, again: Address | None = None) -> None:
        """Try the due nodes at once. After a pause they come first, or the node `again`."""
        self.failure = failure
        self.attempts += 1
        # The last attempt follows a pause: a limit or an election ends for all nodes at the same time.
        kept = self.attempts == self._cluster.retries > 1
        self.continues = bool(self._due) and not kept and not self.is_over
        if kept:
            self._first = self._due if again is None else [again]


def _worth_repeating(reply: Reply, request: Request) -> bool:
    if reply.status in _NOT_APPLIED:
        return True
    if request.changes:
        return reply.status == 503 and not may_be_applied(reply)
    # A mount that is still starting answers 400. So do refused logins and renewals, and the system API.
    starting = reply.status == 400 and request.method != "POST" and not request.target.startswith(_SYSTEM_API)
    return starting or reply.status in _FAILED


def _failure(fault: Fault, request: Request, node: Address) -> StoreError:
    """Return the error for a fault after which another node may be tried; raise any other."""
    where = f"{node}: {fault.reason}"
    if (hint := _TLS_HINTS.get(fault.kind)) is not None:
        raise VaultConnectionError(reason=where, hint=hint)
    if request.changes and fault.kind is not FaultKind.UNREACHABLE:
        raise WriteOutcomeUnknownError(reason=where)
    if fault.kind is FaultKind.TOO_LARGE:
        raise SecretTooLargeError(reason=where)
    return VaultConnectionError(reason=where)


def _final(failure: Reply | StoreError) -> Reply:
    if isinstance(failure, Reply):
        return failure
    raise failure


def _target(reply: Reply, request: Request, here: Address, cluster: Cluster) -> Address | StoreError:
    """Return the configured address that a redirect names. Its path is never followed.

    If a standby's redirect (307) names an unknown address, return the error, because the standby may answer soon. Raise
    any other error.
    """
    named = Address.of_location(reply.headers.get("location", ""), here)
    where = f"{here} redirects to {named or 'nowhere'}"
    hint = "Add that address to `url` if it is a node of the cluster"
    same = next((address for address in cluster if named is not None and address.same_origin(named)), None)
    if same is None:
        fault = "which is not one of the configured addresses"
    elif same == here:
        fault, hint = "which is itself", "Check that the address is Vault's, and any proxy in between"
    elif here.scheme == "https" and same.scheme != "https":
        fault = "which has no TLS"
    elif request.changes and reply.status not in {307, 308}:
        fault = f"with a status that turns a write into a read ({reply.status})"
    elif not cluster.redirects:
        fault, hint = "which is not followed", "Put the active node's address first in `url`, or allow redirects"
    else:
        return same
    error = StoreUnavailableError(reason=f"{where}, {fault}", hint=hint)
    if named is not None and same is None and reply.status == 307:
        return error
    raise error


def _pause(failure: Reply | StoreError, attempts: int, left: float, jitter: Callable[[], float]) -> float | None:
    """Return the seconds until the next attempt; None if the time left is too short.

    Retry-After is extended by a second: the server rounds it down, to 0 for the last second of a rate limit (measured
    on OpenBao 2.7.2). Other pauses are cut if that leaves time for one more attempt: an election takes two to four
    seconds.
    """
    requested = _retry_after(failure) if isinstance(failure, Reply) else None
    base = 1.0 + jitter() / 2
    least, pause = (_SHORTEST_PAUSE, max(attempts, 1) * base) if requested is None else (requested, requested + base)
    if pause < left:
        return pause
    pause = left - _LAST_CHANCE
    return pause if pause >= least else None


def _retry_after(reply: Reply) -> float | None:
    """Return the seconds of Retry-After; None without the header, or for a date, which Vault does not send."""
    seconds = reply.headers.get("retry-after", "").strip()
    return float(seconds) if seconds.isascii() and seconds.isdigit() else None
