"""Time left for the running call, and the required paths of a probe: both travel in context variables."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

DEFAULT_TIMEOUT = 10.0
"""Total time of one call, in seconds, unless configured otherwise."""

_deadline: ContextVar[float | None] = ContextVar("strongroom_deadline", default=None)

_required_paths: ContextVar[tuple[str, ...]] = ContextVar("strongroom_required_paths", default=())


def remaining() -> float:
    """Return the time left for the running call, in seconds, never below zero.

    A store *must* pass it to every wait, as the total and not for each socket operation.
    """
    deadline = _deadline.get()
    return DEFAULT_TIMEOUT if deadline is None else max(0.0, deadline - time.monotonic())


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Limit the block to `seconds`, or to the time that is left already if that is less."""
    outer, deadline = _deadline.get(), time.monotonic() + seconds
    token = _deadline.set(deadline if outer is None else min(outer, deadline))
    try:
        yield
    finally:
        _deadline.reset(token)


def required_paths() -> tuple[str, ...]:
    """Return the paths that the application reads from this store, during a probe that knows them.

    A probe *may* check if its credentials allow to read them. It *must not* read them for that.
    """
    return _required_paths.get()


@contextmanager
def require_paths(paths: Iterable[str]) -> Iterator[None]:
    """Set `required_paths` for the probes within the block."""
    token = _required_paths.set(tuple(paths))
    try:
        yield
    finally:
        _required_paths.reset(token)
