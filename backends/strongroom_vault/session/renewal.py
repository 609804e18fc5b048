"""Care for the token in use, one step at a time: lookup, renewal, replacement, or a warning before its end."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from strongroom.errors import StoreError
from strongroom.store import remaining, time_limit
from strongroom.store.process import random_factor
from strongroom_vault.auth import Send
from strongroom_vault.http.hvac_adapter import requests
from strongroom_vault.responses import document, member, renewed_life
from strongroom_vault.session.lifetime import (
    LEAST_PAUSE,
    LeaseStep,
    TokenLease,
    after_failure,
    is_half_gone,
    new_lease,
    next_step,
    renewed_lease,
    retry_pause,
)
from strongroom_vault.session.token_check import TokenCheck
from strongroom_vault.session.tokens import ActiveToken, Tokens

logger = logging.getLogger("strongroom.vault")

_LOOKUP = "auth/token/lookup-self"
_RENEW = "auth/token/renew-self"
"""Names of refused requests, for `TokenCheck`."""

_FIRST_LOOKUP = 1.0
"""Seconds from a token's first use to the lookup of its life, if that is unknown. Its lease may be a few seconds long.
A process that ends sooner looks it up at its end."""

_BATCH = ("hvb.", "b.")
"""Prefixes of batch tokens, which are never renewed, of HashiCorp Vault and of OpenBao."""

_FINISH_LIMIT = 2.0
"""How long the end of a process may take for its token, in seconds."""

_STEP_LIMIT = 10.0
"""How long one step may take, in seconds: longer than the election of a leader."""


class Renewal:
    """Keeps the active token of `tokens` alive."""

    def __init__(
        self,
        tokens: Tokens,
        token_check: TokenCheck,
        location: str,
        *,
        clock: Callable[[], float],
        draw: Callable[[], float] = random_factor,
    ) -> None:
        self._tokens = tokens
        self._token_check = token_check
        self._location = location
        self._clock = clock
        self._draw = draw
        self._active: ActiveToken | None = None
        self._next: tuple[LeaseStep, float] | None = None
        self._failures = 0
        self._denied = False

    @staticmethod
    def has_work(active: ActiveToken) -> bool:
        """Return True if this token needs, or may need, a step."""
        if active.token is None:
            return False
        return active.lease is None or next_step(active.lease) is not None

    def turn(self, send: Send) -> float | None:
        """Take the step that is due; return the seconds until the next call, None if no step will follow."""
        active = self._tokens.active
        if active is None or active.token is None:
            return None
        if active is not self._active:
            self._begin(active)
        if self._next is not None and self._clock() >= self._next[1]:
            step, self._next = self._next[0], None
            with time_limit(_STEP_LIMIT):
                self._take(send, step, active)
        if self._tokens.active is not self._active:
            return LEAST_PAUSE  # another thread has logged in meanwhile
        return None if self._next is None else max(LEAST_PAUSE, self._next[1] - self._clock())

    def finish(self, send: Send) -> None:
        """Renew a token that is used for the last time and was not looked up yet, if less than half of it is left.

        A login tells the life of its token, which is revoked or replaced: only a token that was given is looked up,
        unless it is a batch token.
        """
        active = self._tokens.active
        if active is None or active.token is None or active.lease is not None or not active.accepted:
            return
        if active.token.startswith(_BATCH):
            return
        with time_limit(min(remaining(), _FINISH_LIMIT)), suppress(StoreError):
            began = self._clock()
            reply = send(requests().token.lookup_self(), token=active.token)
            life = member(document(reply), "data") if reply.status == 200 else None
            if life is not None and is_half_gone(lease := self._looked_up(life, began)):
                active.lease = lease
                self._take(send, LeaseStep.RENEW, active)

    def _begin(self, active: ActiveToken) -> None:
        self._active, self._failures = active, 0
        if active.lease is None:
            self._next = LeaseStep.LOOK_UP, active.requested_at + _FIRST_LOOKUP
        else:
            self._follow(active, active.lease)

    def _follow(self, active: ActiveToken, lease: TokenLease, why: str = "") -> None:
        """Record the token's lease, and plan the next step. `why` is the reason if the server does not renew it."""
        if self._denied and lease.renewable:
            lease = replace(lease, renewable=False)
        before, active.lease = active.lease, lease
        self._failures = 0
        if lease.is_final and not (before is not None and before is not lease and before.is_final):
            self._warn(f"cannot be renewed{why and f', since {why}'}", lease)
        elif why:
            logger.warning("The token of %s is replaced, and not renewed, since %s", self._location, why)
        self._next = next_step(lease)

    def _take(self, send: Send, step: LeaseStep, active: ActiveToken) -> None:
        try:
            match step:
                case LeaseStep.LOOK_UP:
                    self._look_up(send, active)
                case LeaseStep.RENEW:
                    self._renew(send, active)
                case LeaseStep.LOGIN:
                    self._log_in(send, active)
                case LeaseStep.WARN:
                    if active.lease is not None:
                        self._warn("is at the end of its life", active.lease)
        except StoreError as error:
            self._failed(step, active, error.reason or error.summary)
        except Exception as error:  # noqa: BLE001  # after any failure, the thread lives on
            self._failed(step, active, type(error).__name__)

    # --- the steps ----------------------------------------------------------------------------------------------------

    def _look_up(self, send: Send, active: ActiveToken) -> None:
        began = self._clock()
        reply = send(requests().token.lookup_self(), token=active.token)
        if reply.status == 200:
            life = member(document(reply), "data")
            if life is None:
                self._failed(LeaseStep.LOOK_UP, active, "the reply is not Vault's")
            else:
                lease = self._looked_up(life, began)
                self._follow(active, lease)
                if active.lease is lease and is_half_gone(lease):
                    self._take(send, LeaseStep.RENEW, active)
        elif reply.status == 403 and self._token_check.is_good(send, active, _LOOKUP):
            # A policy may allow renewal without lookup, and a renewal tells the life that it gives.
            self._renew(send, active)
        elif reply.status != 403:
            self._failed(LeaseStep.LOOK_UP, active, f"HTTP {reply.status}")

    def _looked_up(self, life: Mapping[str, Any], began: float) -> TokenLease:
        left, full_ttl, period = (_seconds(life.get(name)) for name in ("ttl", "creation_ttl", "period"))
        if life.get("expire_time") is not None:
            left = max(left, 1.0)  # 0 would stand for a token that never expires
        # Each renewal would spend a use.
        counted = bool(_seconds(life.get("num_uses")))
        return new_lease(
            began,
            left,
            self._draw(),
            renewable=life.get("renewable") is True and not counted,
            repeatable=self._tokens.repeatable,
            full_ttl=period or full_ttl,
        )

    def _renew(self, send: Send, active: ActiveToken) -> None:
        lease, began = active.lease, self._clock()
        reply = send(requests().token.renew_self(), token=active.token, idempotent=True)
        if reply.status == 200:
            life = renewed_life(reply)
            if life is None:
                self._failed(LeaseStep.RENEW, active, "the reply is not Vault's")
                return
            ttl, renewable = life
            if lease is None:
                repeatable = self._tokens.repeatable
                lease = new_lease(began, ttl, self._draw(), renewable=renewable, repeatable=repeatable)
            else:
                lease = renewed_lease(lease, began, ttl, self._draw(), renewable=renewable)
            logger.debug("The token of %s was renewed for %s s", self._location, ttl)
            self._follow(active, lease)
        elif reply.status == 403 and not self._token_check.is_good(send, active, _RENEW):
            self._dead()
        elif reply.status in {400, 403}:
            self._unrenewable(active, denied=reply.status == 403)
        else:
            self._failed(LeaseStep.RENEW, active, f"HTTP {reply.status}")

    def _unrenewable(self, active: ActiveToken, *, denied: bool) -> None:
        """Record that this token is not renewable, or that its policies do not allow it."""
        self._denied = denied
        why = "its policies do not allow auth/token/renew-self" if denied else "the server refuses to (HTTP 400)"
        if active.lease is None:
            logger.warning(
                "How long the token of %s lives is not known, and it is not renewed, since %s", self._location, why
            )
        else:
            self._follow(active, replace(active.lease, renewable=False, capped=True), why)

    def _dead(self) -> None:
        if self._tokens.repeatable:
            self._next = LeaseStep.LOGIN, self._clock()
        else:
            logger.warning(
                "The token of %s was not renewed: the server does not accept it any more. Give the store a new one",
                self._location,
            )

    def _log_in(self, send: Send, active: ActiveToken) -> None:
        new = self._tokens.replacement(send, active)
        if new is not active:
            logger.debug("The token of %s was replaced by a new login's", self._location)
            self._begin(new)
        else:
            self._failed(LeaseStep.LOGIN, active, "a login gives the same token again")

    # --- failures ---

    def _failed(self, step: LeaseStep, active: ActiveToken, reason: str) -> None:
        self._failures += 1
        at, lease = self._clock(), active.lease
        if lease is None:
            self._next = step, at + retry_pause(self._failures)
            logger.info("The token of %s was not looked up: %s", self._location, reason)
            return
        following = after_failure(lease, step, at, self._failures)
        if following is not None:
            following = following[0], max(following[1], self._tokens.backoff_until)
        self._next = following
        what = "renewed" if step is LeaseStep.RENEW else "replaced by a new login"
        logger.warning(
            "The token of %s was not %s: %s. %s", self._location, what, reason, _outlook(lease.ends - at, following, at)
        )

    def _warn(self, what: str, lease: TokenLease) -> None:
        logger.warning(
            "The token of %s %s: it expires in %.0f s. Give the store a new one, or an auth method that can log in",
            self._location,
            what,
            max(0.0, lease.ends - self._clock()),
        )


def _outlook(left: float, following: tuple[LeaseStep, float] | None, at: float) -> str:
    if left <= 0:
        return "It has expired"
    if following is None:
        return f"It expires in {left:.0f} s"
    return f"It expires in {left:.0f} s, and is tried again in {max(LEAST_PAUSE, following[1] - at):.1f} s"


def _seconds(value: object) -> float:
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else 0.0
