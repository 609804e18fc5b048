"""Context of the running call: the time left, whether to fail fast, the required paths of a probe, a first read."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final, TypeVar

DEFAULT_TIMEOUT = 10.0
"""Total time of one call, in seconds, unless configured otherwise."""

# Linux stops CLOCK_MONOTONIC while it is suspended. macOS does not, and has no CLOCK_BOOTTIME. Windows has neither.
_BOOT_CLOCK = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", None))

boot_time: Final[Callable[[], float]] = (
    time.monotonic if _BOOT_CLOCK is None else partial(time.clock_gettime, _BOOT_CLOCK)
)
"""Return seconds that never go back and go on while the machine is suspended, as leases and the age of secrets do.

A partial costs a third of what a function would, and each cached read calls it.
"""

_LAST = datetime.max.replace(tzinfo=UTC)

_T = TypeVar("_T")

_deadline: ContextVar[float | None] = ContextVar("strongroom_deadline", default=None)

_default: ContextVar[float | None] = ContextVar("strongroom_default_limit", default=None)

_fails_fast: ContextVar[bool] = ContextVar("strongroom_fails_fast", default=False)

_required_paths: ContextVar[tuple[str, ...]] = ContextVar("strongroom_required_paths", default=())


class FirstRead:
    """The read that opens a store.

    A store whose opening has to ask its service *may* send this read at once, and keep the reply for it.

    Attributes:
        path: the path that is read.
    """

    __slots__ = ("_kept", "path")

    def __init__(self, path: str) -> None:
        self.path = path
        self._kept: tuple[object, object] | None = None

    def keep(self, store: object, reply: object) -> None:
        """Keep the reply that this store has got, for its read."""
        self._kept = store, reply

    def take(self, store: object) -> object | None:
        """Return the reply that this store has kept, once, or None."""
        kept, self._kept = self._kept, None
        return kept[1] if kept is not None and kept[0] is store else None


_first_read: ContextVar[FirstRead | None] = ContextVar("strongroom_first_read", default=None)

_UNCHANGED = nullcontext()


@contextmanager
def scoped(variable: ContextVar[_T], value: _T) -> Iterator[None]:
    """Set a context variable within the block. A generator also resets it if a signal interrupts `__exit__`."""
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)


def remaining() -> float:
    """Return the time left for the running call, in seconds, never below zero.

    A store *must* pass it to every wait, as the total and not for each socket operation.
    """
    deadline = _deadline.get()
    return (_default.get() or DEFAULT_TIMEOUT) if deadline is None else max(0.0, deadline - time.monotonic())


def utc_after(seconds: float) -> datetime | None:
    """Return the time of the wall clock after these seconds, for `Secret.ends`; None if no date is so late."""
    now = datetime.now(UTC)
    return now + timedelta(seconds=seconds) if seconds < (_LAST - now).total_seconds() else None


def current_deadline() -> float | None:
    """Return when the running call has to end, on the clock of `time.monotonic`; None if it has no deadline."""
    return _deadline.get()


def set_deadline(deadline: float | None) -> None:
    """Set `current_deadline` of the current context, for a thread that works for several calls in turn."""
    _deadline.set(deadline)


def time_limit(seconds: float) -> AbstractContextManager[None]:
    """Limit the block to `seconds` from now on, or to the time that is left already if that is less."""
    outer, deadline = _deadline.get(), time.monotonic() + seconds
    return scoped(_deadline, deadline) if outer is None or deadline < outer else _UNCHANGED


def default_limit(seconds: float | None) -> AbstractContextManager[None]:
    """Let `remaining` return `seconds` instead of `DEFAULT_TIMEOUT` within the block. None changes nothing."""
    return _UNCHANGED if seconds is None else scoped(_default, seconds)


def fails_fast() -> bool:
    """Return True if something else can answer the running call: another link of the chain, or a stale value.

    A store *should* then report an outage at once. Otherwise nobody else answers: an outage may end soon, for
    example when a cluster elects a leader, and the store *should* retry until `remaining()` is over.
    """
    return _fails_fast.get()


def fail_fast(enabled: bool = True) -> AbstractContextManager[None]:  # noqa: FBT001, FBT002  # as `contextlib` names its flags
    """Let `fails_fast` return True within the block, if `enabled`."""
    return scoped(_fails_fast, value=True) if enabled and not _fails_fast.get() else _UNCHANGED


def required_paths() -> tuple[str, ...]:
    """Return the paths that the application reads from this store, during a probe that knows them.

    A probe *may* check if its credentials allow to read them. It *must not* read them for that.
    """
    return _required_paths.get()


def require_paths(paths: Iterable[str]) -> AbstractContextManager[None]:
    """Set `required_paths` for the probes within the block."""
    return scoped(_required_paths, tuple(paths))


def first_read() -> FirstRead | None:
    """Return the read that opens the store which is being opened, or that was opened for the running call."""
    return _first_read.get()


def opening_for(path: str) -> AbstractContextManager[None]:
    """Let the store that is opened within the block know that this path is read at once."""
    return scoped(_first_read, FirstRead(path))
