"""The messages between the policy of a request and a driver: requests, replies, faults and steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeAlias

from strongroom_vault.http.address import Address

MAX_REPLY = 4 * 1024 * 1024
"""The longest body of a reply, in bytes: four times the largest secret that a server holds by default."""

MAX_LISTING = 32 * 1024 * 1024
"""The same for LIST and SCAN, which return a whole folder: some 300,000 long names."""

# 501 is a server that is not initialized. A retry does not change that.
FAILED = frozenset(range(500, 600)) - {501}
_READS = frozenset({"GET", "LIST", "SCAN"})


# These classes are not frozen: the making of a frozen object takes three times as long.


@dataclass(slots=True)
class HttpRequest:
    """An HTTP request. The target is the path and query below the address, percent-encoded.

    Attributes:
        changes: it is a write, and may be repeated only if it certainly was not applied.
        creates: it makes a credential.
        batched: it is one of many. Its driver is idle while the caller works, so its reply may come late.
        patient: nobody else can answer, so it is repeated while a node of the cluster may still answer.
    """

    method: str
    target: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes | None = field(default=None, repr=False)
    changes: bool = False
    creates: bool = False
    batched: bool = False
    patient: bool = True

    @property
    def reads(self) -> bool:
        """Any node answers it."""
        return self.method in _READS and not self.creates

    @property
    def makes(self) -> bool:
        """Each repetition makes or spends something: a credential, or a use of one in a login."""
        return not self.reads and not self.changes

    @property
    def is_quick(self) -> bool:
        """A healthy node answers it within milliseconds."""
        return self.method == "GET" and not self.creates and not self.batched

    @property
    def longest_reply(self) -> int:
        """The longest body of the reply, in bytes."""
        return MAX_LISTING if self.method in {"LIST", "SCAN"} else MAX_REPLY


@dataclass(slots=True)
class Reply:
    """A whole reply: header names in lower case, at most `HttpRequest.longest_reply` bytes of body.

    Attributes:
        repeats: it refuses a change of which an earlier attempt may have been applied.
    """

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    repeats: bool = False

    @property
    def may_be_applied(self) -> bool:
        """Return True if a change with this reply may have been applied all the same.

        "leadership lost while committing log" is a 500, and the change may be there. Vault answers 503 when it did
        nothing; a gateway may answer 503 for a lost reply. A success without a JSON object is not Vault's reply.
        """
        vaults_own = self.body.lstrip().startswith(b"{")
        if 200 <= self.status < 300:
            return bool(self.body) and not vaults_own
        return self.status in FAILED and not (self.status == 503 and vaults_own)


class FaultKind(Enum):
    """Reason for a missing or partial reply."""

    UNREACHABLE = "the request never left"
    LOST = "the request may have arrived"
    UNTRUSTED = "TLS failed"
    NO_TLS = "the server does not speak TLS"
    TOO_LARGE = "the reply is too long"
    BUSY = "all connections wait for replies to other requests: the server may be well"


@dataclass(slots=True)
class HttpFault:
    """No whole reply. The reason contains no text of the server."""

    kind: FaultKind
    reason: str


NO_FREE_CONNECTION = HttpFault(FaultKind.BUSY, "no connection was free in time")


@dataclass(slots=True)
class SendStep:
    """Send the request to that address and read the whole reply.

    Attributes:
        timeout: the seconds for that, after a wait of at most as long for a free connection.
        total: the most seconds for both.
        liveness: checks of the server while its reply is missing: the request is given up when they end. A driver may
            ignore them in a batch.
        waited: the seconds that the request has waited for a free connection. The driver sets it.
    """

    request: HttpRequest
    address: Address
    timeout: float
    total: float = math.inf
    liveness: LivenessChecks | None = None
    waited: float = 0.0


@dataclass(slots=True)
class Wait:
    """Wait for that number of seconds."""

    seconds: float


Steps: TypeAlias = Generator[SendStep | Wait, Reply | HttpFault | None, Reply]

LivenessChecks: TypeAlias = Generator[SendStep | Wait, Reply | HttpFault | None, None]

Start: TypeAlias = Callable[[Callable[[], float]], Steps]
"""Begins an exchange, from a function that returns the seconds left."""
