"""Credentials of an engine: how long they serve reads, and when to renew or replace them. Pure.

A lease lives as a token does, so `lifetime` decides when to renew and when to replace it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from strongroom.secret import SensitiveDict
from strongroom_vault.session.lifetime import LeaseStep, TokenLease, after_failure, next_step, renewed_lease
from strongroom_vault.session.tokens import ActiveToken

_ROUNDING = 0.5
"""The server rounds the rest of a lease to seconds, so the lease may end this many seconds earlier."""


@dataclass(slots=True, eq=False)
class IssuedCredentials:
    """Credentials for one path. Times are in a clock's seconds.

    Attributes:
        lease_id: the lease, for renewal and revocation; empty for a certificate, a token or a key without one.
        data: user name, password and further keys of the engine.
        lease: its life; renewals replace it.
        token: the token that requested the lease, which ends with it; None without a lease.
        used: when the credentials were read last.
        fixed: a read before its end brings the same: the password of a static role.
    """

    lease_id: str = field(repr=False)
    data: SensitiveDict = field(repr=False)
    lease: TokenLease
    token: ActiveToken | None = field(repr=False)
    used: float
    fixed: bool = False
    _renewals_failed: int = 0
    _renew_after: float = -math.inf
    _replacements_failed: int = 0
    _replace_after: float = -math.inf
    _rounded: float = 0.0

    @property
    def ends(self) -> float:
        """When the credentials stop working, or slightly earlier."""
        token = None if self.token is None else self.token.lease
        return min(self.lease.ends - self._rounded, math.inf if token is None else token.ends)

    @property
    def serves_until(self) -> float:
        """When reads stop returning these credentials, and create new ones while these still work.

        The last part of a lease is a reserve for the replacement, and so is the rest of it after a renewal that failed
        or brought less than a full lease.
        """
        if self.fixed:
            return self.ends
        step, at = next_step(self.lease) or (LeaseStep.WARN, math.inf)
        due = at if step is LeaseStep.LOGIN else self.lease.ends - self.lease.grace
        return min(self.ends, max(self.lease.began if self._renewals_failed else due, self._replace_after))

    def is_used(self, now: float) -> bool:
        """Return True if they were read since the last renewal, or within the length of one lease."""
        return self.used >= self.lease.began or now - self.used <= self.lease.ttl

    def renewal(self, now: float) -> float | None:
        """Return when to renew, which may be past; None if they are over or not renewable."""
        step = next_step(self.lease)
        if step is None or step[0] is not LeaseStep.RENEW or now >= self.ends:
            return None
        return max(step[1], self._renew_after)

    def renewed(self, began: float, ttl: float, draw: float, *, renewable: bool) -> None:
        """Record a renewal that brought `ttl` seconds."""
        self.lease = renewed_lease(self.lease, began, ttl, draw, renewable=renewable)
        self._renewals_failed, self._renew_after, self._rounded = 0, -math.inf, _ROUNDING

    def renewal_failed(self, now: float) -> None:
        """Record a failed renewal. It is tried again if there is time; a read before that creates new credentials."""
        self._renewals_failed += 1
        step, at = after_failure(self.lease, LeaseStep.RENEW, now, self._renewals_failed) or (LeaseStep.LOGIN, now)
        if step is LeaseStep.LOGIN:
            self.end_renewals()
        self._renew_after = at

    def end_renewals(self) -> None:
        """Record that no renewal will extend the lease."""
        self.lease = replace(self.lease, renewable=False, capped=True)

    def replacement_failed(self, now: float) -> None:
        """Record that no new credentials could be created. These go on to serve reads, until the next attempt."""
        self._replacements_failed += 1
        following = after_failure(self.lease, LeaseStep.LOGIN, now, self._replacements_failed)
        self._replace_after = self.ends if following is None else following[1]
