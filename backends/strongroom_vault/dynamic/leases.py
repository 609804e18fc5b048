"""What is known of credentials that an engine made, and what follows for who reads them and who renews them. Pure.

A lease lives as a token does, so that `lifetime` says when it is to be renewed, and when another one is to be had.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from strongroom.secret import SensitiveDict
from strongroom_vault.session.lifetime import Lease, Step, after_failure, next_step, renewed
from strongroom_vault.session.tokens import Held

_ROUNDING = 0.5
"""The server tells what is left of a lease to the nearest second: so many seconds later than its end at most."""


@dataclass(slots=True, eq=False)
class Credentials:
    """What the engine made for one path. Times are in a clock's seconds.

    Attributes:
        lease_id: what it is renewed and revoked by; empty for a password that is rotated, and not leased.
        data: user name, password and whatever else the engine gives.
        life: how long it lives; renewals replace it.
        token: the one that it hangs on, since a lease ends with the token that asked for it.
        used: when it was read last.
    """

    lease_id: str = field(repr=False)
    data: SensitiveDict = field(repr=False)
    life: Lease
    token: Held | None = field(repr=False)
    used: float
    _renewals_failed: int = 0
    _renew_after: float = -math.inf
    _replacements_failed: int = 0
    _replace_after: float = -math.inf
    _rounded: float = 0.0

    @property
    def ends(self) -> float:
        """When the server lets it in no more, or somewhat before that."""
        token = None if self.token is None else self.token.lease
        return min(self.life.ends - self._rounded, math.inf if token is None else token.ends)

    @property
    def serves_until(self) -> float:
        """Until when reads are answered with it; from then on a read asks for others, while this one still lives.

        Who gets it near its end would be badly served: the last part of a lease is there to get others in, and so is
        all that is left after a renewal that failed or brought less than it should.
        """
        if not self.lease_id:
            return self.ends
        step, at = next_step(self.life) or (Step.WARN, math.inf)
        due = at if step is Step.LOGIN else self.life.ends - self.life.grace
        return min(self.ends, max(self.life.began if self._renewals_failed else due, self._replace_after))

    def is_used(self, now: float) -> bool:
        """Whether somebody has read it since the last renewal, or within the time that a renewal brings."""
        return self.used >= self.life.began or now - self.used <= self.life.ttl

    def renewal(self, now: float) -> float | None:
        """When it is to be renewed, which may be past; None where it is not: it cannot be, or it is over."""
        step = next_step(self.life)
        if step is None or step[0] is not Step.RENEW or now >= self.ends:
            return None
        return max(step[1], self._renew_after)

    def renewed(self, began: float, ttl: float, draw: float, *, renewable: bool) -> None:
        """A renewal has brought so many seconds, as `lifetime.renewed` has it."""
        self.life = renewed(self.life, began, ttl, draw, renewable=renewable)
        self._renewals_failed, self._renew_after, self._rounded = 0, -math.inf, _ROUNDING

    def not_renewed(self, now: float) -> None:
        """A renewal failed: it is tried again while there is time, and a read before that gets others."""
        self._renewals_failed += 1
        step, at = after_failure(self.life, Step.RENEW, now, self._renewals_failed) or (Step.LOGIN, now)
        if step is Step.LOGIN:
            self.is_last()
        self._renew_after = at

    def is_last(self) -> None:
        """Nothing lengthens its life any more."""
        self.life = replace(self.life, renewable=False, capped=True)

    def not_replaced(self, now: float) -> None:
        """No others could be had: while this one lives it goes on to serve, and they are asked for again later."""
        self._replacements_failed += 1
        following = after_failure(self.life, Step.LOGIN, now, self._replacements_failed)
        self._replace_after = self.ends if following is None else following[1]
