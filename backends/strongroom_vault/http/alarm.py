"""Time limits of many tasks on one event loop, with one timer: a timer for each would cost a tenth of a read."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class Alarm:
    """Interrupts tasks whose time is over, within one event loop."""

    def __init__(self) -> None:
        self._ends: dict[asyncio.Task[object], float] = {}
        self._late: set[asyncio.Task[object]] = set()
        self._timer: asyncio.TimerHandle | None = None

    @contextmanager
    def after(self, seconds: float) -> Iterator[None]:
        """Limit the block to `seconds`; blocks of one task must not be nested.

        Raises:
            TimeoutError: the time is over.
        """
        task = asyncio.current_task()
        assert task is not None, "it must be used in a task"  # noqa: S101  # the driver's contract
        cancelled = task.cancelling()
        self._ends[task] = end = asyncio.get_running_loop().time() + seconds
        if self._timer is None or end < self._timer.when():
            self._set(end)
        try:
            yield
        except asyncio.CancelledError:
            # Another cancellation at the same time takes precedence.
            if task in self._late and task.uncancel() <= cancelled:
                raise TimeoutError from None
            raise
        finally:
            del self._ends[task]
            self._late.discard(task)

    def _set(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(when, self._ring)

    def _ring(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time()
        for task, end in self._ends.items():
            if end <= now and task not in self._late:
                self._late.add(task)
                task.cancel()
        if waiting := [end for task, end in self._ends.items() if task not in self._late]:
            self._set(min(waiting))
