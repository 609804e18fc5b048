"""What is done for the token in use, one step at a time: looked up, renewed, replaced, or its end foretold."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from strongroom.errors import StoreError
from strongroom.store import time_limit
from strongroom_vault.http.hvac_adapter import ApiRequest
from strongroom_vault.http.sender import Sender
from strongroom_vault.responses import document, member
from strongroom_vault.session.lifetime import (
    LEAST_PAUSE,
    Lease,
    Step,
    after_failure,
    granted,
    next_step,
    renewed,
    retry_pause,
)
from strongroom_vault.session.token_check import LOOKUP, Verdicts
from strongroom_vault.session.tokens import Held, Tokens

logger = logging.getLogger("strongroom.vault")

RENEW = "/v1/auth/token/renew-self"

_FIRST_LOOK = 1.0
"""A token whose life is not known is looked up so many seconds after its first use: its lease may be of a few. A
process that ends sooner need not know, and a lookup spends one of the token's uses, where they are counted."""

_STEP_LIMIT = 5.0
"""How long one step may take, in seconds."""


class Renewal:
    """Looks after the token that `tokens` holds.

    Args:
        tokens: holds it.
        sender: sends the requests.
        verdicts: tells a bad token from one whose policies do not let it renew itself.
        place: mount, namespace and address in words, for warnings.
        clock: seconds that never go back.
        draw: a random number from 0 to 1.
    """

    def __init__(
        self,
        tokens: Tokens,
        sender: Sender,
        verdicts: Verdicts,
        place: str,
        *,
        clock: Callable[[], float],
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._tokens = tokens
        self._sender = sender
        self._verdicts = verdicts
        self._place = place
        self._clock = clock
        self._draw = draw
        self._held: Held | None = None
        self._next: tuple[Step, float] | None = None
        self._failures = 0
        self._denied = False

    @staticmethod
    def has_work(held: Held) -> bool:
        """Whether there is, or may be, something to do for this token."""
        if held.token is None:
            return False
        return held.lease is None or next_step(held.lease) is not None

    def turn(self) -> float | None:
        """Does what is due; returns after how many seconds to be called again, None where nothing is left to do."""
        held = self._tokens.held
        if held is None or held.token is None:
            return None
        if held is not self._held:
            self._begin(held)
        if self._next is not None and self._clock() >= self._next[1]:
            step, self._next = self._next[0], None
            with time_limit(_STEP_LIMIT):
                self._take(step, held)
        if self._tokens.held is not self._held:
            return LEAST_PAUSE  # somebody else has logged in meanwhile
        return None if self._next is None else max(LEAST_PAUSE, self._next[1] - self._clock())

    def _begin(self, held: Held) -> None:
        self._held, self._failures = held, 0
        if held.lease is None:
            self._next = Step.LOOK_UP, held.since + _FIRST_LOOK
        else:
            self._follow(held, held.lease)

    def _follow(self, held: Held, lease: Lease, why: str = "") -> None:
        """Takes this for the token's lease, and plans what comes next.

        Args:
            held: the token.
            lease: what is known of its life now.
            why: what the server says against a renewal, in words.
        """
        if self._denied and lease.renewable:
            lease = replace(lease, renewable=False)
        before, held.lease = held.lease, lease
        self._failures = 0
        if lease.is_final and not (before is not None and before is not lease and before.is_final):
            self._warn(f"cannot be renewed{why and f', since {why}'}", lease)
        elif why:
            logger.warning("The token of %s is replaced, and not renewed, since %s", self._place, why)
        self._next = next_step(lease)

    def _take(self, step: Step, held: Held) -> None:
        try:
            match step:
                case Step.LOOK_UP:
                    self._look_up(held)
                case Step.RENEW:
                    self._renew(held)
                case Step.LOGIN:
                    self._log_in(held)
                case Step.WARN:
                    if held.lease is not None:
                        self._warn("is at the end of its life", held.lease)
        except StoreError as error:
            self._failed(step, held, error.reason or error.summary)
        except Exception as error:  # noqa: BLE001  # a method of somebody else's may raise anything, and the thread lives on
            self._failed(step, held, type(error).__name__)

    # --- the steps ----------------------------------------------------------------------------------------------------

    def _look_up(self, held: Held) -> None:
        began = self._clock()
        reply = self._sender.send(ApiRequest("GET", LOOKUP), token=held.token)
        if reply.status == 200:
            life = member(document(reply), "data")
            if life is None:
                self._failed(Step.LOOK_UP, held, "the answer is not Vault's")
            else:
                self._follow(held, self._looked_up(life, began))
        elif reply.status == 403 and self._verdicts.is_good(held, LOOKUP):
            # The policy `default` allows both, and so may another: a renewal tells the life that it gives.
            self._renew(held)
        elif reply.status != 403:
            self._failed(Step.LOOK_UP, held, f"HTTP {reply.status}")

    def _looked_up(self, life: Mapping[str, Any], began: float) -> Lease:
        left, whole, period = (_seconds(life.get(name)) for name in ("ttl", "creation_ttl", "period"))
        if life.get("expire_time") is not None:
            left = max(left, 1.0)  # one that is about to end is not one without an end
        # Each renewal would spend a use, and the token ends with its uses.
        counted = bool(_seconds(life.get("num_uses")))
        return granted(
            began,
            left,
            self._draw(),
            renewable=life.get("renewable") is True and not counted,
            repeatable=self._tokens.repeatable,
            whole=period or whole,
        )

    def _renew(self, held: Held) -> None:
        lease, began = held.lease, self._clock()
        reply = self._sender.send(ApiRequest("POST", RENEW, {}), token=held.token, idempotent=True)
        if reply.status == 200:
            auth = member(document(reply), "auth")
            ttl = None if auth is None else auth.get("lease_duration")
            if auth is None or not isinstance(ttl, int) or isinstance(ttl, bool) or ttl < 0:
                self._failed(Step.RENEW, held, "the answer is not Vault's")
                return
            renewable = auth.get("renewable") is True
            if lease is None:
                repeatable = self._tokens.repeatable
                lease = granted(began, ttl, self._draw(), renewable=renewable, repeatable=repeatable)
            else:
                lease = renewed(lease, began, ttl, self._draw(), renewable=renewable)
            logger.debug("The token of %s was renewed for %s s", self._place, ttl)
            self._follow(held, lease)
        elif reply.status == 403 and not self._verdicts.is_good(held, RENEW):
            self._dead()
        elif reply.status in {400, 403}:
            self._unrenewable(held, denied=reply.status == 403)
        else:
            self._failed(Step.RENEW, held, f"HTTP {reply.status}")

    def _unrenewable(self, held: Held, *, denied: bool) -> None:
        """The server does not renew this token: it is not of that kind, or its policies do not allow it."""
        self._denied = denied
        why = "its policies do not allow auth/token/renew-self" if denied else "the server refuses to (HTTP 400)"
        if held.lease is None:
            logger.warning(
                "How long the token of %s lives is not known, and it is not renewed, since %s", self._place, why
            )
        else:
            self._follow(held, replace(held.lease, renewable=False, capped=True), why)

    def _dead(self) -> None:
        if self._tokens.repeatable:
            self._next = Step.LOGIN, self._clock()
        else:
            logger.warning(
                "The token of %s was not renewed: the server does not accept it any more. Give the store a new one",
                self._place,
            )

    def _log_in(self, held: Held) -> None:
        new = self._tokens.another(held)
        if new is held:
            self._failed(Step.LOGIN, held, "a login gives the same token again")
        else:
            logger.debug("The token of %s was replaced by a new login's", self._place)
            self._begin(new)

    # --- what goes wrong ----------------------------------------------------------------------------------------------

    def _failed(self, step: Step, held: Held, reason: str) -> None:
        self._failures += 1
        at, lease = self._clock(), held.lease
        if lease is None:
            self._next = step, at + retry_pause(self._failures)
            logger.info("The token of %s was not looked up: %s", self._place, reason)
            return
        following = after_failure(lease, step, at, self._failures)
        if following is not None:
            following = following[0], max(following[1], self._tokens.held_back_until)
        self._next = following
        what = "renewed" if step is Step.RENEW else "replaced by a new login"
        logger.warning(
            "The token of %s was not %s: %s. %s", self._place, what, reason, _outlook(lease.ends - at, following, at)
        )

    def _warn(self, what: str, lease: Lease) -> None:
        logger.warning(
            "The token of %s %s: it expires in %.0f s. Give the store a new one, or an auth method that can log in",
            self._place,
            what,
            max(0.0, lease.ends - self._clock()),
        )


def _outlook(left: float, following: tuple[Step, float] | None, at: float) -> str:
    if left <= 0:
        return "It has expired"
    if following is None:
        return f"It expires in {left:.0f} s"
    return f"It expires in {left:.0f} s, and is tried again in {max(LEAST_PAUSE, following[1] - at):.1f} s"


def _seconds(value: object) -> float:
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else 0.0
