"""The store `vault-dynamic`: users that a database engine makes, each for a while, at the first read of its path."""

from __future__ import annotations

import logging
import os
import random
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any
from weakref import WeakSet

from strongroom.errors import (
    ConfigurationError,
    InvalidPathError,
    SecretNotFoundError,
    StoreError,
    StoreUnavailableError,
)
from strongroom.paths import check_path
from strongroom.secret import Secret
from strongroom.store import Health, Option, remaining, time_limit
from strongroom_vault.dynamic.lease_client import Leasing
from strongroom_vault.dynamic.leases import Credentials
from strongroom_vault.http.nodes import RETRIES
from strongroom_vault.options import (
    AuthTable,
    CaCert,
    CaCertBytes,
    CaPath,
    ClientCert,
    ClientKey,
    ClientTimeout,
    DisableRedirects,
    Headers,
    MaxRetries,
    Namespace,
    Proxy,
    RateLimit,
    SkipVerify,
    TlsServerName,
    Token,
    Url,
)
from strongroom_vault.plugin import check_vault, open_session
from strongroom_vault.session.background import Background
from strongroom_vault.session.lifetime import LEAST_PAUSE, now
from strongroom_vault.session.login_backoff import Restraint
from strongroom_vault.session.session import Session
from strongroom_vault.store.health import health
from strongroom_vault.store.mounts import check_engine

logger = logging.getLogger("strongroom.vault")

_CLOSE_LIMIT = 5.0
"""How long `close` may take, in seconds: leases are revoked, and then the token is given back."""

_stores: WeakSet[VaultDynamic] = WeakSet()


def open_vault_dynamic(
    *,
    url: Url,
    paths: Annotated[
        dict[str, str],
        Option('what is asked for, and where the engine makes it: { "database/app" = "creds/app" }'),
    ],
    token: Token = None,
    auth: AuthTable = None,
    namespace: Namespace = None,
    mount: Annotated[str, Option("where the database engine is mounted", place=True)] = "database",
    ca_cert: CaCert = None,
    ca_path: CaPath = None,
    client_cert: ClientCert = None,
    client_key: ClientKey = None,
    tls_server_name: TlsServerName = None,
    skip_verify: SkipVerify = False,
    ca_cert_bytes: CaCertBytes = None,
    max_retries: MaxRetries = RETRIES,
    disable_redirects: DisableRedirects = False,
    client_timeout: ClientTimeout = None,
    rate_limit: RateLimit = None,
    headers: Headers = None,
    proxy: Proxy = None,
) -> VaultDynamic:
    """A store of the credentials that a database engine of HashiCorp Vault or OpenBao makes.

    It asks the server once whether that engine is there, and for no credentials.

    Raises:
        ConfigurationError: an option is wrong, or the server has no such namespace, mount or database engine.
        ImportError, PluginError, StoreError: as `open_vault` raises them.
    """
    places = _places(paths)
    session = open_session(
        url=url,
        token=token,
        auth=auth,
        namespace=namespace,
        mount=mount,
        ca_cert=ca_cert,
        ca_path=ca_path,
        client_cert=client_cert,
        client_key=client_key,
        tls_server_name=tls_server_name,
        skip_verify=skip_verify,
        ca_cert_bytes=ca_cert_bytes,
        max_retries=max_retries,
        disable_redirects=disable_redirects,
        client_timeout=client_timeout,
        rate_limit=rate_limit,
        headers=headers,
        proxy=proxy,
    )
    del token, auth, headers  # no frame holds them when the server's answer raises
    try:
        check_engine(session, "database")
        return VaultDynamic(session, places)
    except BaseException:
        session.close()
        raise


def check_vault_dynamic(*, paths: Mapping[str, str], **options: Any) -> None:  # those of `open_vault_dynamic`
    """As `check_vault` does."""
    _places(paths)
    check_vault(**options)


def _places(paths: Mapping[str, str]) -> dict[str, str]:
    """The option `paths`, checked."""
    if not paths:
        raise ConfigurationError('paths: it names no path. Write { "database/app" = "creds/app" } and the like')
    for path in [*paths.keys(), *paths.values()]:
        try:
            check_path(path)
        except InvalidPathError as error:
            reason = error.reason
        else:
            continue
        raise ConfigurationError(f"paths: {path!r}: {reason}. Write it as segments joined by single slashes")
    return {str(path): str(place) for path, place in paths.items()}


@dataclass(eq=False)
class _Role:
    """One row of `paths`, and the credentials in use: one thread asks the engine for others, and all share them."""

    place: str
    restraint: Restraint
    lock: threading.Lock = field(default_factory=threading.Lock)
    held: Credentials | None = None


