"""Check of a token after a 403, which stands for a bad token as well as for a denied path."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote

from strongroom.errors import StoreUnavailableError
from strongroom.store import fork_safe_lock, remaining
from strongroom_vault.auth import Send
from strongroom_vault.http.hvac_adapter import ApiRequest, requests
from strongroom_vault.responses import failure
from strongroom_vault.session.tokens import ActiveToken

_MOUNTS = "/v1/sys/internal/ui/mounts/"

_RESULT_LASTS = 60.0
_INTERVAL = 1.0
_MOST_REFUSALS = 1000


def mount_request(mount: str) -> ApiRequest:
    """Return the request for the engine that is mounted there. hvac has no method for it."""
    return ApiRequest("GET", f"{_MOUNTS}{quote(mount)}")


class TokenCheck:
    """Tells whether the server still accepts a token.

    `sys/internal/ui/mounts` answers every token that has any right below the mount; no policy is needed, and no use of
    the token is spent. Only a token without such a right is looked up, which the policy `default` allows.

    A bad token is checked once a minute. A good one makes a refusal final for a minute. Other refusals lead to one
    check a second, because the token may have been revoked meanwhile.
    """

    def __init__(self, mount: str, location: str, clock: Callable[[], float]) -> None:
        self._mount = mount
        self._location = location
        self._clock = clock
        self._checked: ActiveToken | None = None
        self._good = False
        self._checked_at = 0.0
        self._final: dict[str, float] = {}
        self._lock = fork_safe_lock(self, "_lock")

    def is_good(self, send: Send, active: ActiveToken, refused: str) -> bool:
        """Return True if the server accepts this token, although it refused the request `refused`.

        Raises:
            StoreUnavailableError: the server did not answer.
        """
        if not self._lock.acquire(timeout=remaining()):
            raise StoreUnavailableError(reason="no time is left to check the token")
        try:
            known = self._is_known(active, refused)
            if not known:
                good = self._accepts(send, active, mount_request(self._mount)) or self._accepts(
                    send, active, requests().token.lookup_self()
                )
                if self._checked is not active or len(self._final) >= _MOST_REFUSALS:
                    self._final.clear()
                self._checked, self._good, self._checked_at = active, good, self._clock()
            if self._good:
                active.accepted = True
                if not known or refused not in self._final:
                    self._final[refused] = self._checked_at
            return self._good
        finally:
            self._lock.release()

    def _is_known(self, active: ActiveToken, refused: str) -> bool:
        if self._checked is not active:
            return False
        now = self._clock()
        if not self._good:
            return now < self._checked_at + _RESULT_LASTS
        final_since = self._final.get(refused)
        recent = now < self._checked_at + _INTERVAL
        return recent or (final_since is not None and now < final_since + _RESULT_LASTS)

    def _accepts(self, send: Send, active: ActiveToken, request: ApiRequest) -> bool:
        reply = send(request, token=active.token)
        if reply.status not in {200, 403}:
            raise failure(reply, None, self._location)
        return reply.status == 200
