"""The token of a session: one login for all threads at first use, replacement, and revocation at the end."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import dataclass, field, replace
from weakref import WeakMethod

from strongroom.errors import StoreError, StoreUnavailableError, StrongroomError, WriteOutcomeUnknownError
from strongroom.secret import SensitiveStr
from strongroom.store import fork_safe_lock, in_daemon, remaining, time_limit
from strongroom.store.deadline import fail_fast
from strongroom.store.process import call_at_exit, random_factor
from strongroom_vault.auth import Auth, Grant, Send
from strongroom_vault.errors import VaultConnectionError
from strongroom_vault.http.messages import Reply
from strongroom_vault.session.lifetime import TokenLease, new_lease
from strongroom_vault.session.login_backoff import LoginBackoff

logger = logging.getLogger("strongroom.vault")

REVOKE = "auth/token/revoke-self"

_DENIED_LOGIN = 60.0
"""Least time between two logins, in seconds, while the server has accepted no request with the token."""

_DEAD_LOGIN = 0.5
"""The same for a token that the server has accepted before."""

_REVOKE_LIMIT = 2.0
"""How long a revocation may take, in seconds, if the login took little time."""

_TIMES_LOGIN = 10
"""The same, as a multiple of the time of the login: on an overloaded machine, everything takes seconds."""

_MOST_RETIRED = 4

_MOST_DROPPED = 32
"""For how many sessions that were dropped without `close` the token is kept, with the connection to revoke it on. The
tokens of those that were dropped before expire by themselves."""


@dataclass(slots=True, eq=False)
class ActiveToken:
    """A token that requests are sent with.

    Attributes:
        token: the token; None if a Vault Agent puts its token into each request.
        revocable: a login of this process made it, so that this process revokes it.
        requested_at: when its login began.
        lease: its life, as far as it is known; renewals replace it.
        accepted: the server has accepted a request with it.
        ended: it was revoked, or was no longer valid when the session was closed.
        refused: the server refused to revoke it.
        took: the duration of its login, in seconds.
    """

    token: SensitiveStr | None = field(repr=False)
    revocable: bool
    requested_at: float
    lease: TokenLease | None
    accepted: bool = False
    ended: bool = False
    refused: bool = False
    took: float = 0.0


class _Flight(Future["ActiveToken | StrongroomError | None"]):
    """A login that all threads wait for.

    Attributes:
        outcome: the result for the others; None if the leader's time was over, or it was interrupted.
    """

    def __init__(self) -> None:
        super().__init__()
        self.outcome: ActiveToken | StrongroomError | None = None


class Tokens:
    """Holds the token of one session, and logs in for it.

    Args:
        auth: how to log in.
        revoke: revokes a token. It must not refer to the session, whose tokens are revoked after it was dropped too.
        backoff: delays logins after failures.
        location: namespace and addresses of the server, for messages.
        clock: seconds that never go back.
        draw: returns a random number from 0 to 1.

    Attributes:
        active: the token in use; None before the first login and after `close`.
        owner: the `close` of the session, or of the store that has leases to revoke first.
    """

    owner: WeakMethod[Callable[[], None]] | None = None

    def __init__(
        self,
        auth: Auth,
        revoke: Callable[[SensitiveStr], Reply],
        backoff: LoginBackoff,
        location: str,
        *,
        clock: Callable[[], float],
        draw: Callable[[], float] = random_factor,
    ) -> None:
        self._auth = auth
        self._send_revocation = revoke
        self._backoff = backoff
        self.location = location
        self._clock = clock
        self._draw = draw
        self.active: ActiveToken | None = None
        self._retired: list[ActiveToken] = []
        self._last_login: float | None = None
        self._ending: list[ActiveToken] = []
        self._closed = False
        self._lock = fork_safe_lock(self, "_lock")
        self._flight: _Flight | None = None

    @property
    def repeatable(self) -> bool:
        """Whether another login may give another token."""
        return self._auth.repeatable

    @property
    def backoff_until(self) -> float:
        """When the backoff after a failed login ends; in the past if the last login succeeded."""
        return self._backoff.until

    def current(self, send: Send) -> ActiveToken:
        """Return the token in use. Log in first if the session has no token, or if its token is over.

        Args:
            send: sends the requests of a login.

        Raises:
            VaultAuthenticationError, ConfigurationError, StoreUnavailableError: see `Auth.login`.
            StoreError: the session is closed.
        """
        active = self.active
        if active is None or self.is_over(active):
            return self.replacement(send, active)
        return active

    def may_replace(self, active: ActiveToken) -> bool:
        """Return True if a refusal of this token may lead to a login: once a minute if it may be a mere denial."""
        if not self._auth.repeatable:
            return False
        with self._lock:
            if self.active is not active or self._flight is not None:
                return True  # by the login of another thread
        since = self._clock() - (self._last_login or active.requested_at)
        return since >= (_DEAD_LOGIN if active.accepted else _DENIED_LOGIN) or self.is_over(active)

    def is_over(self, active: ActiveToken) -> bool:
        """Return True if it has expired, and a login may give another."""
        lease = active.lease
        return lease is not None and lease.repeatable and self._clock() >= lease.ends

    def replacement(self, send: Send, active: ActiveToken | None) -> ActiveToken:
        """Return the token that has replaced this one, after a login if none has.

        It is the same one again if a login gives no other: a file that has not been rewritten.

        Raises:
            VaultAuthenticationError, ConfigurationError, StoreUnavailableError: as `Auth.login` does, or as the last
                login failed, during its backoff.
            StoreError: the session is closed.
        """
        while True:
            flight = own = _Flight()
            try:
                with self._lock:
                    if self._closed:
                        raise _closed()
                    if self.active is not None and self.active is not active:
                        return self.active
                    if self._flight is None:
                        self._backoff.check()
                        self._flight = own
                    else:
                        flight = self._flight
                outcome = self._log_in(send, own, active) if flight is own else self._join(flight)
            finally:
                self._end(own)
            if isinstance(outcome, ActiveToken):
                return outcome
            if outcome is not None:
                raise outcome
            # The thread that was logging in ran out of time. A thread with time left logs in itself.
            if remaining() <= 0:
                raise StoreUnavailableError(reason="no time was left to log in")

    def _end(self, flight: _Flight) -> None:
        """End a login for the threads that wait for it, also after an interrupt at any line of it."""
        with self._lock:
            if self._flight is flight:
                self._flight = None
        flight.set_result(flight.outcome)

    def _join(self, flight: _Flight) -> ActiveToken | StrongroomError | None:
        try:
            outcome = flight.result(timeout=remaining())
        except TimeoutError:
            return StoreUnavailableError(reason="the login that is under way takes too long")
        return outcome.copy() if isinstance(outcome, StrongroomError) else outcome

    def _log_in(self, send: Send, flight: _Flight, active: ActiveToken | None) -> ActiveToken | StrongroomError | None:
        """Log in for all threads that wait for the flight. An error is returned without frames that had credentials.

        An outage because this thread's time is over is returned to this thread alone.
        """
        failure: StrongroomError | None = None
        began = self._last_login = self._clock()
        try:
            flight.outcome = self._take(self._auth.login(send), began, active)
            self._backoff.succeeded()
        except StrongroomError as error:
            failure = _without_frames(error)
            if not isinstance(error, StoreUnavailableError) or remaining() > 0:
                flight.outcome = failure
                if not self._closed:  # closing the session interrupts a login, whatever its credentials are
                    self._backoff.failed(failure)
        return flight.outcome or failure

    def _take(self, grant: Grant, began: float, active: ActiveToken | None) -> ActiveToken:
        """Put the token of a login into use."""
        if active is not None and active.token == grant.token:
            return active
        lease = None
        if grant.ttl is not None:
            repeatable = self._auth.repeatable
            lease = new_lease(began, grant.ttl, self._draw(), renewable=grant.renewable, repeatable=repeatable)
        took = self._clock() - began
        new = ActiveToken(grant.token, grant.revocable, began, lease, took=took)
        if new.revocable:
            self.revoke_at_exit()
        with self._lock:
            replaced, self.active = self.active, new
            closed = self._closed
        if closed:
            self.active = None
            self._revoke(new)
            _outstanding.pop(self, None)
            raise _closed()
        if replaced is not None and replaced.revocable:
            self._retire(replaced)
        return new

    # --- the end ------------------------------------------------------------------------------------------------------

    def revoke_at_exit(self) -> None:
        """Revoke these tokens at the end of this process, unless `close` is called before."""
        _outstanding.pop(self, None)
        _outstanding[self] = os.getpid()
        dropped = [tokens for tokens in list(_outstanding) if tokens.is_dropped]
        for tokens in dropped[:-_MOST_DROPPED]:
            _outstanding.pop(tokens, None)
        call_at_exit(_settle)

    def close(self) -> list[ActiveToken]:
        """Revoke the tokens that logins of this process gave; return those that the server refused to revoke."""
        with self._lock:
            if self._closed:
                return []
            self._closed = True
            flight = self._flight
            self._ending = [*self._retired, *([] if self.active is None else [self.active])]
            self.active, self._retired = None, []
        if flight is not None:
            self._join(flight)
        for token in self._ending:
            self._revoke(token)
        _outstanding.pop(self, None)
        return [token for token in self._ending if token.refused]

    @property
    def is_dropped(self) -> bool:
        """Whether the session is gone without `close`."""
        return self.owner is None or self.owner() is None

    @property
    def unanswered(self) -> list[ActiveToken]:
        """The tokens that could not be revoked, because the server did not answer."""
        return [token for token in self._ending if token.revocable and not token.ended and not token.refused]

    def settle(self) -> None:
        """Close the session, or revoke the tokens of one that was dropped."""
        close = None if self.owner is None else self.owner()
        (close or self.close)()

    def reset(self) -> None:
        """Prepare for a fork's child, which logs in for itself if it can and never revokes its parent's token."""
        self._flight = None
        self._retired = []
        if self._auth.repeatable:
            self.active = None
        elif self.active is not None:
            self.active = replace(self.active, revocable=False)

    def _retire(self, active: ActiveToken) -> None:
        """Keep the token until `close`: requests under way carry it, and leases end with it."""
        with self._lock:
            self._retired.append(active)
            oldest = self._retired.pop(0) if len(self._retired) > _MOST_RETIRED else None
        if oldest is not None:
            self._revoke(oldest)

    def _revoke(self, active: ActiveToken) -> None:
        """Revoke the token if it is revocable and lives, and note the result."""
        if not active.revocable or active.token is None or active.ended:
            return
        if active.lease is not None and self._clock() >= active.lease.ends:
            active.ended = True
            return
        try:
            with time_limit(max(_REVOKE_LIMIT, _TIMES_LOGIN * active.took)), fail_fast():
                reply = self._send_revocation(active.token)
        except StoreError as error:
            logger.info("A token %s was not revoked: %s", self.location, error.reason)
            return
        active.ended = reply.status in {200, 204}
        active.refused = reply.status == 403
        if not active.ended and not active.refused:
            logger.info("A token %s was not revoked: HTTP %s", self.location, reply.status)


def _without_frames(error: StrongroomError) -> StrongroomError:
    """Return the error without frames. A login of unknown outcome is an outage: it changed nothing for the caller."""
    if isinstance(error, WriteOutcomeUnknownError):
        return VaultConnectionError(reason=error.reason)
    return error.copy()


def _closed() -> StoreError:
    return StoreError(reason="it is closed", hint="Open a new one")


# --- the end of the process: sessions that owe a revocation to their server, and that nobody closed -------------------

_outstanding: dict[Tokens, int] = {}
"""The tokens of a session -> the process that owes their revocation: a fork's child leaves its parent's alone."""


def _settle() -> None:
    """Close all sessions side by side: one whose server hangs takes no time from the others."""
    own = [tokens for tokens, process in list(_outstanding.items()) if process == os.getpid()]
    closing: list[Future[None]] = []
    for tokens in own:
        try:
            closing.append(in_daemon(tokens.settle, "vault token at exit"))
        except RuntimeError:  # too many threads, or Python 3.12.1, which starts none at exit
            with suppress(Exception):
                tokens.settle()
    wait(closing, remaining())
    for location, number in Counter(tokens.location for tokens in own for _ in tokens.unanswered).items():
        logger.warning("Tokens left to expire %s, because no answer to their revocation came: %d", location, number)
