"""A session: the requests of one store, with the token and the state of the cluster that they need."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Protocol, TypeVar
from weakref import WeakMethod, WeakSet

from strongroom.errors import PermissionDeniedError, StoreError, StrongroomError, WriteOutcomeUnknownError
from strongroom.secret import SensitiveStr
from strongroom.store import fork_safe_lock, remaining, time_limit
from strongroom.store.deadline import boot_time, fail_fast
from strongroom.store.process import call_at_exit
from strongroom_vault.auth import Auth
from strongroom_vault.auth.credential import exposed, file_states
from strongroom_vault.background import Background
from strongroom_vault.errors import VaultAuthenticationError
from strongroom_vault.http.drivers.driver import Driver
from strongroom_vault.http.hvac_adapter import ApiRequest, requests
from strongroom_vault.http.messages import HttpRequest, Reply, Start, Steps
from strongroom_vault.http.nodes import Cluster
from strongroom_vault.http.read_after_write import FORWARD, INCONSISTENT, INDEX, States, is_from_active_node
from strongroom_vault.http.request_policy import Progress, exchange, first_attempt
from strongroom_vault.http.tls import TLSSettings
from strongroom_vault.responses import failure
from strongroom_vault.session.login_backoff import login_backoff
from strongroom_vault.session.renewal import Renewal
from strongroom_vault.session.token_check import TokenCheck
from strongroom_vault.session.tokens import REVOKE, ActiveToken, Tokens

logger = logging.getLogger("strongroom.vault")

_CLOSE_LIMIT = 10.0
"""How long `close` may take, in seconds: it waits for a login or a renewal, and revokes tokens."""

_STOP_LIMIT = 2.0
"""How long it waits for a renewal, in seconds: the server may hang."""

_K = TypeVar("_K")


class Session:
    """Sends requests with a token, to one namespace, for one mount.

    It logs in at the first request, renews the token in a thread if there is anything to renew, and revokes it when it
    is closed, if a login of this process made it. A fork's child logs in for itself, or goes on with the static token.

    Args:
        driver: runs the exchanges.
        cluster: the nodes.
        auth: how to log in.
        namespace: the namespace's path, or None for the root.
        mount: the engine's mount path.
        tls: the settings of the driver, whose client certificate may be the credential.
        verified: False if TLS verification is disabled.
        clock: seconds that never go back, and go on while the machine sleeps.

    Attributes:
        location: mount, namespace and addresses, for messages.
        process: the process that has the token and the connections.
        cluster: the nodes.
        tokens: the token in use, and those that a login replaced.
        renewal: the steps that keep the token alive.
        renewer: the thread that takes these steps.
    """

    def __init__(
        self,
        driver: Driver,
        cluster: Cluster,
        auth: Auth,
        *,
        namespace: str | None,
        mount: str,
        tls: TLSSettings | None = None,
        verified: bool = True,
        clock: Callable[[], float] = boot_time,
    ) -> None:
        self.mount = mount
        self.verified = verified
        self._auth = auth
        self._clock = clock
        self._driver = driver
        self.cluster = cluster
        self._namespace = namespace
        self._states = States(mount)
        within = f"in namespace '{namespace}' " if namespace else ""
        location = f"{within}at {', '.join(map(str, cluster.addresses))}"
        self.location = f"mount '{mount}' {location}"
        credentials = (auth, tls, *file_states(auth, tls), cluster.addresses, namespace)
        backoff = login_backoff(credentials, clock)
        revoke = partial(_revoke, driver, self.cluster, namespace)
        self.tokens = Tokens(auth, revoke, backoff, location, clock=clock)
        self.tokens.owner = WeakMethod(self.close)
        self._token_check = TokenCheck(mount, self.location, clock)
        self.renewal = Renewal(self.tokens, self._token_check, self.location, clock=clock)
        self.renewer = Background(self._renew, "vault token")
        self._watched: ActiveToken | None = None
        reset_after_fork(self)

        self.process = os.getpid()

    def __repr__(self) -> str:
        return f"Session({self.location})"

    @property
    def active_token(self) -> ActiveToken | None:
        """The token in use, a new object for each token; None before the first request and after `close`."""
        return self.tokens.active

    @property
    def certificates(self) -> Mapping[str, bytes]:
        """Address -> DER certificate of each https server that was connected to."""
        return self._driver.certificates()

    @property
    def exposure(self) -> str:
        """Which file of the login's credential is accessible to every user, for messages; empty if none is."""
        return exposed(self._auth)

    @property
    def seconds_left(self) -> float | None:
        """How long the token lives, in seconds: infinite for ever, None if that is not known yet."""
        active = self.tokens.active
        return None if active is None or active.lease is None else max(0.0, active.lease.ends - self._clock())

    @property
    def is_kept(self) -> bool | None:
        """Whether a renewal or a login follows before the token ends. None if that is not known yet."""
        active = self.tokens.active
        return None if active is None or active.lease is None else not active.lease.is_final

    def close_at_exit(self, close: Callable[[], None]) -> None:
        """Let the process call this method of the session's store at its end, instead of `close`.

        A session that has logged in calls its own `close` there, unless that was called before.
        """
        self.tokens.owner = WeakMethod(close)
        self.tokens.revoke_at_exit()

    def close(self) -> None:
        """End the renewals, revoke the token if a login of this process made it, and close the connections."""
        reset_if_forked(self)
        with time_limit(min(remaining(), _CLOSE_LIMIT)), fail_fast():
            self.renewer.stop(min(remaining(), _STOP_LIMIT))
            self.finish()
            for active in self.tokens.close():
                self._warn_unrevoked(active)
            self._driver.close()

    def finish(self) -> None:
        """Renew a token that was given at the end of the process, once, if less than half of its life is left."""
        if self in _unfinished and self.process == os.getpid():
            _unfinished.discard(self)
            with fail_fast():
                self.renewal.finish(self.send)

    def _warn_unrevoked(self, active: ActiveToken) -> None:
        """Warn of a token that the server refused to revoke, unless it is no longer valid."""
        try:
            active.ended = not self._token_check.is_good(self.send, active, REVOKE)
        except StoreError as error:
            logger.info("A token of %s was not revoked: %s", self.location, error.reason)
            return
        if not active.ended:
            logger.warning(
                "The token of %s was not revoked, and is left to expire: its policies do not allow `update` on "
                "auth/token/revoke-self",
                self.location,
            )

    def reset(self) -> None:
        """Prepare for a fork's child: a connection with two readers gives out another path's secret."""
        self._driver.reset()
        self.tokens.reset()
        self.renewer.reset()
        self._watched = None
        self.process = os.getpid()  # last: another thread of the child waits until then

    def request(self, request: ApiRequest, *, anonymous: bool = False, settled: bool = False) -> Reply:
        """Return the reply to one request, with any status.

        A request that is refused with 403 is sent once more when another token has replaced the refused one, or when
        the refused one is no longer valid and a login may give another.

        Args:
            request: what to send.
            anonymous: send it to the root namespace and without a token.
            settled: the caller finds out the outcome of this change if it is unknown, or calls `doubt`.

        Raises:
            StoreError: see `exchange` and `Auth.login`.
            ConfigurationError: see `Auth.login`.
        """
        reset_if_forked(self)
        if anonymous:
            return self.send(request, namespace="")
        active = self.tokens.current(self.send)
        reply = self.send(request, token=active.token, settled=settled)
        return self._checked(active, request, reply, settled)

    def send(
        self,
        request: ApiRequest,
        *,
        namespace: str | None = None,
        token: SensitiveStr | None = None,
        idempotent: bool = False,
        settled: bool = False,
    ) -> Reply:
        """Return the reply to one request that brings its own token, or none: see `SendStep`.

        Args:
            request: what to send.
            namespace: another namespace than the usual one; `""` is the root.
            token: the token to send.
            idempotent: the request may be repeated when its outcome is unknown, although it is a change.
            settled: the caller finds out the outcome of this change if it is unknown, or calls `doubt`.

        Raises:
            StoreError: as `exchange` and the driver do.
        """
        state, unknown = self._states.needed(request.method, request.target)
        namespace = self._namespace if namespace is None else namespace
        http_request = request.over_http(namespace, token, state=state, idempotent=idempotent)
        try:
            with time_limit(remaining()):
                begun = first_attempt(http_request, self.cluster, remaining, self._driver.send)
                if isinstance(begun, Reply) and begun.status != 404:
                    reply = begun
                else:
                    reply = self._driver.run(self._steps(http_request, remaining, begun=begun))
        except WriteOutcomeUnknownError:
            if not settled:
                self.doubt(request)
            raise
        self._note(request, reply, unknown)
        if request.changes and not settled and reply.may_be_applied:
            self.doubt(request)
        return reply

    def doubt(self, request: ApiRequest) -> None:
        """Let the active node answer the next read of what this change of unknown outcome concerns."""
        self._states.doubt(request.target)

    def request_many(self, many: Iterable[tuple[_K, ApiRequest]]) -> Iterator[tuple[_K, Reply | StoreError]]:
        """Yield the result of `request` for each of many, in any order. A few dozen are taken ahead.

        Each may take what `remaining()` is at its start. If the outcome of a change is unknown, the caller finds it
        out.

        Raises:
            StoreUnavailableError: nothing came within `remaining()`.
            StoreError, ConfigurationError: see `Auth.login`.
        """
        reset_if_forked(self)

        def exchanges() -> Iterator[tuple[tuple[_K, ActiveToken, ApiRequest], Start]]:
            for name, request in many:
                active = self.tokens.current(self.send)
                state, _ = self._states.needed(request.method, request.target)
                http_request = request.over_http(self._namespace, active.token, state=state, batched=True)
                yield (name, active, request), partial(self._steps, http_request)

        for (name, active, request), outcome in self._driver.run_many(exchanges()):
            if isinstance(outcome, StoreError):
                yield name, outcome
                continue
            self._note(request, outcome, None)
            try:
                yield name, self._checked(active, request, outcome)
            except StoreError as error:
                yield name, error

    def failure(self, reply: Reply, path: str | None, *, changes: bool = False) -> StrongroomError:
        """Return the error for a reply that is not the answer to the request."""
        if reply.status != 403:
            return failure(reply, path, self.location, changes=changes)
        if self.token_is_good(path):
            return PermissionDeniedError(path, f"the token's policies do not allow it at {self.location}")
        reason = "does not accept the token: it is wrong, expired or revoked, or has no rights there"
        return VaultAuthenticationError(path, f"{self.location} {reason}")

    def token_is_good(self, refused: str | None = None) -> bool:
        """Return True if the server accepts the token at all: a 403 does not tell a bad token from a denied path.

        Args:
            refused: the refused path, for which the answer holds for a minute.

        Raises:
            StoreUnavailableError: the server did not answer.
        """
        reset_if_forked(self)
        # An expired token is checked as it is: the check of another one would be no answer.
        active = self.tokens.active or self.tokens.current(self.send)
        return self._token_check.is_good(self.send, active, refused or "")

    def _keep(self, active: ActiveToken) -> None:
        """Begin the renewals of a token, after the first reply to it: `close` after an outage waits for no lookup."""
        self._watched = active
        if self.renewal.has_work(active):
            self.renewer.wake()
            if active.lease is None:
                _unfinished.add(self)
                call_at_exit(_finish)

    def _checked(self, active: ActiveToken, request: ApiRequest, reply: Reply, settled: bool = False) -> Reply:  # noqa: FBT001, FBT002  # as `request` got it
        """Return the reply, or the reply to a second attempt if the token was refused and another one is there."""
        if reply.status == 403 and self._is_replaced(active, request.target):
            active = self.tokens.current(self.send)
            reply = self.send(request, token=active.token, settled=settled)
        if active is not self._watched:
            self._keep(active)
        if reply.status < 300:
            active.accepted = True
        return reply

    def _is_replaced(self, refused: ActiveToken, target: str) -> bool:
        """Return True if another token than the refused one is in use, after a login if that may give one."""
        current = self.tokens.active
        if current is not None and current is not refused:
            return True
        if not self.tokens.may_replace(refused):
            return False
        # An expired token needs no check, and the last check may be older than its end.
        if not self.tokens.is_over(refused) and self._token_check.is_good(self.send, refused, target):
            return False
        return self.tokens.replacement(self.send, refused) is not refused

    def _renew(self) -> float | None:
        return self.renewal.turn(self.send)

    def _steps(
        self,
        request: HttpRequest,
        remaining: Callable[[], float],
        begun: Reply | Progress | None = None,
    ) -> Steps:
        """Return the steps of `exchange`, after the first attempt that has `begun` it, if any.

        After a 404, the active node is asked too, since it has the newest state.

        A standby may not know yet that another process has just written a secret. With its 404, the chain would return
        the value of a fallback, or a default, instead of that secret.
        """
        reply = (
            begun if isinstance(begun, Reply) else (yield from exchange(request, self.cluster, remaining, begun=begun))
        )
        if reply.status != 404 or not request.reads:
            return reply
        newest = self._states.newest()
        if newest is None or request.headers.get(INDEX) == newest:
            return reply
        headers = {**request.headers, INDEX: newest, INCONSISTENT: FORWARD}
        return (yield from exchange(replace(request, headers=headers), self.cluster, remaining))

    def _note(self, request: ApiRequest, reply: Reply, unknown: object | None) -> None:
        """Keep the state that a change led to, or that the answer after a change of unknown outcome shows."""
        state = reply.headers.get(INDEX.lower())
        if state is None and unknown is None:
            return
        self._states.seen(state)
        if request.changes:
            self._states.changed(request.target, state)
        elif reply.status in {200, 404} and (unknown is not None or is_from_active_node()):
            self._states.settle(request.target, state, unknown)


