"""One request and all that may become of it, as a pure generator: retries, redirects, the deadline. No I/O, no clock.

`exchange` yields what has to be done, a `Send` or a `Wait`, and is sent what came of it; a driver does the doing. So
the policy is tested without a server and without waiting, and every driver has the same one.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeAlias

from strongroom.errors import SecretTooLargeError, StoreUnavailableError
from strongroom_vault.address import Address
from strongroom_vault.errors import VaultConnectionError

MAX_REPLY = 4 * 1024 * 1024
"""The longest body of a reply that is read, in bytes: four times the largest secret that a server holds by default."""

RETRIES = 2
"""How often one request is repeated, as in Vault's own client."""


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


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole reply: header names in lower case, at most `MAX_REPLY` bytes of body."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


class FaultKind(Enum):
    """Why there is no whole reply."""

    UNREACHABLE = "the request never left"
    LOST = "the request may have arrived"
    UNTRUSTED = "TLS failed"
    TOO_LARGE = "the reply is longer than MAX_REPLY"


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

# The server did nothing: it is behind the state asked for (412), over a limit (429), or a standby (472, 473).
_NOT_APPLIED = frozenset({412, 429, 472, 473})
# 501 is a server that waits to be initialised, which no retry will do. A mount that is just being made answers 400.
_WORTH_REPEATING = _NOT_APPLIED | {400} | (frozenset(range(500, 600)) - {501})

_TLS_HINT = "Check `ca_cert`, `tls_server_name` and the client certificate of this store"
_UNSURE = ", so that the change may or may not have been made"


def exchange(
    request: Request,
    addresses: Sequence[Address],
    remaining: Callable[[], float],
    jitter: Callable[[], float] = random.random,
) -> Steps:
    """Everything that one request takes, until there is a reply that means something.

    A server that cannot be reached is not waited for: each address is tried once, and then the chain has its fallback.
    A server that answers that it is busy is asked again after what it says in Retry-After, or 1.0 to 1.5 s and then
    twice that, as Vault's Go client does (hashicorp/vault `api/client.go`, `DefaultRetryPolicy`).

    Args:
        request: what is asked.
        addresses: the nodes of one cluster, in the order of preference.
        remaining: how many seconds are left, in total.
        jitter: a number from 0 to 1.

    Returns:
        The first reply that is neither a redirect nor worth asking again; the last one, where none is.

    Raises:
        VaultConnectionError: there was no whole reply.
        StoreUnavailableError: a redirect that is not followed.
        SecretTooLargeError: the reply is longer than `MAX_REPLY`.
    """
    nodes, retries, hopped = list(addresses), 0, False
    while True:
        left = remaining()
        if left <= 0:
            raise VaultConnectionError(reason=f"no time is left to ask {nodes[0]}")
        came = yield Send(request, nodes[0], left)
        assert came is not None, "a Send is answered with a Reply or a Fault"  # noqa: S101  # the driver's contract
        if isinstance(came, Fault):
            nodes = _after_fault(came, request, nodes, again=retries == 0 and remaining() > 0)
            retries += came.kind is FaultKind.LOST
            continue
        if 300 <= came.status < 400:
            nodes, hopped = [_redirected(came, request, nodes[0], addresses, hopped), *addresses], True
            continue
        repeatable = _NOT_APPLIED if request.changes else _WORTH_REPEATING
        if came.status not in repeatable or retries == RETRIES:
            return came
        retries += 1
        pause = _pause(came, retries, jitter)
        if pause >= remaining():
            return came
        yield Wait(pause)


def _after_fault(fault: Fault, request: Request, nodes: list[Address], *, again: bool) -> list[Address]:
    """The nodes that are still worth asking after a fault of the first one; raises where there is none.

    `again`: a read that was lost may be sent once more.
    """
    where = f"{nodes[0]}: {fault.reason}"
    if fault.kind is FaultKind.TOO_LARGE:
        raise SecretTooLargeError(reason=where)
    if fault.kind is FaultKind.UNTRUSTED:
        raise VaultConnectionError(reason=where, hint=_TLS_HINT)
    if fault.kind is FaultKind.LOST:
        if request.changes:
            raise VaultConnectionError(reason=where + _UNSURE)
        # A connection that the server closed just before we used it looks like this; a new one is opened at once.
        if again:
            return [*nodes[1:], nodes[0]]
        raise VaultConnectionError(reason=where)
    if len(nodes) == 1:
        raise VaultConnectionError(reason=where)
    return nodes[1:]


def _redirected(reply: Reply, request: Request, here: Address, known: Sequence[Address], hopped: bool) -> Address:  # noqa: FBT001  # private
    """The configured address that a redirect names; only the address is followed, never the path it gives."""
    there = Address.of_location(reply.headers.get("location", ""), here)
    where = f"{here} redirects to {there or 'nowhere'}"
    fault = None
    if hopped:
        fault = "which is the second redirect"
    elif there is None or (same := next((address for address in known if address.same_origin(there)), None)) is None:
        fault = "which is not one of the configured addresses"
    elif here.scheme == "https" and there.scheme != "https":
        fault = "which has no TLS"
    elif request.changes and reply.status not in {307, 308}:
        fault = f"with a status that turns a write into a read ({reply.status})"
    else:
        return same
    raise StoreUnavailableError(
        reason=f"{where}, {fault}", hint="Add that address to `url` if it is a node of the cluster"
    )


def _pause(reply: Reply, retries: int, jitter: Callable[[], float]) -> float:
    """How long to wait before asking again, in seconds."""
    asked = reply.headers.get("retry-after", "").strip()
    if asked.isascii() and asked.isdigit():
        return float(asked)
    return retries * (1.0 + jitter() / 2)