class VaultDynamic:
    """Credentials that the engine makes when they are read, one for each path and process.

    They are renewed while they are used, replaced well before they end, and revoked by `close`. What the child of a
    fork reads is made for it, and what its parent has it neither renews nor revokes.

    Args:
        session: sends the requests, for the engine's mount.
        paths: path -> where below the mount a read makes its credentials: `creds/app`, `static-creds/app`.
        clock: seconds that never go back, and go on while the machine sleeps.
        draw: a random number from 0 to 1.
    """

    def __init__(
        self,
        session: Session,
        paths: Mapping[str, str],
        *,
        clock: Callable[[], float] = now,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._session = session
        self._paths = dict(paths)
        self._clock = clock
        self._leasing = Leasing(session, clock, draw)
        self._closed = False
        self._begin()
        self._renewer = Background(self._turn, "vault leases")
        _stores.add(self)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._session.place})"

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._roles = {path: _Role(place, Restraint(self._clock)) for path, place in self._paths.items()}
        self._made: list[Credentials] = []

    def reset(self) -> None:
        """What a fork's child does first: it has no credentials, and the threads that held its locks are gone."""
        self._begin()
        self._renewer.reset()

    def probe(self) -> Health:
        """How the server is, and whether it accepts the token. No credentials are made."""
        return health(self._session)

    # --- reading ------------------------------------------------------------------------------------------------------

    def makes(self, path: str) -> bool:
        """Whether it is among `paths`."""
        return path in self._paths

    def read(self, path: str) -> Secret:
        """The credentials in use; others where there are none, or where these are near their end.

        `Secret.ttl` ends where a read would get others. Where none can be had it goes on with what it has, to the end.

        Raises:
            SecretNotFoundError: the path is not in `paths`.
            ConfigurationError: there is no such role.
            StoreError: as for every read of Vault's. That it is unavailable may be said of the database too.
        """
        role = self._roles.get(path)
        if role is None:
            raise SecretNotFoundError(path, "it is not among the `paths` of the store")
        if (held := self._held(role)) is not None:
            return self._secret(path, held)
        # While another thread asks for others, what still lives is good enough for the rest.
        living = self._living(role)
        if not role.lock.acquire(timeout=remaining() if living is None else 0):
            if living is not None:
                return self._secret(path, living)
            raise StoreUnavailableError(path, "the request for credentials that is under way takes too long")
        try:
            return self._secret(path, self._held(role) or self._other(path, role))
        finally:
            role.lock.release()

    def _secret(self, path: str, held: Credentials) -> Secret:
        held.used = at = self._clock()
        due = held.renewal(at)
        if due is not None and due <= at:  # nobody had used it until now
            self._renewer.wake()
        return Secret(path, held.data, ttl=max(0.0, held.serves_until - at))

    def _living(self, role: _Role) -> Credentials | None:
        """What is in use and lets in, as far as is known."""
        held = role.held
        good = held is not None and held.token is self._session.held and self._clock() < held.ends
        return held if good else None

    def _held(self, role: _Role) -> Credentials | None:
        """What is in use, while reads are answered with it."""
        held = self._living(role)
        return held if held is not None and self._clock() < held.serves_until else None

    def _other(self, path: str, role: _Role) -> Credentials:
        """What the engine makes now; what is in use, where that lives and no other can be had."""
        try:
            role.restraint.check()
            with time_limit(remaining() if self._living(role) is None else remaining() / 2):
                made = self._leasing.make(path, role.place)
            role.restraint.succeeded()
        except StoreUnavailableError as error:
            if error.path_only and self._clock() >= role.restraint.until:
                role.restraint.failed(error)
            held, at = self._living(role), self._clock()
            if held is None:
                raise
            reason = error.reason or error.summary
        else:
            if not made.lease_id:
                return made
            self._keep(path, made)
            role.held = made
            if made.renewal(self._clock()) is not None:
                self._renewer.wake()
            return made
        held.not_replaced(at)
        logger.warning(
            "The credentials at %s are near their end, and none were had in their place: %s. They end in %.0f s",
            path,
            reason,
            held.ends - at,
        )
        return held

    def _keep(self, path: str, made: Credentials) -> None:
        """Remembers what is to be revoked at the end."""
        with self._lock:
            at = self._clock()
            self._made = [*(old for old in self._made if at < old.ends), made]
            closed = self._closed
        if closed:
            self._leasing.revoke([made])
            raise StoreError(path, "it is closed", hint="Open a new one")

    def _turn(self) -> float | None:
        """Renews what is due; returns after how many seconds to be called again, None where nothing will be."""
        pauses: list[float] = []
        for path, role in self._roles.items():
            held, at = role.held, self._clock()
            if held is None or held.token is not self._session.held or (due := held.renewal(at)) is None:
                continue
            if due <= at:
                if not held.is_used(at):
                    continue
                if not self._leasing.renew(path, held) and role.held is held:
                    role.held = None
                at = self._clock()
                due = held.renewal(at) if role.held is held else None
            if due is not None:
                pauses.append(max(LEAST_PAUSE, due - at))
        return min(pauses, default=None)

    # --- the end ------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Ends the renewals, revokes every lease that this process was given, and closes the session."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        with time_limit(min(remaining(), _CLOSE_LIMIT)):
            self._renewer.stop(remaining())
            for role in self._roles.values():
                if role.lock.acquire(timeout=remaining()):  # whoever is being given credentials gives them back
                    role.lock.release()
                role.held = None
            with self._lock:
                made, self._made = self._made, []
            hanging = self._leasing.revoke(made)
            self._session.close()
            self._leasing.check_ended(hanging)


def _reset_in_child() -> None:
    for store in list(_stores):
        store.reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_in_child)
