"""The store `vault-dynamic`: credentials that an engine issues at the first read of their path."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import RLock
from typing import Annotated, Any, Unpack

from strongroom.errors import (
    SecretNotFoundError,
    StoreError,
    StoreUnavailableError,
)
from strongroom.secret import Secret
from strongroom.store import Health, Option, Traits, checked_by, remaining, time_limit
from strongroom.store.deadline import boot_time, fail_fast, utc_after
from strongroom.store.process import random_factor
from strongroom_vault.background import Background
from strongroom_vault.dynamic.lease_client import LeaseClient, Row, read_rows
from strongroom_vault.dynamic.leases import IssuedCredentials
from strongroom_vault.http.hvac_adapter import requests
from strongroom_vault.options import Url, VaultOptions
from strongroom_vault.plugin import check_vault, open_session
from strongroom_vault.session.lifetime import LEAST_PAUSE
from strongroom_vault.session.login_backoff import LoginBackoff
from strongroom_vault.session.session import Session, reset_after_fork, reset_if_forked
from strongroom_vault.store.health import health
from strongroom_vault.store.mounts import check_engine

logger = logging.getLogger("strongroom.vault")

_CLOSE_LIMIT = 5.0
"""How long `close` may take, in seconds: it revokes the leases, then the token."""


def check_vault_dynamic(
    *, url: str | Sequence[str], paths: Mapping[str, Any], mount: str = "database", **connection: Unpack[VaultOptions]
) -> None:
    """Check the options of `open_vault_dynamic` without a request; see `check_vault`."""
    read_rows(paths)
    check_vault(url=url, mount=mount, **connection)


@checked_by(check_vault_dynamic)
def open_vault_dynamic(
    *,
    url: Url,
    paths: Annotated[
        dict[str, Any],
        Option('path -> what the engine issues: "creds/app", or { path, method, parameters, ttl }'),
    ],
    mount: Annotated[str, Option("the mount path of the engine", locates=True)] = "database",
    **connection: Unpack[VaultOptions],
) -> VaultDynamic:
    """Open a store of credentials that an engine of HashiCorp Vault or OpenBao issues.

    The server is asked once whether an engine is there. No credentials are created yet.

    Raises:
        ConfigurationError: an option is wrong, or the server has no such namespace or mount.
        ImportError, PluginError, StoreError: as `open_vault` raises them.
    """
    requests()  # raises ImportError before anything is sent
    rows = read_rows(paths)
    session = open_session(url=url, mount=mount, **connection)
    del connection  # no frame holds the token when the next call raises
    try:
        check_engine(session)
        return VaultDynamic(session, rows)
    except BaseException:
        session.close()
        raise


@dataclass(eq=False)
class Role:
    """One row of `paths`, and its credentials in use: one thread at a time creates new ones, for all."""

    row: Row
    backoff: LoginBackoff
    lock: RLock = field(default_factory=RLock)
    credentials: IssuedCredentials | None = None


class VaultDynamic:
    """Credentials that the engine issues at the first read, one set for each path and process.

    They are renewed while they are used, replaced well before they end, and revoked by `close`. A fork's child creates
    its own, and neither renews nor revokes its parent's.

    Args:
        session: sends the requests, for the engine's mount.
        rows: path -> the request that creates its credentials.
        clock: seconds that never go back, and go on while the machine sleeps.
        draw: returns a random number from 0 to 1.

    Attributes:
        session: sends the requests; a rotator of the same server uses it too.
        roles: path -> its role, with the credentials in use.
        renewer: the thread that calls `turn`.
    """

    traits = Traits(honors_deadline=True)

    def __init__(
        self,
        session: Session,
        rows: Mapping[str, Row],
        *,
        clock: Callable[[], float] = boot_time,
        draw: Callable[[], float] = random_factor,
    ) -> None:
        self.session = session
        self._rows = dict(rows)
        self._clock = clock
        self._client = LeaseClient(session, clock, draw)
        self._closed = False
        self._clear()
        self.renewer = Background(self.turn, "vault leases")
        self.process = os.getpid()
        reset_after_fork(self)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.session.location})"

    def _clear(self) -> None:
        self._lock = RLock()
        self.roles = {path: Role(row, LoginBackoff(self._clock)) for path, row in self._rows.items()}
        self._leased: list[IssuedCredentials] = []

    def reset(self) -> None:
        """Prepare for a fork's child, which has no credentials and not the threads that held the locks."""
        self._clear()
        self.renewer.reset()
        self.process = os.getpid()  # last, as in a session

    def probe(self) -> Health:
        """Return the health of the server, and whether it accepts the token. No credentials are created."""
        return health(self.session)

    # --- reads --------------------------------------------------------------------------------------------------------

    def makes(self, path: str) -> bool:
        """Return True if the path is in the option `paths`."""
        return path in self._rows

    def read(self, path: str) -> Secret:
        """Return the credentials in use, or new ones if there are none or these are near their end.

        `Secret.ttl` ends when a read would create new ones. If none can be created, the old ones serve until their end.

        Raises:
            SecretNotFoundError: the path is not in `paths`.
            ConfigurationError: there is no such role.
            StoreError: as for every read of Vault's. An outage may be the database's.
        """
        reset_if_forked(self)
        role = self.roles.get(path)
        if role is None:
            raise SecretNotFoundError(path, "it is not among the `paths` of the store")
        if (current := self._serving(role)) is not None:
            return self._secret(path, current)
        # While another thread creates new credentials, those that still work serve the other readers.
        living = self._living(role)
        if not role.lock.acquire(timeout=remaining() if living is None else 0):
            if living is not None:
                return self._secret(path, living)
            raise StoreUnavailableError(path, "the request for credentials that is under way takes too long")
        try:
            return self._secret(path, self._serving(role) or self._replacement(path, role))
        finally:
            role.lock.release()

    def _secret(self, path: str, credentials: IssuedCredentials) -> Secret:
        credentials.used = at = self._clock()
        due = credentials.renewal(at)
        if due is not None and due <= at:  # unused until now, and therefore not renewed
            self.renewer.wake()
        ttl, ends = max(0.0, credentials.serves_until - at), utc_after(credentials.ends - at)
        return Secret(path, credentials.data, ttl=ttl, ends=ends)

    def _living(self, role: Role) -> IssuedCredentials | None:
        """Return the credentials in use, if they work as far as is known."""
        current = role.credentials
        good = current is not None and self._is_ours(current) and self._clock() < current.ends
        return current if good else None

    def _is_ours(self, credentials: IssuedCredentials) -> bool:
        """Return False if they end with a token that another one has replaced."""
        return credentials.token is None or credentials.token is self.session.active_token

    def _serving(self, role: Role) -> IssuedCredentials | None:
        """Return the credentials in use, if they may serve reads."""
        current = self._living(role)
        return current if current is not None and self._clock() < current.serves_until else None

    def _replacement(self, path: str, role: Role) -> IssuedCredentials:
        """Return new credentials, or those in use if none can be created."""
        try:
            role.backoff.check()
            living = self._living(role) is not None
            with time_limit(remaining() / 2 if living else remaining()), fail_fast(living):
                created = self._client.create(path, role.row)
            role.backoff.succeeded()
        except StoreUnavailableError as error:
            if error.path_only and self._clock() >= role.backoff.until:
                role.backoff.failed(error)
            current, at = self._living(role), self._clock()
            if current is None:
                raise
            reason = error.reason or error.summary
        else:
            if created.fixed:  # its service may change it sooner
                return created
            if created.lease_id:
                self._keep(path, created)
            role.credentials = created
            if created.renewal(self._clock()) is not None:
                self.renewer.wake()
            return created
        current.replacement_failed(at)
        logger.warning(
            "The credentials at %s are near their end, and could not be replaced: %s. They end in %.0f s",
            path,
            reason,
            current.ends - at,
        )
        return current

    def _keep(self, path: str, created: IssuedCredentials) -> None:
        """Remember the lease, which `close` revokes."""
        with self._lock:
            at = self._clock()
            self._leased = [leased for leased in (*self._leased, created) if at < leased.ends]
            closed = self._closed
        self.session.close_at_exit(self.close)
        if closed:
            self._client.revoke([created])
            raise StoreError(path, "it is closed", hint="Open a new one")

    def turn(self) -> float | None:
        """Renew the leases that are due; return the seconds until the next call, None if no renewal will follow."""
        pauses: list[float] = []
        for path, role in self.roles.items():
            current, at = role.credentials, self._clock()
            if current is None or not self._is_ours(current):
                continue
            if (due := current.renewal(at)) is None:
                continue
            if due <= at:
                if not current.is_used(at):
                    continue
                if not self._client.renew(path, current) and role.credentials is current:
                    role.credentials = None
                at = self._clock()
                due = current.renewal(at) if role.credentials is current else None
            if due is not None:
                pauses.append(max(LEAST_PAUSE, due - at))
        return min(pauses, default=None)

    # --- the end ------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """End the renewals, revoke every lease of this process, and close the session."""
        reset_if_forked(self)
        with self._lock:
            if self._closed:
                return
            self._closed = True
        with time_limit(min(remaining(), _CLOSE_LIMIT)), fail_fast():
            self.renewer.stop(remaining())
            for role in self.roles.values():
                if role.lock.acquire(timeout=remaining()):  # a thread that is creating credentials revokes them
                    role.lock.release()
                role.credentials = None
            with self._lock:
                leased, self._leased = self._leased, []
            dependent = self._client.revoke(leased)
            self.session.close()
            self._client.check_ended(dependent)