def _revoke(driver: Driver, cluster: Cluster, namespace: str | None, token: SensitiveStr) -> Reply:
    """Revoke a token. The active node does that, so that no state of the cluster is needed."""
    request = requests().token.revoke_self().over_http(namespace, token, idempotent=True)
    return driver.run(exchange(request, cluster, remaining))


_unfinished: WeakSet[Session] = WeakSet()
"""The sessions with a token that was given, and that nobody has closed."""


def _finish() -> None:
    for session in list(_unfinished):
        session.finish()


class _Forkable(Protocol):
    process: int

    def reset(self) -> None: ...


_forkable: WeakSet[_Forkable] = WeakSet()
_resetting = fork_safe_lock(sys.modules[__name__], "_resetting")


def reset_after_fork(part: _Forkable) -> None:
    """Reset it in every child that this process forks from now on."""
    _forkable.add(part)


def reset_if_forked(part: _Forkable) -> None:
    """Reset it in a child of a fork, once. Those of uWSGI run no hooks of Python's: its first use does it there."""
    if part.process != os.getpid():
        with _resetting:  # one of the child's threads
            if part.process != os.getpid():
                part.reset()


def _reset_in_child() -> None:
    """Reset each part, unless a thread has done so: that of a watch can start before this hook runs."""
    for part in list(_forkable):
        reset_if_forked(part)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_in_child)
