"""The token in use: had at first use, by one login for all who wait, and given back at the end."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from strongroom.errors import StoreError, StoreUnavailableError, StrongroomError, WriteOutcomeUnknownError
from strongroom.secret import SensitiveStr
from strongroom.store import remaining, time_limit
from strongroom_vault.auth import Auth, Grant
from strongroom_vault.errors import VaultConnectionError
from strongroom_vault.http.hvac_adapter import ApiRequest
from strongroom_vault.http.sender import Sender
from strongroom_vault.session.lifetime import Lease, granted
from strongroom_vault.session.login_backoff import Restraint

logger = logging.getLogger("strongroom.vault")

REVOKE = "/v1/auth/token/revoke-self"

_DENIED_LOGIN = 60.0
"""At least this lies between two logins, in seconds, where it is not known that the token was ever good."""

_DEAD_LOGIN = 0.5
"""The same, where the token was good once and is so no more."""

_REVOKE_LIMIT = 2.0
_RETIRED = 4


@dataclass(slots=True, eq=False)
class Held:
    """A token that requests are sent with.

    Attributes:
        token: itself; None where an Agent puts its own into each request.
        ours: this process logged in for it, and gives it back.
        since: when it was asked for.
        lease: its life, as far as it is known; renewals replace it.
        proved: the server has accepted it.
        uses: for how many more requests it is good; None where they are not counted.
        ended: it was revoked, or was found to be no good any more at the end.
    """

    token: SensitiveStr | None = field(repr=False)
    ours: bool
    since: float
    lease: Lease | None
    proved: bool = False
    uses: int | None = None
    ended: bool = False


_Flight: TypeAlias = "Future[Held | StrongroomError | None]"


class Tokens:
    """Holds the token of one session, and logs in for it.

    Args:
        auth: how to log in.
        sender: sends the requests of logins.
        restraint: holds back logins while they fail.
        clock: seconds that never go back.
        draw: a random number from 0 to 1.
    """

    def __init__(
        self,
        auth: Auth,
        sender: Sender,
        restraint: Restraint,
        *,
        clock: Callable[[], float],
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._auth = auth
        self._sender = sender
        self._restraint = restraint
        self._clock = clock
        self._draw = draw
        self._held: Held | None = None
        self._retired: list[Held] = []
        self._tried: float | None = None
        self._closed = False
        self._unlock()

    def _unlock(self) -> None:
        self._lock = threading.Lock()
        self._flight: _Flight | None = None

    @property
    def held(self) -> Held | None:
        """The token in use; None before the first login and after `close`."""
        return self._held

    @property
    def repeatable(self) -> bool:
        """Whether another login may give another token."""
        return self._auth.repeatable

    @property
    def held_back_until(self) -> float:
        """Until when no login is tried, since the last one failed; past where it did not."""
        return self._restraint.until

    def current(self, *, counted: bool = True) -> Held:
        """The token to send with one request, from a login where there is none, or where the one in use is over.

        Args:
            counted: whether the request spends one of the token's uses.

        Raises:
            VaultAuthenticationError, ConfigurationError, StoreUnavailableError: as `Auth.login` does.
            StoreError: it is closed.
        """
        while True:
            held = self._held
            if held is None or self.is_over(held):
                held = self.another(held)
            if not counted or self._spend(held):
                return held

    def _spend(self, held: Held) -> bool:
        """Whether it is good for one request more, which is counted."""
        with self._lock:
            if held.uses is not None:
                held.uses -= 1
            return held.uses is None or held.uses >= 0

    def may_replace(self, held: Held) -> bool:
        """Whether a refusal of this token may lead to a login: at most once a minute where it may be a mere denial."""
        if not self._auth.repeatable:
            return False
        with self._lock:
            if self._held is not held or self._flight is not None:
                return True  # by a login that somebody else has made, or is making
        if held.proved and held.uses is not None:
            return True  # its uses are over early where a request was sent again, which is counted once
        since = self._clock() - (self._tried or held.since)
        return since >= (_DEAD_LOGIN if held.proved else _DENIED_LOGIN) or self.is_over(held)

    def is_over(self, held: Held) -> bool:
        """Whether it has expired or its uses are spent, and a login may give another."""
        if held.uses is not None and held.uses <= 0:
            return self._auth.repeatable
        lease = held.lease
        return lease is not None and lease.repeatable and self._clock() >= lease.ends

    def another(self, held: Held | None) -> Held:
        """The token that has taken this one's place, from a login where none has yet.

        It is the same one again where a login gives no other: a file that has not been rewritten.

        Raises:
            VaultAuthenticationError, ConfigurationError, StoreUnavailableError: as `Auth.login` does, and as the last
                one did that failed, where that was just now.
            StoreError: it is closed.
        """
        while True:
            with self._lock:
                if self._closed:
                    raise _closed()
                if self._held is not None and self._held is not held:
                    return self._held
                flight, mine = self._flight, self._flight is None
                if flight is None:
                    self._restraint.check()
                    flight = self._flight = Future()
            outcome = self._log_in(flight, held) if mine else self._join(flight)
            if isinstance(outcome, Held):
                return outcome
            if outcome is not None:
                raise outcome
            # The one who was logging in had no time left. Those who have some go on without it.
            if remaining() <= 0:
                raise StoreUnavailableError(reason="no time was left to log in")

    def _join(self, flight: _Flight) -> Held | StrongroomError | None:
        try:
            outcome = flight.result(timeout=remaining())
        except TimeoutError:
            return StoreUnavailableError(reason="the login that is under way takes too long")
        return outcome.copy() if isinstance(outcome, StrongroomError) else outcome

    def _log_in(self, flight: _Flight, held: Held | None) -> Held | StrongroomError | None:
        """Logs in, for all who wait for the flight. What went wrong comes without the frames that had credentials.

        That the time of who logs in was over is for that one alone.
        """
        outcome: Held | StrongroomError | None = None
        failure: StrongroomError | None = None
        began = self._tried = self._clock()
        try:
            outcome = self._taken(self._auth.login(self._sender.send), began, held)
            self._restraint.succeeded()
        except StrongroomError as error:
            failure = _plain(error)
            if not isinstance(error, StoreUnavailableError) or remaining() > 0:
                outcome = failure
                if not self._closed:  # else that broke it off, which says nothing of the credentials
                    self._restraint.failed(failure)
        finally:
            with self._lock:
                self._flight = None
            flight.set_result(outcome)
        return outcome or failure

    def _taken(self, grant: Grant, began: float, held: Held | None) -> Held:
        """What a login gave becomes the token in use."""
        if held is not None and held.token == grant.token:
            return held
        lease = None
        if grant.ttl is not None:
            lease = granted(began, grant.ttl, self._draw(), renewable=grant.renewable, repeatable=self._auth.repeatable)
        new = Held(grant.token, grant.ours, began, lease, uses=grant.uses)
        with self._lock:
            closed = self._closed
            if not closed:
                self._held = new
        if closed:
            self._revoke(new)
            raise _closed()
        if held is not None and held.ours and (held.uses is None or held.uses > 0):
            self._retire(held)
        return new

    # --- the end ------------------------------------------------------------------------------------------------------

    def close(self) -> list[Held]:
        """Forgets the token, and revokes what logins of this process gave; returns what the server refused to."""
        with self._lock:
            if self._closed:
                return []
            self._closed = True
            flight, held, retired = self._flight, self._held, self._retired
            self._held, self._retired = None, []
        if flight is not None:
            self._join(flight)
        return [token for token in [*retired, *([] if held is None else [held])] if not self._revoke(token)]

    def reset(self) -> None:
        """What a fork's child does first: it logs in for itself where it can, and never revokes its parent's token."""
        self._unlock()
        self._retired = []
        if self._auth.repeatable:
            self._held = None
        elif self._held is not None:
            self._held = replace(self._held, ours=False)

    def _retire(self, held: Held) -> None:
        """Keeps the token to be revoked at the end: requests that are under way have it, and leases hang on it."""
        with self._lock:
            living = [old for old in self._retired if old.lease is None or self._clock() < old.lease.ends]
            self._retired = [*living, held]
            oldest = self._retired.pop(0) if len(self._retired) > _RETIRED else None
        if oldest is not None:
            self._revoke(oldest)

    def _revoke(self, held: Held) -> bool:
        """Revokes the token, where it is ours and lives. False where the server refuses it."""
        if not held.ours or held.token is None:
            return True
        if held.uses == 0 or (held.lease is not None and self._clock() >= held.lease.ends):
            held.ended = True
            return True
        try:
            with time_limit(_REVOKE_LIMIT):
                reply = self._sender.send(ApiRequest("POST", REVOKE, {}), token=held.token, idempotent=True)
        except StoreError as error:
            logger.info("A token %s was not revoked: %s", self._sender.location, error.reason)
            return True
        held.ended = reply.status in {200, 204}
        if not held.ended and reply.status != 403:
            logger.info("A token %s was not revoked: HTTP %s", self._sender.location, reply.status)
        return reply.status != 403


def _plain(error: StrongroomError) -> StrongroomError:
    """The error without its frames. A login whose answer was lost has changed nothing that the caller asked for."""
    if isinstance(error, WriteOutcomeUnknownError):
        return VaultConnectionError(reason=error.reason)
    return error.copy()


def _closed() -> StoreError:
    return StoreError(reason="it is closed", hint="Open a new one")
