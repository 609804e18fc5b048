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
    driving = drive(steps, block)
    try:
        driving.send(None)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]  # a coroutine's result
    finally:
        driving.close()
    raise AssertionError  # unreachable: `block` waits for nothing


async def drive(steps: Steps[_R], wait: Callable[[Step], Awaitable[Any]]) -> _R:
    """Return the result of a call; `wait` returns an awaitable of one step's result."""
    answer, failure = None, None
    try:
        while True:
            step = steps.send(answer) if failure is None else steps.throw(failure)
            answer = failure = None
            try:
                answer = await wait(step)
            except BaseException as error:  # noqa: BLE001  # the call gets it, also a cancellation and an interrupt
                failure = error
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]  # a generator's result
    finally:
        steps.close()  # after an interrupt between two steps
        answer = failure = None  # the frames of an error that is kept hold no other one


async def block(step: Step) -> Any:
    """Return the result of a step, waiting in this thread."""
    return step.block()


def attempted(call: Callable[..., _R]) -> Steps[_R]:
    """Return the result of a call that takes `blocking`."""
    answer: _R = yield Step(call, attempt=lambda blocking: call(blocking=blocking))
    return answer
