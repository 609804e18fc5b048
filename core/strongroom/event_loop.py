"""Blocking calls seen from an event loop. asyncio is imported at first use: most programs that import us have none."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from strongroom.link import WouldBlockError

if TYPE_CHECKING:
    import asyncio

_P = ParamSpec("_P")
_R = TypeVar("_R")


async def in_thread(call: Callable[_P, _R], *args: _P.args, **kwargs: _P.kwargs) -> _R:
    """The call's result, from a thread of the loop's own pool."""
    import asyncio

    return await asyncio.to_thread(call, *args, **kwargs)


async def blocking_if_needed(call: Callable[[bool], _R], patience: float) -> _R:
    """`call(False)` where no I/O is needed; else waits for the read that is under way, or makes one in a thread.

    Args:
        call: takes whether it may block, and raises `WouldBlockError` where it may not and would have to.
        patience: how long to wait for another's read, in seconds.
    """
    import asyncio

    try:
        return call(False)  # noqa: FBT003  # its one argument
    except WouldBlockError as blocked:
        flight = blocked.flight
    if flight is not None:
        landing = asyncio.wrap_future(flight)
        landing.add_done_callback(_seen)
        await asyncio.wait([landing], timeout=patience)
        try:
            return call(False)  # noqa: FBT003
        except WouldBlockError:
            pass
    return await asyncio.to_thread(call, True)  # noqa: FBT003


def _seen(landing: asyncio.Future[Any]) -> None:
    """Takes a failed flight's error, which its own reader raises: unseen, asyncio would log it."""
    if not landing.cancelled():
        landing.exception()
