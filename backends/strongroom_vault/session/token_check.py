"""What a 403 means: a bad token or a denied path. The server does not say, so that it is asked, seldom."""

from __future__ import annotations

import threading
from collections.abc import Callable
from urllib.parse import quote

from strongroom.errors import StoreUnavailableError
from strongroom.store import remaining
from strongroom_vault.http.hvac_adapter import ApiRequest
from strongroom_vault.http.sender import Sender
from strongroom_vault.responses import failure
from strongroom_vault.session.tokens import Held

LOOKUP = "/v1/auth/token/lookup-self"

_MOUNTS = "/v1/sys/internal/ui/mounts/"

_LASTS = 60.0
_SPACING = 1.0
_MOST = 1000


def mount_target(mount: str) -> str:
    """The request that tells what is mounted there."""
    return f"{_MOUNTS}{quote(mount)}"


def spends_a_use(target: str) -> bool:
    """Whether the server counts that request, where it counts the uses of a token."""
    return not target.startswith(_MOUNTS)


class Verdicts:
    """Whether the server accepts a token at all.

    Which mount answers for a path (`sys/internal/ui/mounts`) is told to every token that has any right below it,
    without a policy for that and without spending one of the token's uses; only where it has none is the token itself
    looked up, which needs the policy `default` or its like.

    A bad token is asked about once a minute. A good one makes what it was refused final for a minute; another refusal
    is asked about once a second, since the token may have been revoked meanwhile.

    Args:
        sender: sends the requests.
        mount: where the engine is mounted.
        place: it in words, for messages.
        clock: seconds that never go back.
    """

    def __init__(self, sender: Sender, mount: str, place: str, clock: Callable[[], float]) -> None:
        self._sender = sender
        self._targets = (mount_target(mount), LOOKUP)
        self._place = place
        self._clock = clock
        self._about: Held | None = None
        self._good = False
        self._asked = 0.0
        self._final: dict[str, float] = {}
        self.unlock()

    def unlock(self) -> None:
        """What a fork's child does first: another thread of its parent may have held the lock."""
        self._lock = threading.Lock()

    def is_good(self, held: Held, what: str) -> bool:
        """Whether the server accepts this token, of which it refused `what`.

        Raises:
            StoreUnavailableError: there was no answer.
        """
        if not self._lock.acquire(timeout=remaining()):
            raise StoreUnavailableError(reason="no time is left to check the token")
        try:
            known = self._is_known(held, what)
            if not known:
                good = any(self._accepts(held, target) for target in self._targets)
                if self._about is not held or len(self._final) >= _MOST:
                    self._final.clear()
                self._about, self._good, self._asked = held, good, self._clock()
            if self._good:
                held.proved = True
                if not known or what not in self._final:
                    self._final[what] = self._asked
            return self._good
        finally:
            self._lock.release()

    def _is_known(self, held: Held, what: str) -> bool:
        if self._about is not held:
            return False
        now = self._clock()
        if not self._good:
            return now < self._asked + _LASTS
        refused = self._final.get(what)
        return now < self._asked + _SPACING or (refused is not None and now < refused + _LASTS)

    def _accepts(self, held: Held, target: str) -> bool:
        reply = self._sender.send(ApiRequest("GET", target), token=held.token)
        if reply.status not in {200, 403}:
            raise failure(reply, None, self._place)
        return reply.status == 200
