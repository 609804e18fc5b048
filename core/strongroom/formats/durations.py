"""Durations as people write them: `"5m"`, `"1h30m"`, `"250ms"`, or a number of seconds. A file for backends too."""

from __future__ import annotations

import math
import re

# Go, whose notation Vault uses, writes a microsecond with either of the two letters.
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
# Compiled at first use: most processes read no duration.
_NUMBER = r"\d+(?:\.\d+)?|\.\d+"
_PART = rf"({_NUMBER})({'|'.join(_UNITS)})"
_MAX_LENGTH = 64

ALLOWED = 'a duration such as "30s", "5m", "1h", or a number of seconds'


def parse_duration(value: object) -> float | None:
    """Return the duration in seconds, or None if it is negative, not finite, or not a duration."""
    duration: float | None = None
    if isinstance(value, str) and len(value) <= _MAX_LENGTH:
        text = value.strip().lower()
        parts = re.findall(_PART, text, re.ASCII)
        if parts and "".join(map("".join, parts)) == text:
            duration = sum(float(number) * _UNITS[unit] for number, unit in parts)
        elif re.fullmatch(_NUMBER, text, re.ASCII):
            duration = float(text)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        try:
            duration = float(value)
        except OverflowError:
            return None
    return duration if duration is not None and math.isfinite(duration) and duration >= 0 else None


def format_duration(seconds: float) -> str:
    """Return the duration in the largest unit that fits once exactly or twice, to one decimal: `90 s`, `1 h`."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        count = round(seconds / length, 1)
        if count == 1 or count >= 2:
            return f"{count:g} {unit}"
    return f"{round(seconds, 1):g} s"
