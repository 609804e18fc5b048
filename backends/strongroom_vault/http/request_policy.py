"""One request and all that may become of it, as a pure generator: retries, redirects, the deadline. No I/O, no clock.

`exchange` yields what has to be done, a `Send` or a `Wait`, and is sent what came of it; a driver does the doing. So
the policy is tested without a server and without waiting, and every driver has the same one.
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
"""The longest body of a reply that is read, in bytes: four times the largest secret that a server holds by default."""

MAX_LISTING = 32 * 1024 * 1024
"""The same of a reply to LIST and SCAN, which is all of a folder, or all below it: some 300,000 long names."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked: the target is the path and query below the address, already percent-encoded.

    Attributes:
        changes: it changes what the server holds, so that it may be repeated only when it surely was not applied.
    """

    method: str
    target: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes | None = field(default=None, repr=False)
    changes: bool = False

    @property
    def longest_reply(self) -> int:
        """The longest body of a reply that is read, in bytes."""
        return MAX_LISTING if self.method in {"LIST", "SCAN"} else MAX_REPLY


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole reply: header names in lower case, at most `Request.longest_reply` bytes of body."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


class FaultKind(Enum):
    """Why there is no whole reply."""

    UNREACHABLE = "the request never left"
    LOST = "the request may have arrived"
    UNTRUSTED = "TLS failed"
    NO_TLS = "the server does not speak TLS"
    TOO_LARGE = "the reply is longer than is read"


@dataclass(frozen=True, slots=True)
class Fault:
    """No whole reply; the reason in words, without anything that the other side said."""

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
    """Let so many seconds pass."""

    seconds: float


Steps: TypeAlias = Generator[Send | Wait, Reply | Fault | None, Reply]

Start: TypeAlias = Callable[[Callable[[], float]], Steps]
"""Begins an exchange; it is given what tells how many seconds that has left."""

# The server did nothing: it is behind the state asked for (412), over a limit (429), or a standby (472, 473).
_NOT_APPLIED = frozenset({412, 429, 472, 473})
# 501 is a server that waits to be initialised, which no retry will do.
_FAILED = frozenset(range(500, 600)) - {501}
# A node that answers so is not asked first again. One that is behind (412) is well.
_UNWELL = _NOT_APPLIED - {412} | frozenset(range(500, 600))

_OWN_API = "/v1/sys/"
_LAST_CHANCE = 0.5
_SHORTEST_PAUSE = 1.0

_TLS_HINTS = {
    FaultKind.UNTRUSTED: "Check `ca_cert`, `tls_server_name` and the client certificate of this store",
    FaultKind.NO_TLS: "Where the server is meant to speak plain HTTP, its address begins with http://",
}


def may_be_applied(reply: Reply) -> bool:
    """Whether a change that was answered like this may have been made all the same.

    "leadership lost while committing log" is a 500, and the change may be there. A 503 in Vault's own words is a server
    that did nothing; one of a gateway may stand for a reply that got lost. A success that is not Vault's is no word on
    what Vault did.
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
    """Everything that one request takes, until there is a reply that means something.

    A node that cannot be reached is passed over, and one that fails is left for the next at once: with others to ask, a
    node gets half of the time that is left, so that one which hangs does not take all of it. Before the last attempt,
    once every node was asked, or when the cluster has no leader, there is a pause: what the server says in Retry-After
    and 1.0 to 1.5 s, else just these, and then twice that, as Vault's Go client does (hashicorp/vault `api/client.go`,
    `DefaultRetryPolicy`). A request is sent three times at most, if nothing else is configured; a redirect that is
    followed does not count. A node whose redirect leads to none of the addresses is one that cannot answer now: a
    leader that has just stepped down does that for some tenths of a second (measured on OpenBao 2.7.2).

    A change is sent again only when the server surely did not make it. Whoever knows what was there before can settle
    the rest (`settling`).

    Args:
        request: what is asked.
        addresses: the nodes of one cluster; a `Cluster` remembers which of them is well.
        remaining: how many seconds are left, in total.
        jitter: a number from 0 to 1.

    Returns:
        The first reply that is neither a redirect nor worth asking again; the last one, where none is.

    Raises:
        VaultConnectionError: there was no whole reply.
        WriteOutcomeUnknownError: there was no whole reply to a change that may have been made.
        StoreUnavailableError: a redirect that is not followed, or leads to a node that cannot be reached; or the
            configured rate leaves no turn in time.
        SecretTooLargeError: the reply is longer than `Request.longest_reply`.
    """
    cluster = Cluster.of(addresses)
    remaining = _within(cluster.timeout, remaining)
    request = replace(request, headers={**cluster.headers, **request.headers}) if cluster.headers else request
    if cluster.rate is not None and (wait := cluster.rate.turn()) > 0:
        if wait >= remaining():
            raise StoreUnavailableError(reason="the option rate_limit gives this request no turn in time")
        yield Wait(wait)
    course = _Course(request, cluster)
    while True:
        node, left = course.next(), remaining()
        if left <= 0:
            raise VaultConnectionError(reason=f"no time is left to ask {node}")
        came = yield Send(request, node, course.share(left))
        assert came is not None, "a Send is answered with a Reply or a Fault"  # noqa: S101  # the driver's contract
        if (reply := course.judged(node, came)) is not None:
            return reply
        left = remaining()
        if course.goes_on and left > 0:
            continue
        pause = None if course.goes_on or course.is_over else _pause(course.trouble, course.attempts, left, jitter)
        if pause is None:
            return _given_up(course.trouble)
        yield Wait(pause)
        course.begin_anew()


