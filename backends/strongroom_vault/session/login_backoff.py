"""Backoff after failed logins: while it lasts, callers get the last failure instead of another login.

An outage may end at any moment, so a call that nobody else can answer tries again; one thread at a time logs in.

A file of its own because database roles use it too, for credentials that cannot be made.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable

from strongroom.errors import StoreUnavailableError, StrongroomError
from strongroom.store import fails_fast

_OUTAGE = (1.0, 30.0)
_REFUSAL = (5.0, 60.0)


class LoginBackoff:
    """How long to wait after a failed login: 1 s to 30 s after an outage, 5 s to 60 s after a refusal.

    Each consecutive failure doubles the time.

    Args:
        clock: seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._failures = 0
        self._last: StrongroomError | None = None
        self.until = 0.0

    def check(self) -> None:
        """Return if a login may be tried.

        Raises:
            StrongroomError: the last failure, while the backoff lasts.
        """
        if self._last is None or self._clock() >= self.until:
            return
        if fails_fast() or not isinstance(self._last, StoreUnavailableError) or self._last.path_only:
            raise self._last.copy()

    def failed(self, error: StrongroomError) -> None:
        first, longest = _OUTAGE if isinstance(error, StoreUnavailableError) else _REFUSAL
        self._last = error.copy()
        self.until = self._clock() + min(longest, first * 2.0 ** min(self._failures, 10))
        self._failures += 1

    def succeeded(self) -> None:
        self._failures, self._last, self.until = 0, None, 0.0


_by_credentials: dict[int, LoginBackoff] = {}


def login_backoff(credentials: Hashable, clock: Callable[[], float]) -> LoginBackoff:
    """Return this process's backoff for logins with these credentials, and with the files that hold them as they are.

    A store whose first login is refused is opened anew for each read, so the store itself cannot remember the refusal.
    Other credentials, also in the same file, are tried at once. Only a hash is kept, which differs in each process.
    """
    return _by_credentials.setdefault(hash(credentials), LoginBackoff(clock))
