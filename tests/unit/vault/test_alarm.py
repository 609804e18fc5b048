"""Many tasks' time limits, kept by one timer."""

import asyncio
import time

import pytest

from strongroom_vault.http.alarm import Alarm

LONG = 30


async def in_time(alarm: Alarm, limit: float, seconds: float) -> bool:
    """Whether a wait of so many seconds was not interrupted, of a task that was given so much time."""
    try:
        with alarm.after(limit):
            await asyncio.sleep(seconds)
    except TimeoutError:
        return False
    return True


def test_each_task_has_its_own_time_whatever_the_order_in_which_they_begin():
    async def waits():
        alarm = Alarm()
        limits = [(0.2, LONG), (0.1, LONG), (LONG, 0.15), (0.3, LONG), (LONG, 0.01), (0.1, LONG)]
        return await asyncio.gather(*(in_time(alarm, limit, seconds) for limit, seconds in limits))

    started = time.monotonic()
    assert asyncio.run(waits()) == [False, False, True, False, True, False]
    assert 0.3 <= time.monotonic() - started < LONG


def test_a_task_that_was_in_time_is_left_alone_and_may_be_timed_again():
    async def waits():
        alarm = Alarm()
        went = [await in_time(alarm, limit, seconds) for limit, seconds in [(1, 0), (LONG, 1.2), (0.05, LONG), (1, 0)]]
        return went, asyncio.current_task().cancelling()

    assert asyncio.run(waits()) == ([True, True, False, True], 0)


def test_no_time_at_all_is_over_at_the_first_wait():
    assert not asyncio.run(in_time(Alarm(), 0, LONG))


def test_what_the_block_raises_is_its_own():
    async def fails():
        with Alarm().after(LONG):
            raise KeyError

    with pytest.raises(KeyError):
        asyncio.run(fails())


@pytest.mark.parametrize("limit", [LONG, 0.01])
def test_a_task_that_is_cancelled_ends_also_where_its_time_is_over_too(limit):
    async def cancelled():
        task = asyncio.create_task(in_time(Alarm(), limit, LONG))
        await asyncio.sleep(0)
        time.sleep(0.05)  # noqa: ASYNC251  # so that the cancellation and the alarm come in one turn of the loop
        task.cancel()
        await asyncio.wait({task})
        return task.cancelled()

    assert asyncio.run(cancelled())