def _within(timeout: float | None, remaining: Callable[[], float]) -> Callable[[], float]:
    """How much is left of a time that is at most `timeout` from now on."""
    spare = 0.0 if timeout is None else max(0.0, remaining() - timeout)
    return lambda: remaining() - spare


class _Course:
    """How far one exchange has come: whom it may still ask, how often it has asked, and what its last trouble was."""

    def __init__(self, request: Request, cluster: Cluster) -> None:
        self.attempts = 0
        self.trouble: Reply | StoreError = StoreUnavailableError(reason="nothing was asked")
        self.goes_on = True
        self._request = request
        self._cluster = cluster
        self._nodes = list(cluster.order)  # those that can be reached, as far as is known
        self._due = list(self._nodes)  # those of them that were not asked since the last pause
        self._first: list[Address] = []  # those of them that are due first after the next pause
        self._hop: Address | None = None  # where a redirect leads

    @property
    def is_over(self) -> bool:
        """It may not, or cannot, ask again."""
        return self.attempts > self._cluster.retries or not self._nodes

    def next(self) -> Address:
        """Whom to ask."""
        return self._hop or self._due.pop(0)

    def share(self, left: float) -> float:
        """How long this attempt may take. A change leaves some time to find out whether it was made."""
        if len(self._nodes) > 1 and self.attempts < self._cluster.retries:
            return left / 2
        return left * 3 / 4 if self._request.changes else left

    def begin_anew(self) -> None:
        """After a pause, every node may be asked again."""
        self._due, self._first = [*self._first, *(node for node in self._nodes if node not in self._first)], []

    def judged(self, node: Address, came: Reply | Fault) -> Reply | None:
        """The reply, where it means something; else None: then the exchange `goes_on` at once, or pauses."""
        hopped, self._hop = self._hop is not None, None
        if isinstance(came, Fault):
            self._take_fault(node, came, hopped=hopped)
        elif 300 <= came.status < 400:
            self._take_redirect(node, came, hopped=hopped)
        elif self._take_reply(node, came):
            return came
        return None

    def _take_fault(self, node: Address, fault: Fault, *, hopped: bool) -> None:
        self._cluster.failed(node)
        self.trouble = _failure(fault, self._request, node)
        if fault.kind is FaultKind.UNREACHABLE:
            self._nodes.remove(node)
            self.attempts += hopped
        else:
            self.attempts += 1
            # The connection was closed just before it was used, or the node ended: either is found out at once.
            self._due = self._due or list(self._nodes)
        lost_leader = hopped and fault.kind is FaultKind.UNREACHABLE  # of which the others know no better
        self.goes_on = bool(self._due) and not self.is_over and not lost_leader

    def _take_redirect(self, node: Address, reply: Reply, *, hopped: bool) -> None:
        there = _target(reply, self._request, node, self._cluster)
        if isinstance(there, StoreError):
            self._cluster.failed(node)
            self._try_others(there)
            return
        if not hopped and there in self._nodes:
            self._due = [other for other in self._due if other != there]
            self._hop, self.goes_on = there, True
            return
        why = "which redirects too" if there in self._nodes else "which cannot be reached"
        self.trouble = StoreUnavailableError(reason=f"{node} redirects to {there}, {why}: the cluster has no leader")
        self.attempts += 1
        self.goes_on = False  # the others know no better

    def _take_reply(self, node: Address, reply: Reply) -> bool:
        """Whether the reply is what the exchange ends with."""
        (self._cluster.failed if reply.status in _UNWELL else self._cluster.answered)(node)
        if not _worth_repeating(reply, self._request):
            return True
        # A mount that is just being made, which answers 400, is not on the other nodes yet.
        if reply.status == 400:
            self.trouble, self.goes_on = reply, False
            self.attempts += 1
        else:
            self._try_others(reply, None if _retry_after(reply) is None else node)
        return False

    def _try_others(self, trouble: Reply | StoreError, again: Address | None = None) -> None:
        """The nodes that are still due are asked at once; after a pause they are first, or the one to ask `again`."""
        self.trouble = trouble
        self.attempts += 1
        # The last attempt is kept for after a pause: a limit or an election is over for no node before it is for all.
        kept = self.attempts == self._cluster.retries > 1
        self.goes_on = bool(self._due) and not kept and not self.is_over
        if kept:
            self._first = self._due if again is None else [again]


