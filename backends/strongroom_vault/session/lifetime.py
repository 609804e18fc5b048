"""When to renew a token and when to replace it. Pure: times and leases, and no clock.

The algorithm is that of Vault's Go client (hashicorp/vault `api/lifetime_watcher.go`): the last part of each lease, the
grace, is a reserve for failures; renewals come well before it; a token that cannot be renewed is replaced.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

HOUR: Final = 3600.0
"""The longest time between two renewals, in seconds, however long the lease is."""

LEAST_PAUSE: Final = 0.5
"""The shortest time between two attempts, in seconds: the shortest lease that a server gives is 1 s."""

_FIRST_RETRY = 10.0
_LAST_RETRY = 300.0
_LATE_IN_LIFE = 0.8
_ROUNDING = 1.0  # a server rounds the length of a capped lease to seconds


class LeaseStep(Enum):
    """The next step for a token."""

    LOOK_UP = "look up its life"
    RENEW = "renew"
    LOGIN = "log in again"
    WARN = "warn of its end"


@dataclass(frozen=True, slots=True)
class TokenLease:
    """The life of a token, as far as it is known. Times are in a clock's seconds, lengths in seconds.

    Attributes:
        began: when the lease was requested, so that the server's end is never earlier than ours.
        ttl: the length of the lease; infinite for a token that never expires.
        full_ttl: the length of a new lease of this token, which a renewal should bring.
        grace: the last part of it, in which no renewal is relied on.
        renewable: a renewal may extend it.
        repeatable: a login may give another token.
        capped: the last renewal brought less than a full lease, or was refused.
    """

    began: float
    ttl: float
    full_ttl: float
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
        """Nothing can prevent its end."""
        return math.isfinite(self.ttl) and not self.renewable and not self.repeatable


def new_lease(
    began: float, ttl: float, draw: float, *, renewable: bool, repeatable: bool, full_ttl: float | None = None
) -> TokenLease:
    """Return the lease of a token after a login or a lookup.

    Args:
        began: when the login or lookup was sent.
        ttl: seconds left; 0 for a token that never expires.
        draw: a random number from 0 to 1, which spreads the renewals of many processes.
        renewable: whether renewal may extend it.
        repeatable: whether a login may give another token.
        full_ttl: the length of a new lease, if this one is not new.
    """
    full_ttl = max(ttl, full_ttl or 0.0)
    lasts = ttl if ttl > 0 else math.inf
    return TokenLease(began, lasts, full_ttl or math.inf, _grace(lasts, draw), renewable and ttl > 0, repeatable)


def renewed_lease(lease: TokenLease, began: float, ttl: float, draw: float, *, renewable: bool) -> TokenLease:
    """Return the lease after a renewal.

    A renewal that brought less than a full lease has met the token's maximum age, and the next would bring even less.
    If a login may give another token, renewals end there. Otherwise they go on as long as they extend the lease at
    all, because the length of a lease may have been changed on the server.

    Args:
        lease: the lease before.
        began: when the renewal was sent.
        ttl: the seconds that it brought; 0 is a lease that is over, because only a new token can be endless.
        draw: a random number from 0 to 1.
        renewable: whether the server calls it renewable now.
    """
    extended = ttl >= lease.full_ttl if lease.repeatable else began + ttl > lease.ends + _ROUNDING
    return replace(
        lease,
        began=began,
        ttl=ttl,
        grace=_grace(ttl, draw),
        renewable=renewable and extended,
        capped=not extended,
    )


def is_half_gone(lease: TokenLease) -> bool:
    """Return True if a lease that was just looked up can be renewed, and less than half of its full length is left.

    Each process plans its renewal from its own start. Of processes that all end before, none would renew the token.
    """
    return lease.renewable and lease.ttl < lease.full_ttl / 2


def next_step(lease: TokenLease) -> tuple[LeaseStep, float] | None:
    """Return the next step and its time, which may be past; None if no step is needed or possible."""
    if not math.isfinite(lease.ttl):
        return None
    early = lease.began + max(LEAST_PAUSE, lease.ttl * 2 / 3 + lease.grace / 3)
    if lease.renewable:
        return LeaseStep.RENEW, min(early, lease.began + HOUR)
    if lease.repeatable:
        return LeaseStep.LOGIN, lease.began if lease.capped else early
    return LeaseStep.WARN, lease.ends - lease.full_ttl * (1 - _LATE_IN_LIFE)


def retry_pause(failures: int) -> float:
    """Return the pause after `failures` consecutive failures: 10 s, doubled after each, at most 5 min."""
    return min(_FIRST_RETRY * 2.0 ** min(failures - 1, 10), _LAST_RETRY)


def after_failure(lease: TokenLease, step: LeaseStep, at: float, failures: int) -> tuple[LeaseStep, float] | None:
    """Return the step after a renewal or login that failed, and its time; None once the lease is over.

    The step is repeated after `retry_pause`, or sooner if little of the lease is left. Within the grace, a login
    replaces the renewal, if it may give another token.
    """
    left = lease.ends - at
    if left <= 0:
        return None
    pause = retry_pause(failures)
    if step is LeaseStep.RENEW and lease.repeatable:
        until_grace = max(LEAST_PAUSE, left - lease.grace)
        return (step, at + pause) if pause < until_grace else (LeaseStep.LOGIN, at + until_grace)
    return step, at + max(LEAST_PAUSE, min(pause, left / 2))


def _grace(ttl: float, draw: float) -> float:
    return ttl * (0.1 + 0.1 * draw) if math.isfinite(ttl) else 0.0
