"""Logins that fail are held back: what failed just now is not asked again because somebody else reads a secret."""

from __future__ import annotations

from collections.abc import Callable, Hashable

from strongroom.errors import StoreUnavailableError, StrongroomError

_OUTAGE = (1.0, 30.0)
_REFUSAL = (5.0, 60.0)


class Restraint:
    """How long to wait after a login that failed: 1 s to 30 s after an outage, 5 s to 60 s after a refusal.

    Each failure in a row doubles it. Until then, who wants to log in is told of the last failure.

    Args:
        clock: seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._failures = 0
        self._last: StrongroomError | None = None
        self.until = 0.0

    def check(self) -> None:
        """Returns when a login may be tried.

        Raises:
            StrongroomError: the last failure, which is too fresh.
        """
        if self._last is not None and self._clock() < self.until:
            raise self._last.copy()

    def failed(self, error: StrongroomError) -> None:
        """A login failed."""
        first, last = _OUTAGE if isinstance(error, StoreUnavailableError) else _REFUSAL
        self._last = error.copy()
        self.until = self._clock() + min(last, first * 2.0 ** min(self._failures, 10))
        self._failures += 1

    def succeeded(self) -> None:
        """A login gave a token."""
        self._failures, self._last, self.until = 0, None, 0.0


_by_credentials: dict[int, Restraint] = {}


def restraint_of(credentials: Hashable, clock: Callable[[], float]) -> Restraint:
    """The restraint for logins with these credentials, in this process.

    A store whose first login is refused is opened anew at each read, and knows nothing of the one before it. Nothing is
    kept of the credentials but a hash, which is another one in each process.
    """
    try:
        return _by_credentials.setdefault(hash(credentials), Restraint(clock))
    except TypeError:  # they are not hashable: somebody else's method
        return Restraint(clock)