def _worth_repeating(reply: Reply, request: Request) -> bool:
    if reply.status in _NOT_APPLIED:
        return True
    if request.changes:
        return reply.status == 503 and not may_be_applied(reply)
    # A mount that is just being made answers 400; so do a login or a renewal that is refused, and the server's own API.
    starting = reply.status == 400 and request.method != "POST" and not request.target.startswith(_OWN_API)
    return starting or reply.status in _FAILED


def _failure(fault: Fault, request: Request, node: Address) -> StoreError:
    """The error for a fault after which the next node may be asked; raises the others."""
    where = f"{node}: {fault.reason}"
    if (hint := _TLS_HINTS.get(fault.kind)) is not None:
        raise VaultConnectionError(reason=where, hint=hint)
    if request.changes and fault.kind is not FaultKind.UNREACHABLE:
        raise WriteOutcomeUnknownError(reason=where)
    if fault.kind is FaultKind.TOO_LARGE:
        raise SecretTooLargeError(reason=where)
    return VaultConnectionError(reason=where)


def _given_up(trouble: Reply | StoreError) -> Reply:
    if isinstance(trouble, Reply):
        return trouble
    raise trouble


def _target(reply: Reply, request: Request, here: Address, cluster: Cluster) -> Address | StoreError:
    """The configured address that a redirect names; only the address is followed, never the path it gives.

    Where a standby's own redirect (307) names another address, the error for that, since it may answer soon; raises the
    others.
    """
    there = Address.of_location(reply.headers.get("location", ""), here)
    where = f"{here} redirects to {there or 'nowhere'}"
    hint = "Add that address to `url` if it is a node of the cluster"
    same = next((address for address in cluster if there is not None and address.same_origin(there)), None)
    if same is None:
        fault = "which is not one of the configured addresses"
    elif same == here:
        fault, hint = "which is itself", "Check that the address is Vault's own, and what stands between"
    elif here.scheme == "https" and same.scheme != "https":
        fault = "which has no TLS"
    elif request.changes and reply.status not in {307, 308}:
        fault = f"with a status that turns a write into a read ({reply.status})"
    elif not cluster.redirects:
        fault, hint = "which is not followed", "Put the active node's address first in `url`, or allow redirects"
    else:
        return same
    error = StoreUnavailableError(reason=f"{where}, {fault}", hint=hint)
    if there is not None and same is None and reply.status == 307:
        return error
    raise error


def _pause(trouble: Reply | StoreError, attempts: int, left: float, jitter: Callable[[], float]) -> float | None:
    """How long to wait before asking again, in seconds; None where there is no time for that.

    What the server asks for is kept to, and a second more: it rounds down, to 0 for the last second of a rate limit
    (measured on OpenBao 2.7.2). All else is cut where that leaves time for one more attempt, since an election takes
    two to four seconds.
    """
    asked = _retry_after(trouble) if isinstance(trouble, Reply) else None
    own = 1.0 + jitter() / 2
    least, pause = (_SHORTEST_PAUSE, max(attempts, 1) * own) if asked is None else (asked, asked + own)
    if pause < left:
        return pause
    pause = left - _LAST_CHANCE
    return pause if pause >= least else None


def _retry_after(reply: Reply) -> float | None:
    """The seconds of Retry-After; None where there is none, or another form of it, which Vault does not send."""
    said = reply.headers.get("retry-after", "").strip()
    return float(said) if said.isascii() and said.isdigit() else None
