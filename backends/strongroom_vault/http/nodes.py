"""The nodes of one cluster, in the order in which they are tried. Results of requests change it, for all threads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import overload

from strongroom_vault.http.address import Address
from strongroom_vault.http.rate_limit import RequestRate

RETRIES = 2
"""How often one request is repeated, as in Vault's client."""


class Cluster(Sequence[Address]):
    """The configured addresses, and the settings of requests to them.

    The node that answered last is tried first, so that a dead one does not cost each request its time; a node that
    failed is tried last. As a sequence it holds the addresses in the order of the configuration.

    Args:
        addresses: the nodes; at least one.
        retries: how often one request is repeated.
        redirects: whether a redirect to another node is followed.
        timeout: how long one request may take in total, in seconds; None for the caller's deadline.
        headers: additional headers of every request.
        rate: limits the rate of requests.
    """

    def __init__(
        self,
        addresses: Sequence[Address],
        *,
        retries: int = RETRIES,
        redirects: bool = True,
        timeout: float | None = None,
        headers: Mapping[str, str] | None = None,
        rate: RequestRate | None = None,
    ) -> None:
        self.retries = retries
        self.redirects = redirects
        self.timeout = timeout
        self.headers = headers or {}
        self.rate = rate
        self._addresses = tuple(dict.fromkeys(addresses))
        self._order = self._addresses

    @classmethod
    def of(cls, addresses: Sequence[Address]) -> Cluster:
        """Return a cluster of these addresses, or the cluster itself."""
        return addresses if isinstance(addresses, Cluster) else cls(addresses)

    def __repr__(self) -> str:
        return f"Cluster({', '.join(map(str, self._addresses))})"

    def __len__(self) -> int:
        return len(self._addresses)

    @overload
    def __getitem__(self, index: int) -> Address: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Address, ...]: ...
    def __getitem__(self, index: int | slice) -> Address | tuple[Address, ...]:
        return self._addresses[index]

    @property
    def order(self) -> tuple[Address, ...]:
        """The nodes, the one to try first in front."""
        return self._order

    # These methods replace the tuple without a lock. Of two threads that do so at once, one update may be lost, which
    # costs one request one attempt.

    def answered(self, node: Address) -> None:
        """Try this node first from now on."""
        if self._order[0] != node:
            self._order = (node, *(other for other in self._order if other != node))

    def failed(self, node: Address) -> None:
        """Try this node last from now on."""
        if self._order[-1] != node:
            self._order = (*(other for other in self._order if other != node), node)
