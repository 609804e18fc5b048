"""A token at a cluster: every request of a store goes through here, and every refusal is understood here."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar
from weakref import WeakSet

from strongroom.errors import PermissionDeniedError, StoreError, StrongroomError
from strongroom.secret import SensitiveStr
from strongroom.store import remaining, time_limit
from strongroom_vault.auth import Auth
from strongroom_vault.errors import VaultAuthenticationError
from strongroom_vault.http.address import Address
from strongroom_vault.http.hvac_adapter import ApiRequest
from strongroom_vault.http.request_policy import Reply
from strongroom_vault.http.sender import Driver, Sender
from strongroom_vault.responses import failure
from strongroom_vault.session.background import Background
from strongroom_vault.session.lifetime import now
from strongroom_vault.session.login_backoff import restraint_of
from strongroom_vault.session.renewal import Renewal
from strongroom_vault.session.token_check import Verdicts, spends_a_use
from strongroom_vault.session.tokens import REVOKE, Held, Tokens

logger = logging.getLogger("strongroom.vault")

_CLOSE_LIMIT = 5.0
"""How long `close` may take, in seconds: a login or a renewal may be under way, and tokens are given back."""

_K = TypeVar("_K")

_sessions: WeakSet[Session] = WeakSet()


class Session:
    """Sends requests with a token, in a namespace, for one mount.

    It logs in at the first request, keeps the token alive in a thread of its own where there is anything to do for
    that, and gives the token back when it is closed, if a login of this process made it. The child of a fork logs in
    for itself, or goes on with the token that was given once and for all.

    Args:
        driver: sends and waits.
        addresses: the nodes of one cluster.
        auth: how to log in.
        namespace: the namespace's path, or None for the root.
        mount: where the engine is mounted.
        verified: False where any certificate of the server's is taken.
        clock: seconds that never go back, and go on while the machine sleeps.
    """

    def __init__(
        self,
        driver: Driver,
        addresses: Sequence[Address],
        auth: Auth,
        *,
        namespace: str | None,
        mount: str,
        verified: bool = True,
        clock: Callable[[], float] = now,
    ) -> None:
        self.mount = mount
        self.verified = verified
        self._clock = clock
        self._sender = sender = Sender(driver, addresses, namespace)
        restraint = restraint_of((auth, tuple(addresses), namespace), clock)
        self._tokens = Tokens(auth, sender, restraint, clock=clock)
        self._verdicts = Verdicts(sender, mount, self.place, clock)
        self._renewal = Renewal(self._tokens, sender, self._verdicts, self.place, clock=clock)
        self._renewer = Background(self._renewal.turn, "vault token")
        self._watched: Held | None = None
        _sessions.add(self)

    def __repr__(self) -> str:
        return f"Session({self.place})"

    @property
    def place(self) -> str:
        """Mount, namespace and address, in words."""
        return f"mount '{self.mount}' {self._sender.location}"

    @property
    def held(self) -> Held | None:
        """The token in use, another object for another token; None before the first request and after `close`."""
        return self._tokens.held

    @property
    def certificates(self) -> Mapping[str, bytes]:
        """Address -> the certificate, in DER form, of each https server that it has connected to."""
        return self._sender.certificates()

    @property
    def seconds_left(self) -> float | None:
        """How long the token in use lives, in seconds: infinite for ever, None where that is not known yet."""
        held = self._tokens.held
        return None if held is None or held.lease is None else max(0.0, held.lease.ends - self._clock())

    @property
    def is_kept(self) -> bool | None:
        """Whether something is done about the token's end: a renewal or a login. None where that is not known yet."""
        held = self._tokens.held
        return None if held is None or held.lease is None else not held.lease.is_final

    def close(self) -> None:
        """Ends the renewals, revokes the token if it is ours, forgets it, and closes the connections."""
        with time_limit(min(remaining(), _CLOSE_LIMIT)):
            self._renewer.stop(remaining())
            for held in self._tokens.close():
                self._say_left(held)
            self._sender.close()

    def _say_left(self, held: Held) -> None:
        """Warns of a token that the server refused to revoke, unless it is no good any more."""
        try:
            held.ended = not self._verdicts.is_good(held, REVOKE)
        except StoreError as error:
            logger.info("A token of %s was not revoked: %s", self.place, error.reason)
            return
        if not held.ended:
            logger.warning(
                "The token of %s was not revoked, and is left to expire: its policies do not allow `update` on "
                "auth/token/revoke-self",
                self.place,
            )

    def reset(self) -> None:
        """What a fork's child must do first: a connection with two readers hands out another path's secret."""
        self._sender.reset()
        self._tokens.reset()
        self._verdicts.unlock()
        self._renewer.reset()
        self._watched = None

    def request(self, request: ApiRequest, *, anonymous: bool = False) -> Reply:
        """Return the reply to one request, whatever its status.

        A request that is refused with 403 is sent once more when another token has replaced the refused one, or when
        the refused one is no longer valid and a login may give another.

        Args:
            request: what to send.
            anonymous: send it to the root namespace and without a token.

        Raises:
            StoreError: as `exchange` and the driver do, and as `Auth.login` does.
            ConfigurationError: as `Auth.login` does.
        """
        if anonymous:
            return self._sender.send(request, namespace="")
        held = self._current(request)
        return self._judged(held, request, self._sender.send(request, token=held.token))

    def request_many(self, requests: Iterable[tuple[_K, ApiRequest]]) -> Iterator[tuple[_K, Reply | StoreError]]:
        """Yield the result of `request` for each of many, in any order. A few dozen are taken ahead.

        Raises:
            StoreUnavailableError: nothing came within `remaining()`.
            StoreError, ConfigurationError: as `Auth.login` does.
        """

        def authorized() -> Iterator[tuple[tuple[_K, Held], ApiRequest, SensitiveStr | None]]:
            for name, request in requests:
                held = self._current(request)
                yield (name, held), request, held.token

        for ((name, held), request), outcome in self._sender.send_many(authorized()):
            try:
                yield name, outcome if isinstance(outcome, StoreError) else self._judged(held, request, outcome)
            except StoreError as error:
                yield name, error

    def failure(self, reply: Reply, path: str | None, *, changes: bool = False) -> StrongroomError:
        """The error for a reply that is not the answer to what was asked."""
        if reply.status != 403:
            return failure(reply, path, self.place, changes=changes)
        if self.token_is_good(path):
            return PermissionDeniedError(path, f"the token's policies do not allow it at {self.place}")
        return VaultAuthenticationError(
            path, f"{self.place} does not accept the token: it is wrong, expired or revoked"
        )

    def token_is_good(self, refused: str | None = None) -> bool:
        """Whether the server accepts the token at all, since 403 does not tell a bad token from a denied path.

        Args:
            refused: what it was refused, for which the answer holds for a minute.

        Raises:
            StoreUnavailableError: there was no answer.
        """
        # A token that is over is judged as it is: another one's verdict would be no answer.
        return self._verdicts.is_good(self._tokens.held or self._tokens.current(counted=False), refused or "")

    def _current(self, request: ApiRequest) -> Held:
        """The token to send this with."""
        held = self._tokens.current(counted=spends_a_use(request.target))
        if held is not self._watched:
            self._watch(held)
        return held

    def _watch(self, held: Held) -> None:
        self._watched = held
        if self._renewal.has_work(held):
            self._renewer.wake()

    def _judged(self, held: Held, request: ApiRequest, reply: Reply) -> Reply:
        """The reply; where the token was refused and there is another, the one that comes with that."""
        if reply.status == 403 and self._is_replaced(held, request.target):
            held = self._current(request)
            reply = self._sender.send(request, token=held.token)
        if reply.status < 300:
            held.proved = True
        return reply

    def _is_replaced(self, refused: Held, target: str) -> bool:
        """Whether there is another token than the one that was refused, from a login where that may give one."""
        current = self._tokens.held
        if current is not None and current is not refused:
            return True
        if not self._tokens.may_replace(refused):
            return False
        # One that is over by now needs no verdict, and the last one may be from before.
        if not self._tokens.is_over(refused) and self._verdicts.is_good(refused, target):
            return False
        return self._tokens.another(refused) is not refused


def _reset_in_child() -> None:
    for session in list(_sessions):
        session.reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_in_child)
