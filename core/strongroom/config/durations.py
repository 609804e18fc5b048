"""Durations as a person writes them: `"5m"`, `"1h30m"`, `"250ms"`, or a number of seconds."""

from __future__ import annotations

import math
import re

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", re.ASCII)
_WHOLE = re.compile(rf"(?:{_PART.pattern})+", re.ASCII)
_NUMBER = re.compile(r"\d+(?:\.\d+)?", re.ASCII)

ALLOWED = 'a duration such as "30s", "5m", "1h", or a number of seconds'


def seconds(value: object) -> float | None:
    """The duration in seconds, or None when it is none: it is negative, not finite, or not understood."""
    duration: float | None = None
    if isinstance(value, str):
        text = value.strip().lower()
        if _NUMBER.fullmatch(text):
            duration = float(text)
        elif _WHOLE.fullmatch(text):
            duration = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        try:
            duration = float(value)
        except OverflowError:
            return None
    return duration if duration is not None and math.isfinite(duration) and duration >= 0 else None


def in_words(seconds: float) -> str:
    """The duration for a person, to a tenth of the largest unit that it fills twice, or once exactly: `90 s`, `1 h`."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        count = round(seconds / length, 1)
        if count == 1 or count >= 2:
            return f"{count:g} {unit}"
    return f"{round(seconds, 1):g} s"
