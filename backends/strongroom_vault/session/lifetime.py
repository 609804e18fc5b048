"""When a token is to be renewed, and when another one is to be had instead. Pure: times and leases, and no clock.

The algorithm is that of Vault's Go client (hashicorp/vault `api/lifetime_watcher.go`): a part of each lease, the grace,
is kept for what may go wrong; renewals come well before it; what cannot be renewed is replaced.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

HOUR: Final = 3600.0
"""A token is renewed at least this often, however long its lease is, in seconds."""

LEAST_PAUSE: Final = 0.5
"""There is never less than this between two attempts, in seconds: the shortest lease that a server gives is 1 s."""

_FIRST_RETRY = 10.0
_LAST_RETRY = 300.0
_LATE_IN_LIFE = 0.8
_ROUNDING = 1.0  # a server tells the length of a capped lease to the nearest second


def now() -> float:
    """Seconds that never go back and that go on while the machine sleeps, as a token's life on the server does."""
    return time.clock_gettime(_CLOCK)


# Linux stops CLOCK_MONOTONIC while it is suspended, and macOS does not, which has no CLOCK_BOOTTIME.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class Step(Enum):
    """What a token needs."""

    LOOK_UP = "ask how long it lives"
    RENEW = "renew it"
    LOGIN = "log in again"
    WARN = "say that it ends soon"


@dataclass(frozen=True, slots=True)
class Lease:
    """What is known of a token's life. Times are in a clock's seconds, lengths in seconds.

    Attributes:
        began: when it was asked for, so that the server's own end is never earlier than ours.
        ttl: how long it lasts from then on; infinite for a token that never expires.
        whole: how long a lease of this token is when it is new: what a renewal should bring.
        grace: the last part of it, in which no renewal is relied on.
        renewable: a renewal may lengthen it.
        repeatable: a login may give another token.
        capped: the last renewal met the token's greatest age, or the end of the server's patience with it.
    """

    began: float
    ttl: float
    whole: float
    grace: float
    renewable: bool
    repeatable: bool
    capped: bool = False

    @property
    def ends(self) -> float:
        """When the token expires."""
        return self.began + self.ttl

    @property
    def is_final(self) -> bool:
        """Nothing can be done about its end."""
        return math.isfinite(self.ttl) and not self.renewable and not self.repeatable


def granted(
    began: float, ttl: float, draw: float, *, renewable: bool, repeatable: bool, whole: float | None = None
) -> Lease:
    """The lease of a token as a login or a lookup tells of it.

    Args:
        began: when that was asked.
        ttl: seconds that are left, 0 for ever.
        draw: a random number from 0 to 1, so that the tokens of many processes are not all renewed at once.
        renewable: whether renewing may lengthen it.
        repeatable: whether a login may give another token.
        whole: the length of a new lease, where this one is not new.
    """
    whole = max(ttl, whole or 0.0)
    lasts = ttl if ttl > 0 else math.inf
    return Lease(began, lasts, whole or math.inf, _grace(lasts, draw), renewable and ttl > 0, repeatable)


def renewed(lease: Lease, began: float, ttl: float, draw: float, *, renewable: bool) -> Lease:
    """The lease after a renewal.

    One that brought less than a whole lease has met the token's greatest age, and the next one would bring less still.
    Where a login may give another token, that ends the renewals. Where none can, they go on for as long as they move
    the end at all, since the length of a lease may have been changed on the server.

    Args:
        lease: what it was before.
        began: when the renewal was asked for.
        ttl: what it brought, in seconds; 0 is a lease that is over, since only a token that is new can be endless.
        draw: as `granted` has it.
        renewable: what the server says of it now.
    """
    stretched = ttl >= lease.whole if lease.repeatable else began + ttl > lease.ends + _ROUNDING
    return replace(
        lease,
        began=began,
        ttl=ttl,
        grace=_grace(ttl, draw),
        renewable=renewable and stretched,
        capped=not stretched,
    )


def next_step(lease: Lease) -> tuple[Step, float] | None:
    """What the token needs next and when; None where it needs nothing, or nothing can be done.

    The time may be past: then it is due now.
    """
    if not math.isfinite(lease.ttl):
        return None
    early = lease.began + max(LEAST_PAUSE, lease.ttl * 2 / 3 + lease.grace / 3)
    if lease.renewable:
        return Step.RENEW, min(early, lease.began + HOUR)
    if lease.repeatable:
        return Step.LOGIN, lease.began if lease.capped else early
    return Step.WARN, lease.ends - lease.whole * (1 - _LATE_IN_LIFE)


def retry_pause(failures: int) -> float:
    """How long to wait after so many failures in a row: 10 s, twice as long after each, 5 min at most."""
    return min(_FIRST_RETRY * 2.0 ** min(failures - 1, 10), _LAST_RETRY)


def after_failure(lease: Lease, step: Step, at: float, failures: int) -> tuple[Step, float] | None:
    """What follows a renewal or a login that failed at that time, the so many-th in a row; None once the lease is over.

    It is tried again after `retry_pause`, and sooner where little of the lease is left. Within the grace a renewal
    gives way to a login, where that may give another token.
    """
    left = lease.ends - at
    if left <= 0:
        return None
    pause = retry_pause(failures)
    if step is Step.RENEW and lease.repeatable:
        until_grace = max(LEAST_PAUSE, left - lease.grace)
        return (step, at + pause) if pause < until_grace else (Step.LOGIN, at + until_grace)
    return step, at + max(LEAST_PAUSE, min(pause, left / 2))


def _grace(ttl: float, draw: float) -> float:
    return ttl * (0.1 + 0.1 * draw) if math.isfinite(ttl) else 0.0
