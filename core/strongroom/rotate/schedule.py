"""Due dates of scheduled rotations. Pure: every time is an argument.

All replicas of a scheduler compute the same due date, since its jitter is drawn from the path and the last rotation.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

from strongroom._config import RotationConfig
from strongroom._config.setting_types import Window
from strongroom.rotate.state import RotationState

_DAY = 86_400
_FIRST_RETRY = timedelta(minutes=1)
_LAST_RETRY = timedelta(hours=1)


def due_date(rotation: RotationConfig, last: datetime | None) -> datetime | None:
    """Return the next due date of the secret; None if it has no schedule.

    Args:
        rotation: the schedule.
        last: the last success, or when the secret was written; None is due at once, within the window.
    """
    if rotation.every is None:
        return None
    last = datetime.fromtimestamp(0, UTC) if last is None else last.astimezone(UTC)
    due = last + timedelta(seconds=rotation.every)
    jitter = rotation.jitter
    if rotation.window is not None:
        due = next_opening(rotation.window, due)
        # The delay stays within the window, so that it does not close before the rotation is due.
        jitter = min(jitter, (closing(rotation.window, due) - due).total_seconds() / 2)
    return due + timedelta(seconds=jitter * _fraction(rotation.path, last))


def is_due(rotation: RotationConfig, last: datetime | None, now: datetime) -> bool:
    """Return True if the secret is due and the window is open."""
    due = due_date(rotation, last)
    return due is not None and now >= due and (rotation.window is None or is_open(rotation.window, now))


def retry_date(failed: datetime, failures: int) -> datetime:
    """Return when a rotation that failed may be tried again by a scheduler: the pause doubles up to an hour."""
    doublings = min(max(failures - 1, 0), 10)
    return failed + min(_FIRST_RETRY * (1 << doublings), _LAST_RETRY)


def is_paused(state: RotationState | None, now: datetime) -> bool:
    """Return True if the last rotation failed, and a scheduler must not try again yet."""
    return state is not None and state.failures > 0 and now < retry_date(state.changed, state.failures)


def is_open(window: Window, moment: datetime) -> bool:
    """Return True if the window is open at this moment."""
    return next_opening(window, moment) == moment


def next_opening(window: Window, moment: datetime) -> datetime:
    """Return the moment if the window is open then, or when it opens next."""
    moment = moment.astimezone(UTC)
    midnight = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    openings = []
    for offset in range(-1, 8):
        day = midnight + timedelta(days=offset)
        if day.weekday() in window.days:
            opening = day + timedelta(seconds=window.start)
            if opening <= moment < _end(window, opening):
                return moment
            if opening > moment:
                openings.append(opening)
    return min(openings)


def closing(window: Window, moment: datetime) -> datetime:
    """Return when the window closes that is open at this moment."""
    midnight = moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    ends = (_end(window, midnight + timedelta(days=offset, seconds=window.start)) for offset in (-1, 0))
    return min(end for end in ends if end > moment)


def _end(window: Window, opening: datetime) -> datetime:
    return opening + timedelta(seconds=(window.end - window.start - 1) % _DAY + 1)


def _fraction(path: str, last: datetime) -> float:
    """Return a number from 0 to 1 that is the same in every process."""
    digest = hashlib.sha256(f"{path}\n{last.isoformat()}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
