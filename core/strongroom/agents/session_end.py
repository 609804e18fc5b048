"""The end of a session, for the command and for its proxy: a module of its own, since the command reads it first."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from strongroom.agents._rules.request import Refusal
from strongroom.store.deadline import boot_time


class SessionEnd:
    """The end of a session: a time of the clock, or an earlier moment at which its seconds have passed.

    So a clock that is set back does not make a session longer, and neither does a machine that is suspended.

    Args:
        seconds: how long the session lasts, from now.

    Attributes:
        at: the end by the clock.
    """

    def __init__(self, seconds: float) -> None:
        self.at = datetime.now(UTC) + timedelta(seconds=seconds)
        self._passed = boot_time() + seconds

    def left(self) -> float:
        """Return the seconds that are left: 0 after the end."""
        return max(0.0, min((self.at - datetime.now(UTC)).total_seconds(), self._passed - boot_time()))

    def refusal(self) -> Refusal:
        """Return the refusal of a request after the end."""
        return Refusal(403, f"The session ended at {self.at:%Y-%m-%d %H:%M} UTC")
