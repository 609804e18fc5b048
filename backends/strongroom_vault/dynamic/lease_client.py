"""Requests to an engine: the rows of `paths` that name them, credentials, renewal of their leases, revocation."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

from strongroom.errors import ConfigurationError, StoreError, StoreUnavailableError, StrongroomError, did_you_mean
from strongroom.formats.durations import ALLOWED, parse_duration
from strongroom.paths import check_option
from strongroom.secret import SensitiveDict
from strongroom.store import time_limit
from strongroom.store.deadline import fail_fast
from strongroom.store.process import random_factor
from strongroom_vault.dynamic.leases import IssuedCredentials
from strongroom_vault.http.hvac_adapter import ApiRequest, requests
from strongroom_vault.http.messages import Reply
from strongroom_vault.responses import document, is_seconds, malformed, member
from strongroom_vault.session.lifetime import TokenLease, new_lease
from strongroom_vault.session.session import Session

logger = logging.getLogger("strongroom.vault")

_RENEW_LIMIT = 10.0
_REVOKE_LIMIT = 3.0
"""Time limits for one renewal and for all revocations, in seconds."""

_ENDS = ("expiration", "expire_time", "expires_at_seconds")
"""Keys with the Unix time at which an answer without a lease ends: of the engines `pki`, `totp` and `gcp`."""

_METHODS = {"read": "GET", "write": "POST"}
_KEYS = ("path", "method", "parameters", "ttl")


# --- rows of the option `paths` ---------------------------------------------------------------------------------------


class Row(NamedTuple):
    """One row of `paths`.

    Attributes:
        place: the path below the mount, such as `creds/app` or `issue/web`.
        method: `read` or `write`, as the documentation of the engine's path names it.
        parameters: of the request.
        ttl: the seconds for which an answer lives that has neither a lease nor an end; 0 is one for each
            read, None no such answer.
    """

    place: str
    method: str = "read"
    parameters: Mapping[str, Any] = {}
    ttl: float | None = None

    def request(self, mount: str) -> ApiRequest:
        """Return the request. hvac has no method for a path of any engine."""
        target = f"/v1/{quote(mount)}/{quote(self.place)}"
        if self.method == "write":
            return ApiRequest("POST", target, self.parameters, creates=True)
        query = f"?{urlencode(self.parameters)}" if self.parameters else ""
        return ApiRequest("GET", f"{target}{query}", creates=True)


def read_rows(paths: Mapping[str, Any]) -> dict[str, Row]:
    """Return the rows of the option `paths`, by the application's path.

    Raises:
        ConfigurationError: the option is empty, or a row is malformed.
    """
    if not paths:
        raise ConfigurationError('paths: it names no path. Write { "database/app" = "creds/app" } and the like')
    return {check_option(f"paths: {path!r}", path): _read_row(f"paths: {path!r}", row) for path, row in paths.items()}


def _read_row(where: str, row: object) -> Row:
    if isinstance(row, str):
        return Row(check_option(f"paths: {row!r}", row))
    if not isinstance(row, Mapping):
        raise ConfigurationError(f"{where} must be a path below the mount, or a table with `path`")
    if unknown := sorted(row.keys() - set(_KEYS)):
        raise ConfigurationError(f"{where}: there is no '{unknown[0]}'. Its keys are {', '.join(_KEYS)}")
    place, method, parameters = row.get("path"), row.get("method", "read"), row.get("parameters", {})
    if not isinstance(place, str):
        raise ConfigurationError(f"{where}: its `path` must be a path below the mount")
    if method not in _METHODS:
        near = did_you_mean(method, _METHODS)
        raise ConfigurationError(f"{where}: its `method` must be one of {', '.join(_METHODS)}{near}")
    if not isinstance(parameters, Mapping):
        raise ConfigurationError(f"{where}: its `parameters` must be a table")
    ttl = parse_duration(row["ttl"]) if "ttl" in row else None
    if "ttl" in row and ttl is None:
        raise ConfigurationError(f"{where}: its `ttl` must be {ALLOWED}")
    return Row(check_option(f"{where}: `path`", place), str(method), dict(parameters), ttl)


# --- requests ---------------------------------------------------------------------------------------------------------


class LeaseClient:
    """Creates credentials, renews their leases and revokes them."""

    def __init__(self, session: Session, clock: Callable[[], float], draw: Callable[[], float] = random_factor) -> None:
        self._session = session
        self._clock = clock
        self._draw = draw
        self._renewals_denied = False

    def create(self, path: str, row: Row) -> IssuedCredentials:
        """Return new credentials.

        Args:
            path: the path that the application reads, for messages.
            row: the request.

        Raises:
            ConfigurationError: there is no such role, or no credentials are created there.
            StoreError: as for every read of Vault's. An outage may be that of the service behind the engine.
        """
        token, began = self._session.active_token, self._clock()
        answer = self._answer(self._session.request(row.request(self._session.mount)), path, row)
        data, lease_id, ttl = member(answer, "data"), answer.get("lease_id"), answer.get("lease_duration")
        if data is None or not isinstance(lease_id, str) or not is_seconds(ttl):
            raise malformed(path, self._session.location)
        if not lease_id:
            return self._without_lease(data, path, row, began)
        # After a login in between, this names the token before it, so that the next read creates new credentials.
        token = token or self._session.active_token
        renewable = answer.get("renewable") is True and not self._renewals_denied
        return IssuedCredentials(lease_id, SensitiveDict(data), self._life(began, ttl, renewable), token, used=began)

    def _without_lease(self, data: Mapping[str, Any], path: str, row: Row, began: float) -> IssuedCredentials:
        """Return an answer without a lease, if it or the row says how long it lives: a role's definition has no end."""
        static = row.place.startswith("static-creds/") and is_seconds(data.get("ttl"))
        ends = next((end for end in map(data.get, _ENDS) if is_seconds(end)), None)
        if static:
            life: float = data["ttl"]
        elif ends is not None:
            life = ends - time.time()
        elif row.ttl is not None:
            life = row.ttl
        else:
            raise ConfigurationError(
                f"paths: '{row.place}' for {path} at {self._session.location} answers something without a lease or an "
                f"end. Write the path of a role, such as creds/ROLE, or give the row a `ttl`: 0 issues one a read"
            )
        lease = self._life(began, life, renewable=False)
        return IssuedCredentials("", SensitiveDict(data), lease, None, used=began, fixed=static)

    def _life(self, began: float, ttl: float, renewable: bool) -> TokenLease:  # noqa: FBT001  # the reply's
        # `new_lease` takes 0 for a life without end. Here it is over.
        return new_lease(began, max(ttl, _OVER), self._draw(), renewable=renewable, repeatable=True)

    def _answer(self, reply: Reply, path: str, row: Row) -> Mapping[str, Any]:
        if reply.status in {400, 404, 405}:
            wrong = ", or its method or parameters are wrong" if row.method == "write" or row.parameters else ""
            raise ConfigurationError(
                f"paths: there is no '{row.place}' for {path} at {self._session.location}{wrong} "
                f"(HTTP {reply.status}). Make the role, or correct the row"
            )
        if reply.status == 500:
            reason = f"{self._session.location} answered HTTP 500: it failed, or the service behind it did"
            outage = StoreUnavailableError(path, reason, hint="Check that service, and the engine's connection to it")
            raise outage.copy(path_only=True)  # each role has its own statements, and may have its own service
        if reply.status != 200:
            raise self._session.failure(reply, path)
        answer = document(reply)
        if answer is None:
            raise malformed(path, self._session.location)
        return answer

    # --- renewal ------------------------------------------------------------------------------------------------------

    def renew(self, path: str, credentials: IssuedCredentials) -> bool:
        """Renew the lease, or log why that failed. Return False if the server no longer knows the lease."""
        began = self._clock()
        try:
            with time_limit(_RENEW_LIMIT):
                reply = self._session.request(requests().system.renew_lease(credentials.lease_id))
        except StrongroomError as error:
            self._failed(path, credentials, _reason(error))
            return True
        except Exception as error:  # noqa: BLE001  # after any failure, the thread lives on
            self._failed(path, credentials, type(error).__name__)
            return True
        if reply.status == 400:
            logger.warning("The credentials at %s are gone: the server does not know their lease any more", path)
            return False
        if reply.status == 403:
            self._denied(credentials)
        else:
            self._take(path, credentials, reply, began)
        return True

    def _take(self, path: str, credentials: IssuedCredentials, reply: Reply, began: float) -> None:
        answer = document(reply) or SensitiveDict()
        ttl = answer.get("lease_duration")
        if reply.status == 200 and is_seconds(ttl):
            credentials.renewed(began, ttl, self._draw(), renewable=answer.get("renewable") is True)
            logger.debug("The credentials at %s were renewed for %s s", path, ttl)
        else:
            reason = "the reply is not Vault's" if reply.status == 200 else f"HTTP {reply.status}"
            self._failed(path, credentials, reason)

    def _failed(self, path: str, credentials: IssuedCredentials, reason: str) -> None:
        at = self._clock()
        credentials.renewal_failed(at)
        left = max(0.0, credentials.ends - at)
        logger.warning("The credentials at %s were not renewed: %s. They end in %.0f s", path, reason, left)

    def _denied(self, credentials: IssuedCredentials) -> None:
        credentials.end_renewals()
        if not self._renewals_denied:
            self._renewals_denied = True
            logger.warning(
                "Credentials of %s are replaced, and not renewed, since the token's policies do not allow `update` on "
                "sys/leases/renew",
                self._session.location,
            )

    # --- the end ------------------------------------------------------------------------------------------------------

    def revoke(self, leased: Sequence[IssuedCredentials]) -> list[IssuedCredentials]:
        """Revoke the leases that are not over, and log those that remain and why.

        The server revokes at once, and retries if the database does not answer.

        Returns:
            Credentials whose revocation was denied, and which end with a token that `Session.close` revokes.
        """
        living = [credentials for credentials in leased if credentials.lease_id and self._clock() < credentials.ends]
        dependent: list[IssuedCredentials] = []
        with time_limit(_REVOKE_LIMIT), fail_fast():
            for number, credentials in enumerate(living):
                reason = self._revoke(credentials)
                if reason == _DENIED and credentials.token is not None and credentials.token.revocable:
                    dependent.append(credentials)
                elif reason:
                    self._warn_unrevoked(living[number:], reason)
                    break
        return dependent

    def _revoke(self, credentials: IssuedCredentials) -> str:
        """Revoke one lease. Return the reason for a failure, or the empty string."""
        try:
            reply = self._session.request(requests().system.revoke_lease(credentials.lease_id))
        except StrongroomError as error:
            return _reason(error)
        if reply.status == 403:
            return _DENIED
        return "" if reply.status in {200, 204} else f"HTTP {reply.status}"

    def check_ended(self, dependent: Sequence[IssuedCredentials]) -> None:
        """Log the credentials that did not end with their token when the session was closed."""
        left = [
            credentials for credentials in dependent if credentials.token is not None and not credentials.token.ended
        ]
        if left:
            self._warn_unrevoked(left, f"{_DENIED}, and the token was not revoked either")

    def _warn_unrevoked(self, left: Sequence[IssuedCredentials], reason: str) -> None:
        logger.warning(
            "Leases at %s were not revoked: %s. There are %d, and the last ends in %.0f s",
            self._session.location,
            reason,
            len(left),
            max(0.0, max(credentials.ends for credentials in left) - self._clock()),
        )


_DENIED = "the token's policies do not allow `update` on sys/leases/revoke"
_OVER = 0.001


def _reason(error: StrongroomError) -> str:
    return (error.reason or error.summary) if isinstance(error, StoreError) else str(error)
