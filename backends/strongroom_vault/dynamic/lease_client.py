"""What is asked of an engine that leases: credentials, their renewal, and their revocation."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeGuard
from urllib.parse import quote

from strongroom.errors import ConfigurationError, StoreError, StoreUnavailableError, StrongroomError
from strongroom.secret import SensitiveDict
from strongroom.store import time_limit
from strongroom_vault.dynamic.leases import Credentials
from strongroom_vault.http.hvac_adapter import ApiRequest
from strongroom_vault.http.request_policy import Reply
from strongroom_vault.responses import document, malformed, member
from strongroom_vault.session.lifetime import granted
from strongroom_vault.session.session import Session

logger = logging.getLogger("strongroom.vault")

RENEW = "/v1/sys/leases/renew"
REVOKE = "/v1/sys/leases/revoke"

_RENEW_LIMIT = 5.0
_REVOKE_LIMIT = 3.0
"""How long one renewal and all revocations may take, in seconds."""


class Leasing:
    """Asks for credentials and looks after their leases, as the server has them.

    Args:
        session: sends the requests, for the engine's mount.
        clock: seconds that never go back.
        draw: a random number from 0 to 1.
    """

    def __init__(self, session: Session, clock: Callable[[], float], draw: Callable[[], float] = random.random) -> None:
        self._session = session
        self._clock = clock
        self._draw = draw
        self._renewals_denied = False

    def make(self, path: str, place: str) -> Credentials:
        """What the engine makes now.

        Args:
            path: what the application asks for, for messages.
            place: where the engine makes it, below its mount.

        Raises:
            ConfigurationError: there is no such role, or nothing is made there.
            StoreError: as for every read of Vault's. That it is unavailable may be said of the database too.
        """
        token, began = self._session.held, self._clock()
        reply = self._session.request(ApiRequest("GET", f"/v1/{quote(self._session.mount)}/{quote(place)}"))
        answer = self._answer(reply, path, place)
        data, lease_id, ttl = member(answer, "data"), answer.get("lease_id"), answer.get("lease_duration")
        if data is None:
            raise malformed(path, self._session.place)
        renewable = answer.get("renewable") is True and not self._renewals_denied
        if lease_id == "":
            # The password of a static role, which nobody leased: it is good until it is rotated.
            ttl, renewable = data.get("ttl"), False
            if not _is_length(ttl):
                raise ConfigurationError(
                    f"paths: '{place}' for {path} at {self._session.place} is no role: "
                    f"write creds/ROLE, or static-creds/ROLE"
                )
        if not isinstance(lease_id, str) or not _is_length(ttl):
            raise malformed(path, self._session.place)
        # Where a login came in between, this names the token before it: then the next read gets others.
        token = token or self._session.held
        # `granted` takes 0 for ever, and here it is over.
        life = granted(began, max(ttl, _OVER), self._draw(), renewable=renewable, repeatable=True)
        return Credentials(lease_id, SensitiveDict(data), life, token, used=began)

    def _answer(self, reply: Reply, path: str, place: str) -> Mapping[str, Any]:
        if reply.status in {400, 404}:
            raise ConfigurationError(
                f"paths: there is no '{place}' for {path} at {self._session.place} (HTTP {reply.status}). "
                f"Make the role, or correct the row"
            )
        if reply.status == 500:
            reason = f"{self._session.place} answered HTTP 500: it failed, or the database behind it did"
            outage = StoreUnavailableError(path, reason, hint="Check the database, and the engine's connection to it")
            raise outage.copy(path_only=True)  # each role has its own statements, and may have its own database
        if reply.status != 200:
            raise self._session.failure(reply, path)
        answer = document(reply)
        if answer is None:
            raise malformed(path, self._session.place)
        return answer

    # --- renewing -----------------------------------------------------------------------------------------------------

    def renew(self, path: str, held: Credentials) -> bool:
        """Renews the lease, or says in a warning why not; False where the server does not know it any more."""
        began = self._clock()
        try:
            with time_limit(_RENEW_LIMIT):
                reply = self._session.request(ApiRequest("POST", RENEW, {"lease_id": held.lease_id}))
        except StrongroomError as error:
            self._failed(path, held, _reason(error))
            return True
        except Exception as error:  # noqa: BLE001  # a method of somebody else's may log in, and the thread lives on
            self._failed(path, held, type(error).__name__)
            return True
        if reply.status == 400:
            logger.warning("The credentials at %s are gone: the server does not know their lease any more", path)
            return False
        if reply.status == 403:
            self._denied(held)
        else:
            self._take(path, held, reply, began)
        return True

    def _take(self, path: str, held: Credentials, reply: Reply, began: float) -> None:
        answer = document(reply) or SensitiveDict()
        ttl = answer.get("lease_duration")
        if reply.status == 200 and _is_length(ttl):
            held.renewed(began, ttl, self._draw(), renewable=answer.get("renewable") is True)
            logger.debug("The credentials at %s were renewed for %s s", path, ttl)
        else:
            self._failed(path, held, "the answer is not Vault's" if reply.status == 200 else f"HTTP {reply.status}")

    def _failed(self, path: str, held: Credentials, reason: str) -> None:
        at = self._clock()
        held.not_renewed(at)
        left = max(0.0, held.ends - at)
        logger.warning("The credentials at %s were not renewed: %s. They end in %.0f s", path, reason, left)

    def _denied(self, held: Credentials) -> None:
        held.is_last()
        if not self._renewals_denied:
            self._renewals_denied = True
            logger.warning(
                "Credentials of %s are replaced, and not renewed, since the token's policies do not allow `update` on "
                "sys/leases/renew",
                self._session.place,
            )

    # --- the end ------------------------------------------------------------------------------------------------------

    def revoke(self, made: Sequence[Credentials]) -> list[Credentials]:
        """Has the server revoke what is still leased, and says in a warning what is left and why.

        It does so at once, and again and again where the database does not answer.

        Returns:
            What it may not revoke, and what ends with a token that the session revokes when it is closed.
        """
        living = [credentials for credentials in made if credentials.lease_id and self._clock() < credentials.ends]
        hanging: list[Credentials] = []
        with time_limit(_REVOKE_LIMIT):
            for number, credentials in enumerate(living):
                reason = self._revoked(credentials)
                if reason == _DENIED and credentials.token is not None and credentials.token.ours:
                    hanging.append(credentials)
                elif reason:
                    self._say_left(living[number:], reason)
                    break
        return hanging

    def _revoked(self, credentials: Credentials) -> str:
        """Why the lease is not revoked; the empty string where it is."""
        try:
            reply = self._session.request(ApiRequest("POST", REVOKE, {"lease_id": credentials.lease_id}))
        except StrongroomError as error:
            return _reason(error)
        if reply.status == 403:
            return _DENIED
        return "" if reply.status in {200, 204} else f"HTTP {reply.status}"

    def check_ended(self, hanging: Sequence[Credentials]) -> None:
        """Says in a warning what did not end with its token, when the session is closed."""
        left = [credentials for credentials in hanging if credentials.token is not None and not credentials.token.ended]
        if left:
            self._say_left(left, f"{_DENIED}, and the token was not revoked either")

    def _say_left(self, left: Sequence[Credentials], reason: str) -> None:
        logger.warning(
            "Leases at %s were not revoked: %s. There are %d, and the last ends in %.0f s",
            self._session.place,
            reason,
            len(left),
            max(0.0, max(credentials.ends for credentials in left) - self._clock()),
        )


_DENIED = "the token's policies do not allow `update` on sys/leases/revoke"
_OVER = 0.001


def _is_length(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _reason(error: StrongroomError) -> str:
    return (error.reason or error.summary) if isinstance(error, StoreError) else str(error)
