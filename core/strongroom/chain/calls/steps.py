"""Calls that wait several times, written once: a thread or an event loop drives their steps.

A call is a generator. It yields a `Step` wherever it has to wait, and gets the result or the error in return.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from typing import Any, NamedTuple, TypeAlias, TypeVar

_R = TypeVar("_R")


class Step(NamedTuple):
    """Something that a call waits for.

    Attributes:
        block: waits for it in the calling thread, and returns the result.
        wait: returns an awaitable of the same result, for the running event loop; None if only a thread can wait.
        attempt: returns the result too. It takes whether it may block: see `Threads.run_if_needed`.
    """

    block: Callable[[], Any]
    wait: Callable[[], Awaitable[Any]] | None = None
    attempt: Callable[[bool], Any] | None = None


Steps: TypeAlias = "Generator[Step, Any, _R]"
"""A call that returns an `_R`."""


def run(steps: Steps[_R]) -> _R:
    """Return the result of a call, waiting in this thread."""
    answer, failure = None, None
    try:
        while True:
            step = steps.send(answer) if failure is None else steps.throw(failure)
            answer = failure = None
            try:
                answer = step.block()
            except BaseException as error:  # noqa: BLE001  # the call gets it
                failure = error
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]  # a generator's result
    finally:
        steps.close()  # after an interrupt between two steps
        answer = failure = None  # the frames of an error that is kept hold no other one


async def drive(steps: Steps[_R], otherwise: Callable[[Step], Awaitable[Any]]) -> _R:
    """Return the result of a call, waiting in the running event loop; `otherwise` waits for a step without `wait`."""
    answer, failure = None, None
    try:
        while True:
            step = steps.send(answer) if failure is None else steps.throw(failure)
            answer = failure = None
            try:
                answer = await (otherwise(step) if step.wait is None else step.wait())
            except BaseException as error:  # noqa: BLE001  # the call gets it, also a cancellation
                failure = error
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]  # as above
    finally:
        steps.close()
        answer = failure = None
