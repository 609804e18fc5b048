"""The times at which a watch looks at its secrets. Pure.

A separate file because the simulation of many processes in `tests/bench` runs exactly this rule.
"""

from __future__ import annotations

import math

_SHARE_OF_TTL = 0.8
"""Part of its time to live after which a cached secret is looked at. The cache shortens that time by up to a tenth."""


def effective_interval(interval: float, ttl: float) -> float:
    """Return the seconds between two looks, so that a secret is refreshed before a cache with this ttl drops it.

    A ttl of zero disables the cache.
    """
    return min(interval, _SHARE_OF_TTL * ttl) if ttl > 0 else interval


def first_look(now: float, interval: float, draw: float) -> float:
    """Return the time of the first look: anywhere within the first interval. `draw` is a random number from 0 to 1.

    Processes that start together look at different times from the first look on. Every later look keeps that distance,
    also after an outage that all of them saw, since `next_look` only adds whole intervals.
    """
    return now + interval * draw


def next_look(last: float, interval: float, now: float) -> float:
    """Return the first time after `now` that is a whole number of intervals after `last`.

    Looks that a slow store delayed past their time are left out, so that no two follow one another at once.
    """
    return last + interval * (math.floor(max(0.0, now - last) / interval) + 1)
