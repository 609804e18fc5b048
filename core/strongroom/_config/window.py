"""The hours of a rotation: the type of the setting `window`, which `RotationConfig` declares."""

import re
from typing import NamedTuple

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY = "|".join(_DAYS)
# Compiled at first use: most processes read no window.
_WINDOW = rf"(?:((?:{_DAY})(?:-(?:{_DAY}))?(?:,(?:{_DAY})(?:-(?:{_DAY}))?)*) )?(\d\d):(\d\d)-(\d\d):(\d\d)"
WINDOW_FORMAT = 'hours in UTC such as "02:00-05:00", or with days "Sat,Sun 22:00-04:00"'


class Window(NamedTuple):
    """The hours in which a rotation may start, in UTC.

    Attributes:
        start, end: seconds since midnight. The window crosses midnight if `end` is not later than `start`.
        days: weekdays on which it opens, where Monday is 0.
    """

    start: int
    end: int
    days: frozenset[int] = frozenset(range(7))


def parse_window(text: object) -> Window | None:
    """Return the window, or None if the value is not the text of one."""
    found = re.fullmatch(_WINDOW, text.strip().lower(), re.ASCII) if isinstance(text, str) else None
    if found is None:
        return None
    days, *numbers = found.groups()
    first_hour, first_minute, last_hour, last_minute = map(int, numbers)
    if max(first_minute, last_minute) > 59 or first_hour > 23 or last_hour > 24 or (last_hour == 24 and last_minute):
        return None
    start, end = (first_hour * 60 + first_minute) * 60, (last_hour * 60 + last_minute) * 60
    if start == end:
        return None
    return Window(start, end % 86_400, _weekdays(days) if days else frozenset(range(7)))


def _weekdays(text: str) -> frozenset[int]:
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        begin, end = _DAYS.index(first), _DAYS.index(last or first)
        found.update((begin + offset) % 7 for offset in range((end - begin) % 7 + 1))
    return frozenset(found)
