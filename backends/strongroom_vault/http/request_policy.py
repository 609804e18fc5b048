"""The policy of one request, as a pure generator: retries, redirects, the deadline. No I/O, no clock.

`exchange` yields a `SendStep` or a `Wait`, and receives the result of the `SendStep`; a driver executes them. So the
policy is tested without a server and without waiting, and all drivers share it.

Nearly always the first reply is final. `first_attempt` returns it, and saves the generator.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from strongroom.errors import SecretTooLargeError, StoreError, StoreUnavailableError, WriteOutcomeUnknownError
from strongroom.store.process import random_factor
from strongroom_vault.errors import VaultConnectionError
from strongroom_vault.http.address import Address
from strongroom_vault.http.messages import (
    FAILED,
    FaultKind,
    HttpFault,
    HttpRequest,
    LivenessChecks,
    Reply,
    SendStep,
    Steps,
    Wait,
)
from strongroom_vault.http.nodes import Cluster
from strongroom_vault.responses import is_foreign, malformed

# The server did nothing: it is behind the state asked for (412), over a limit (429), or a standby (472, 473).
_NOT_APPLIED = frozenset({412, 429, 472, 473})
# After such a status, another node is tried first. A node that is behind (412) is healthy.
_UNHEALTHY = _NOT_APPLIED - {412} | frozenset(range(500, 600))

_SYSTEM_API = "/v1/sys/"

_READ_SHARE = 0.4
"""The first share of a node, in seconds, for a read that a healthy node answers within milliseconds."""
_TIMES_FASTEST = 6
"""The least share of a node, as a multiple of the fastest answer: a new TLS connection takes several round trips."""
_SHARE = 2.0
"""The first share of a node for any other request: a leader commits a change, a login may ask another service."""
_SILENT_SHARE = 0.2
"""The share of a node that was silent lately, while others answer."""
_LIVENESS_SHARE, _LONGEST_LIVENESS_SHARE = 0.5, 1.0
"""The share of a probe that asks the only node if it is alive, on a new connection; more if the network is slow."""
_GROWTH = 2
"""How much the share grows after each round in which no node answered."""

_REFUSED = 1.0
"""Nodes that refuse connections are down after this number of seconds without any reply."""
_SILENCE = 3.0
"""The same if a node took the request and did not answer. Before that, the nodes are asked if they are alive at all."""
_MOST_PROBES = 5
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.05, 0.2
_LAST_CHANCE, _LAST_CHANGE = 0.2, 0.5
"""With less time than this, in seconds, nothing is repeated: the attempt would end without a reply, in doubt."""
_NEARLY = 0.95  # of a share or a limit counts as the whole: a driver's timer may end a little early
_LIMIT_PAUSE = 1.0
_STARTING = 2  # how often a request is repeated that a mount refuses while it starts

_TLS_HINTS = {
    FaultKind.UNTRUSTED: "Check `ca_cert`, `tls_server_name` and the client certificate of this store",
    FaultKind.NO_TLS: "If the server is meant to speak plain HTTP, start its address with http://",
}
_SLOW = "Vault is too slow for all requests"
_SLOW_HINT = "Read fewer secrets at the same time, or raise the timeout"


_ALIVE = HttpRequest("GET", "/v1/sys/seal-status", {})
"""Any node answers it at once: also a standby that forwards other requests to a leader that hangs."""


def exchange(
    request: HttpRequest,
    cluster: Cluster,
    remaining: Callable[[], float],
    jitter: Callable[[], float] = random_factor,
    begun: Progress | None = None,
) -> Steps:
    """Send one request until there is a final reply, in rounds: each node is tried once, then there is a short pause.

    A patient request is repeated until its time is over, as etcd's client does: an election takes two to six seconds,
    in which nodes redirect to a dead leader, refuse, fail or hang. It ends early in a real outage: all nodes have
    refused connections for a second, or no node has answered anything for three, not even whether it is sealed. A
    request that is not patient ends as soon as no node can be reached.

    The only node has all the time. While its reply is missing, another connection asks if it is alive, and the request
    is given up if it is not. One of several nodes gets a small share of the time, so that one that hangs costs little.

    A node that limits its rate (429, Retry-After) is left alone for as long as it says plus 1.0 to 1.5 s, because the
    server rounds down (measured on OpenBao 2.7.2).

    A change is repeated only if the server certainly did not apply it. `store.write_reconciliation` finds out the rest.

    Args:
        request: what to send.
        cluster: the nodes; it remembers which of them are healthy, and which one leads.
        remaining: returns the seconds left, in total.
        jitter: returns a number from 0 to 1.
        begun: the progress after `first_attempt`, from which it continues.

    Returns:
        The first reply that is neither a redirect nor worth a retry, or else the last reply.

    Raises:
        VaultConnectionError: no whole reply arrived.
        WriteOutcomeUnknownError: no whole reply of Vault arrived to a change that may have been applied.
        StoreUnavailableError: a redirect that is not followed, or leads to a node that cannot be reached; a refusal
            that is not Vault's. Any outage of a read is `path_only` if a node has answered other requests meanwhile:
            the cluster is not out.
        SecretTooLargeError: the reply is longer than `HttpRequest.longest_reply`.
    """
    if cluster.timeout is not None:
        remaining = _within(cluster.timeout, remaining)
    if cluster.headers:
        request = _with_headers(request, cluster)
    left = remaining()
    progress = begun or Progress(request, cluster, left)
    while True:
        while (node := progress.next(left)) is not None:
            result = yield (step := progress.step(node, left))
            assert result is not None, "a SendStep is answered with a Reply or an HttpFault"  # noqa: S101  # the driver's contract
            before, left = left, remaining()
            if (reply := progress.record(step, result, left, before - left)) is not None:
                return progress.final(reply)
        while (node := progress.next_probe(left)) is not None:
            progress.probed(node, (yield progress.probe(node, min(_SILENT_SHARE, left))))
            left = remaining()
        pause = progress.pause(left, jitter())
        if pause is None:
            return progress.final()
        yield Wait(pause)
        left = remaining()
        progress.restart(left)


def first_attempt(
    request: HttpRequest,
    cluster: Cluster,
    remaining: Callable[[], float],
    send: Callable[[SendStep], Reply | HttpFault],
) -> Reply | Progress | None:
    """Make the first attempt of an exchange with `send`, as `exchange` would.

    Returns:
        The reply if it is final. Otherwise the progress from which `exchange` continues; None if it has to begin
        itself, because an option of the cluster changes the request.

    Raises:
        StoreError: see `exchange`.
    """
    if cluster.timeout is not None or cluster.headers:
        return None
    left = remaining()
    progress = Progress(request, cluster, left)
    if (node := progress.next(left)) is None:
        return progress
    result = send(step := progress.step(node, left))
    before, left = left, remaining()
    reply = progress.record(step, result, left, before - left)
    return progress if reply is None else progress.final(reply)


def _with_headers(request: HttpRequest, cluster: Cluster) -> HttpRequest:
    """Return the request with the additional headers of the cluster."""
    return replace(request, headers={**cluster.headers, **request.headers})


def _within(timeout: float, remaining: Callable[[], float]) -> Callable[[], float]:
    """Limit `remaining` to `timeout` seconds from now on."""
    spare = max(0.0, remaining() - timeout)
    return lambda: remaining() - spare


class Progress:
    """Progress of one exchange. Moments are numbers of seconds left: later ones are smaller."""

    # The state of nearly every exchange, from its beginning to its end.
    _failure: Reply | StoreError | None = None
    _attempts = 0
    _starting = 0
    _silent_rounds = 0  # since the last reply
    _hung = False  # a node did not answer in time since then
    _reconnected = False
    _hop: Address | None = None  # the target of a redirect
    _redirected = False  # a change was, and may have been applied
    _alive: Address | None = None  # what answered a probe
    _are_alive = False  # a probe was answered
    _is_dead = False  # the only node has answered neither the request nor a probe

    def __init__(self, request: HttpRequest, cluster: Cluster, left: float) -> None:
        self._request = request
        self._reads, self._is_quick = request.reads, request.is_quick
        self._cluster = cluster
        self._answers = cluster.answers  # before this exchange
        self._heard = left  # when the last reply arrived, or the exchange began
        self._unreachable: set[Address] = set()  # in this round or the one before
        self._limited: dict[Address, float] = {}  # node -> moment of its next attempt
        self.restart(left)

    def restart(self, left: float) -> None:
        """Begin a round. A node that is silent gets no change while there is another: it might make it much later."""
        due = list(self._cluster.order(reads=self._reads))
        if self._limited:
            due = [node for node in due if not self._is_limited(node, left)]
        self._is_silent_round = True
        if self._request.changes:
            due = [node for node in due if not self._cluster.is_silent(node)] or due
        if self._silent_rounds and self._reads:
            # The last one to fall silent may only be slow. The others are dead, or hold requests during an election.
            due.sort(key=self._cluster.silent_since, reverse=True)
        if self._alive is not None:
            due.sort(key=lambda node: node != self._alive)
        self._due = due  # not tried in this round
        self._alive = None
        self._probes: list[Address] | None = None  # not asked yet if they are alive

    def next(self, left: float) -> Address | None:
        """Return the node for the next attempt of this round, if there is one."""
        if self._is_over(left):
            return None
        return self._due.pop(0) if self._hop is None and self._due else self._hop

    def step(self, node: Address, left: float) -> SendStep:
        """Return the next attempt. A change leaves some time to find out its outcome."""
        most = left * 3 / 4 if self._request.changes else left
        if len(self._cluster.addresses) == 1:
            return SendStep(self._request, node, most, most, self._liveness(node))
        return SendStep(self._request, node, self._share(node, left, most), most)

    def probe(self, node: Address, seconds: float) -> SendStep:
        """Return the question if a node is alive."""
        return SendStep(_with_headers(_ALIVE, self._cluster) if self._cluster.headers else _ALIVE, node, seconds)

    def _liveness(self, node: Address) -> LivenessChecks:
        """Check, while the only node has the request, that it has answered anything lately; end if it has not.

        Of the requests that wait, one sends the probe for all: a server that is slow gets no more than that.
        """
        cluster = self._cluster
        share = min(max(_LIVENESS_SHARE, _TIMES_FASTEST * cluster.fastest), _LONGEST_LIVENESS_SHARE)
        while True:
            replies = cluster.replies
            yield Wait(_SILENCE - share)
            if cluster.replies == replies:
                if cluster.begins_probe(share):
                    if isinstance((yield self.probe(node, share)), Reply):
                        cluster.heard(node)
                else:
                    yield Wait(share)
            self._are_alive, self._is_dead = cluster.replies != replies, cluster.replies == replies
            if self._is_dead:
                return

    def _share(self, node: Address, left: float, most: float) -> float:
        """Return the seconds for this attempt, of the `most` that it may have, while there are other nodes."""
        request = self._request
        if self._attempts == self._cluster.retries:
            return most  # the last one
        until_probe = min(most, max(self._until_probe(left), _SHORTEST_PAUSE))
        if self._is_quick or request.changes:
            most = until_probe
        if self._unreachable.issuperset(other for other in self._cluster.addresses if other != node):
            return most
        if not self._are_alive:
            most = until_probe
        if self._due:
            most = min(most, left / 2)
        if self._cluster.is_silent(node) and not request.changes and self._silent_rounds == 0:
            return min(_SILENT_SHARE, most)
        first = max(_READ_SHARE, _TIMES_FASTEST * self._cluster.fastest) if self._is_quick else _SHARE
        return min(first * float(_GROWTH**self._silent_rounds), most)

    def next_probe(self, left: float) -> Address | None:
        """Return the next node to ask if it is alive: at the end of a round, when all have been silent for long."""
        asks = self._hung and self._request.patient and self._is_silent_round and not self._is_dead
        if self._alive is not None or not asks:
            return None
        if self._probes is None and self._until_probe(left) <= 0:
            self._probes = list(self._cluster.order(reads=self._reads)[:_MOST_PROBES])
        return self._probes.pop(0) if self._probes and left > 0 else None

    def probed(self, node: Address, result: Reply | HttpFault | None) -> None:
        """Take the result of a probe: after any reply, the outage is not a real one."""
        if isinstance(result, Reply):
            self._alive, self._are_alive = node, True

    def _until_probe(self, left: float) -> float:
        """Return the seconds until the nodes are asked if they are alive, so that the answers are there in time."""
        probes = _SILENT_SHARE * min(len(self._cluster.addresses), _MOST_PROBES) if self._request.patient else 0.0
        return _SILENCE - probes - (self._heard - left)

    def pause(self, left: float, jitter: float) -> float | None:
        """Return the seconds until the next round; None at the end."""
        if self._is_over(left) or self._is_outage(left):
            return None
        if self._alive is not None:
            self._heard = left
        pause = _SHORTEST_PAUSE + (_LONGEST_PAUSE - _SHORTEST_PAUSE) * jitter
        if all(self._is_limited(node, left) for node in self._cluster.addresses):
            pause = left - max(self._limited.values()) + jitter / 2
        self._silent_rounds += self._is_silent_round
        return pause if pause + (_LAST_CHANGE if self._request.changes else _LAST_CHANCE) < left else None

    def record(self, step: SendStep, result: Reply | HttpFault, left: float, took: float) -> Reply | None:
        """Return a final reply. Otherwise return None: another node or another round follows, or the end.

        The attempt took `took` seconds, and now there are `left` seconds. Its wait for a free connection tells nothing
        about the node.
        """
        node, hop = step.address, self._hop
        hopped, self._hop = hop is not None, None
        if step.waited:
            took -= step.waited
            self._heard -= step.waited
        if isinstance(result, HttpFault):
            if result.kind is FaultKind.BUSY:
                self._hop, self._is_silent_round = hop, False
                self._failure = self._failure or _failure(result, self._request, node)
                return None
            hung = took >= min(step.timeout, step.total - step.waited) * _NEARLY or self._is_dead
            tested = took >= _NEARLY * (_SILENT_SHARE if self._is_quick else _REFUSED)
            self._cluster.lost(node, silent=hung and tested and step.waited <= took)
            self._take_fault(node, result, left, hopped=hopped, hung=hung, hurried=hung and step.waited > took)
            return None
        self._cluster.heard(node)
        if self._unreachable:
            self._unreachable.discard(node)
        self._heard, self._hung, self._silent_rounds, self._is_silent_round = left, False, 0, False
        if 300 <= result.status < 400:
            self._take_redirect(node, result, hopped=hopped)
        elif self._take_reply(node, result, left, took):
            return result
        return None

    def final(self, reply: Reply | None = None) -> Reply:
        """Return the final reply, or the last one; raise the last error, `path_only` if other reads are answered.

        A standby also redirects a change if its leader was lost after the standby had forwarded the change. The refusal
        of a gateway is an outage, before anything takes it for an absence, a denial or a bad token.
        """
        end = reply or self._failure
        if end is None:
            node = self._cluster.order(reads=self._reads)[0]
            end = VaultConnectionError(reason=f"no time is left for a request to {node}")
        is_unknown = self._redirected
        if isinstance(end, Reply):
            if not is_foreign(end):
                return replace(end, repeats=True) if self._redirected and end.status >= 300 else end
            end, is_unknown = malformed(None, ", ".join(map(str, self._cluster.addresses))), self._request.changes
        if is_unknown:
            raise WriteOutcomeUnknownError(reason=end.reason)
        if isinstance(end, StoreUnavailableError) and end.conclusive and self._reads:
            raise end.copy(path_only=self._cluster.answers != self._answers)
        raise end

    def _is_over(self, left: float) -> bool:
        """Return True if no further attempt is allowed or possible."""
        retries = self._cluster.retries
        return left <= 0 or (retries is not None and self._attempts > retries) or self._starting > _STARTING

    def _is_outage(self, left: float) -> bool:
        """Return True at the end of a round if nobody answers, and nobody is about to."""
        limited = any(self._is_limited(node, left) for node in self._cluster.addresses)
        if not self._is_silent_round or limited or self._alive is not None:
            return False
        if self._hung:
            return self._is_dead or self._heard - left >= _SILENCE * _NEARLY or self._probes == []
        return not self._request.patient or self._heard - left >= _REFUSED

    def _is_limited(self, node: Address, left: float) -> bool:
        return bool(self._limited) and left > self._limited.get(node, left)

    def _take_fault(
        self, node: Address, fault: HttpFault, left: float, *, hopped: bool, hung: bool, hurried: bool
    ) -> None:
        """Note the fault of a node that hung, perhaps hurried: the wait for a connection had most of its time."""
        failure = _failure(fault, self._request, node)
        if hurried or (hung and self._are_alive and len(self._cluster.addresses) == 1):
            failure = failure.copy(summary=_SLOW, hint=_SLOW_HINT, conclusive=not hurried)
        if self._failure is None or isinstance(self._failure, VaultConnectionError) or self._heard - left >= _REFUSED:
            self._failure = failure  # a reply says more
        self._hung = self._hung or hung
        if fault.kind is FaultKind.UNREACHABLE:
            self._unreachable.add(node)
            self._attempts += hopped
            return
        self._attempts += 1
        if len(self._cluster.addresses) == 1 and not (hung or self._reconnected):
            # The connection was closed just before its use, or the server stopped. Both are found out at once.
            self._reconnected = True
            self._due.append(node)

    def _take_redirect(self, node: Address, reply: Reply, *, hopped: bool) -> None:
        target = _target(reply, self._request, node, self._cluster)
        self._redirected = self._request.changes
        if isinstance(target, StoreError):
            self._cluster.failed(node, reads=self._reads)
            self._failure = target
            self._attempts += 1
            return
        silent = self._request.changes and self._cluster.is_silent(target)
        why = "redirects too" if hopped else "does not answer" if silent else "cannot be reached"
        reason = f"{node} redirects to {target}, which {why}: the cluster has no leader"
        self._failure = StoreUnavailableError(reason=reason)
        if hopped or silent or target in self._unreachable:
            self._attempts += 1
        else:
            self._due = [other for other in self._due if other != target]
            self._hop = target

    def _take_reply(self, node: Address, reply: Reply, left: float, took: float) -> bool:
        """Return True if the reply is final."""
        if reply.status in _UNHEALTHY or is_foreign(reply):
            self._cluster.failed(node, reads=self._reads)
        else:
            self._cluster.answered(node, reads=self._reads, seconds=took if self._is_quick else None)
        if not _worth_repeating(reply, self._request):
            return True
        self._failure = reply
        self._attempts += 1
        requested = _retry_after(reply)
        if reply.status == 400 or self._request.makes:
            # A mount that is still starting answers 400, and is not on the other nodes yet. A database that refuses to
            # make a credential does so for every node, and a login may have spent a use of its secret_id.
            self._starting += reply.status == 400
            self._due = []
            self._limited = dict.fromkeys(self._cluster.addresses, left - (requested or 0.0) - _LIMIT_PAUSE)
        elif requested is not None or reply.status == 429:
            self._limited[node] = left - (requested or 0.0) - _LIMIT_PAUSE
        return False


def _worth_repeating(reply: Reply, request: HttpRequest) -> bool:
    if reply.status in _NOT_APPLIED:
        return True
    if request.changes:
        return reply.status == 503 and not reply.may_be_applied
    # A mount that is still starting answers 400. So do refused logins and renewals, and the system API.
    starting = reply.status == 400 and request.method != "POST" and not request.target.startswith(_SYSTEM_API)
    return starting or reply.status in FAILED


def _failure(fault: HttpFault, request: HttpRequest, node: Address) -> StoreError:
    """Return the error for a fault after which another node may be tried; raise any other."""
    where = f"{node}: {fault.reason}"
    if (hint := _TLS_HINTS.get(fault.kind)) is not None:
        raise VaultConnectionError(reason=where, hint=hint)
    if fault.kind is FaultKind.BUSY:
        return VaultConnectionError(reason=where, hint=_SLOW_HINT).copy(summary=_SLOW, conclusive=False)
    if request.changes and fault.kind is not FaultKind.UNREACHABLE:
        raise WriteOutcomeUnknownError(reason=where)
    if fault.kind is FaultKind.TOO_LARGE:
        raise SecretTooLargeError(reason=where)
    return VaultConnectionError(reason=where)


def _target(reply: Reply, request: HttpRequest, here: Address, cluster: Cluster) -> Address | StoreError:
    """Return the configured address that a redirect names. Its path is never followed.

    If a standby's redirect (307) names an unknown address, return the error, because the standby may answer soon. The
    same holds for a redirect to itself, which a leader that was paused sends for at least three seconds (measured on
    OpenBao 2.7.2). Raise any other error.
    """
    named = Address.of_location(reply.headers.get("location", ""), here)
    where = f"{here} redirects to {named or 'nowhere'}"
    hint = "Add that address to `url` if it is a node of the cluster"
    same = next((node for node in cluster.addresses if named is not None and node.origin == named.origin), None)
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
    if named is not None and same in {None, here} and reply.status == 307:
        return error
    raise error


def _retry_after(reply: Reply) -> float | None:
    """Return the seconds of Retry-After; None without the header, or for a date, which Vault does not send."""
    seconds = reply.headers.get("retry-after", "").strip()
    return float(seconds) if seconds.isascii() and seconds.isdigit() else None
