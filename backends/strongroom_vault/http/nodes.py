"""The nodes of one cluster, in the order in which they are tried. Results of requests change it, for all threads."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence

from strongroom_vault.http.address import Address

_SILENCE_COUNTS = 5.0
"""For how many seconds a node that did not answer in time counts as silent, unless it answers meanwhile."""

_DRIFT = 1.1
"""How much slower than the fastest known answer the next one may count, so that an outdated one is forgotten."""


class Cluster:
    """The configured addresses, and the settings of requests to them.

    Reads and changes have separate orders, since any node answers reads, and the leader makes changes. In each, the
    node that answered last is tried first, so that a dead one does not cost each request its time; a node that failed
    is tried last.

    Args:
        addresses: the nodes; at least one.
        retries: how often one request is repeated; None for as often as its time allows.
        redirects: whether a redirect to another node is followed.
        timeout: how long one request may take in total, in seconds; None for the caller's deadline.
        headers: additional headers of every request.
        clock: seconds that never go back.

    Attributes:
        addresses: the nodes in the order of the configuration.
        fastest: about the shortest time that a read has taken lately, in seconds: the least that the network takes.
        answers: the number of requests that a healthy node has answered, for comparisons.
        replies: the number of replies of any kind, to probes too, for comparisons.
    """

    def __init__(
        self,
        addresses: Sequence[Address],
        *,
        retries: int | None = None,
        redirects: bool = True,
        timeout: float | None = None,
        headers: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.retries = retries
        self.redirects = redirects
        self.timeout = timeout
        self.headers = headers or {}
        self.fastest = 0.0
        self.answers = 0
        self.replies = 0
        self._clock = clock
        self._probe = -math.inf, 0  # when the last one began, and the number of replies before
        self.addresses = tuple(dict.fromkeys(addresses))
        self._read_order = self._change_order = self.addresses
        self._silences: dict[Address, tuple[float, float]] = {}  # node -> when it fell silent, and was last so

    def __repr__(self) -> str:
        return f"Cluster({', '.join(map(str, self.addresses))})"

    def order(self, *, reads: bool) -> tuple[Address, ...]:
        """Return the nodes, the one to try first in front: for reads, or for requests that the leader must answer."""
        return self._read_order if reads else self._change_order

    def is_silent(self, node: Address) -> bool:
        """Return True if the node did not answer its last request in time, a few seconds ago at most."""
        return self.silent_since(node) < math.inf

    def silent_since(self, node: Address) -> float:
        """Return when the node fell silent; infinity if it is not silent."""
        silence = self._silences.get(node)
        return silence[0] if silence is not None and self._clock() - silence[1] < _SILENCE_COUNTS else math.inf

    # These methods replace tuples and items without a lock. Of two threads that do so at once, one update may be lost,
    # which costs one request one attempt.

    def heard(self, node: Address) -> None:
        """Note a reply of the node, with any status."""
        self.replies += 1
        if self._silences:
            self._silences.pop(node, None)

    def begins_probe(self, seconds: float) -> bool:
        """Return True if a probe may begin, False while another request's probe waits for its reply.

        Args:
            seconds: the time that a probe has for its reply.
        """
        began, replies = self._probe
        now = self._clock()
        if replies == self.replies and now - began < seconds:
            return False
        self._probe = now, self.replies
        return True

    def answered(self, node: Address, *, reads: bool, seconds: float | None = None) -> None:
        """Try this node first from now on. It took that number of seconds, if that is known."""
        self.answers += 1
        if self.order(reads=reads)[0] is not node:
            self._reorder(reads, lambda order: (node, *(other for other in order if other != node)))
        if reads and seconds is not None:
            self.fastest = min(seconds, self.fastest * _DRIFT) if self.fastest else seconds

    def failed(self, node: Address, *, reads: bool) -> None:
        """Try this node last from now on, for requests of this kind."""
        if self.order(reads=reads)[-1] != node:
            self._reorder(reads, lambda order: (*(other for other in order if other != node), node))

    def lost(self, node: Address, *, silent: bool) -> None:
        """Try this node last for all requests. It is `silent` if it did not answer in time."""
        for reads in (True, False):
            self.failed(node, reads=reads)
        if silent:
            now = self._clock()
            self._silences[node] = min(now, self.silent_since(node)), now

    def _reorder(self, reads: bool, reorder: Callable[[tuple[Address, ...]], tuple[Address, ...]]) -> None:  # noqa: FBT001  # as the key of an order
        if reads:
            self._read_order = reorder(self._read_order)
        else:
            self._change_order = reorder(self._change_order)
