"""Requests to a database engine: credentials, renewal of their leases, revocation."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from strongroom.errors import ConfigurationError, StoreError, StoreUnavailableError, StrongroomError
from strongroom.secret import SensitiveDict
from strongroom.store import time_limit
from strongroom.store.deadline import fail_fast
from strongroom.store.jitter import random_factor
from strongroom_vault.dynamic.leases import IssuedCredentials
from strongroom_vault.http.hvac_adapter import ApiRequest, requests
from strongroom_vault.http.messages import Reply
from strongroom_vault.responses import document, is_seconds, malformed, member
from strongroom_vault.session.lifetime import new_lease
from strongroom_vault.session.session import Session

logger = logging.getLogger("strongroom.vault")

_RENEW_LIMIT = 10.0
_REVOKE_LIMIT = 3.0
"""Time limits for one renewal and for all revocations, in seconds."""


class LeaseClient:
    """Creates credentials, renews their leases and revokes them."""

    def __init__(self, session: Session, clock: Callable[[], float], draw: Callable[[], float] = random_factor) -> None:
        self._session = session
        self._clock = clock
        self._draw = draw
        self._renewals_denied = False

    def create(self, path: str, role_path: str) -> IssuedCredentials:
        """Return new credentials.

        Args:
            path: the path that the application reads, for messages.
            role_path: the role's path below the mount.

        Raises:
            ConfigurationError: there is no such role, or no credentials are created there.
            StoreError: as for every read of Vault's. An outage may be the database's.
        """
        token, began = self._session.active_token, self._clock()
        reply = self._session.request(self._credentials_request(role_path))
        answer = self._answer(reply, path, role_path)
        data, lease_id, ttl = member(answer, "data"), answer.get("lease_id"), answer.get("lease_duration")
        if data is None:
            raise malformed(path, self._session.location)
        renewable = answer.get("renewable") is True and not self._renewals_denied
        if lease_id == "":
            # The password of a static role has no lease. It is valid until it is rotated.
            ttl, renewable = data.get("ttl"), False
            if not is_seconds(ttl):
                raise ConfigurationError(
                    f"paths: '{role_path}' for {path} at {self._session.location} is not a role: "
                    f"write creds/ROLE, or static-creds/ROLE"
                )
        if not isinstance(lease_id, str) or not is_seconds(ttl):
            raise malformed(path, self._session.location)
        # After a login in between, this names the token before it, so that the next read creates new credentials.
        token = token or self._session.active_token
        # `new_lease` takes 0 for a life without end. Here it is over.
        lease = new_lease(began, max(ttl, _OVER), self._draw(), renewable=renewable, repeatable=True)
        return IssuedCredentials(lease_id, SensitiveDict(data), lease, token, used=began)

    def _credentials_request(self, role_path: str) -> ApiRequest:
        kind, _, role = role_path.partition("/")
        database, mount = requests().database, self._session.mount
        if kind == "creds" and role:
            request = database.generate_credentials(role, mount_point=mount)
        elif kind == "static-creds" and role:
            request = database.get_static_credentials(role, mount_point=mount)
        else:  # an engine of a third party, for which hvac has no method
            request = ApiRequest("GET", f"/v1/{quote(mount)}/{quote(role_path)}")
        return request._replace(creates=True)

    def _answer(self, reply: Reply, path: str, role_path: str) -> Mapping[str, Any]:
        if reply.status in {400, 404}:
            raise ConfigurationError(
                f"paths: there is no '{role_path}' for {path} at {self._session.location} (HTTP {reply.status}). "
                f"Make the role, or correct the row"
            )
        if reply.status == 500:
            reason = f"{self._session.location} answered HTTP 500: it failed, or the database behind it did"
            outage = StoreUnavailableError(path, reason, hint="Check the database, and the engine's connection to it")
            raise outage.copy(path_only=True)  # each role has its own statements, and may have its own database
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
        except Exception as error:  # noqa: BLE001  # a third party's auth method may raise anything, and the thread lives on
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
