"""The time that is left for the running call, and the paths that a probe is about."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

DEFAULT_TIMEOUT = 10.0
"""How long one call may take in total, in seconds, where nothing else is configured."""

_deadline: ContextVar[float | None] = ContextVar("strongroom_deadline", default=None)

_needs: ContextVar[tuple[str, ...]] = ContextVar("strongroom_needs", default=())


def remaining() -> float:
    """How long the call that is running may still take, in seconds: never below zero.

    A store *must* pass it to whatever it waits for, as the total and not for each socket operation.
    """
    deadline = _deadline.get()
    return DEFAULT_TIMEOUT if deadline is None else max(0.0, deadline - time.monotonic())


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Gives the block at most `seconds`, and never more than what is left already."""
    outer, deadline = _deadline.get(), time.monotonic() + seconds
    token = _deadline.set(deadline if outer is None else min(outer, deadline))
    try:
        yield
    finally:
        _deadline.reset(token)


def needs() -> tuple[str, ...]:
    """The paths that the application reads and this store is asked for, while it is probed where that is known.

    A probe *may* look whether its credentials allow to read them. It *must not* read them for it.
    """
    return _needs.get()


@contextmanager
def needing(paths: Iterable[str]) -> Iterator[None]:
    """Tells those who are probed within the block what the application reads."""
    token = _needs.set(tuple(paths))
    try:
        yield
    finally:
        _needs.reset(token)
