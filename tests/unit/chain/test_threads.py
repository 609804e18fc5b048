"""Calls of tasks: how many threads and requests they take, in which order they write, and how they end."""

from __future__ import annotations

import asyncio
import gc
import inspect
import pickle
import subprocess
import sys
import textwrap
import threading
import time
from functools import partial
from typing import Any

import pytest

from strongroom import SecretsManager
from strongroom._chain import threads as threads_module
from strongroom._chain.threads import Threads
from strongroom.errors import SecretNotFoundError, StoreUnavailableError
from strongroom.rotate import Rotations
from strongroom.secret import Secret
from strongroom.secrets_manager import Resolution, Versions
from strongroom.store import remaining, time_limit
from strongroom.store.memory import MemoryStore
from support.clock import LONG
from support.stores import RemoteStore


@pytest.fixture
def store() -> RemoteStore:
    return RemoteStore({"a": {"k": "v", "l": "w", "n": {"deep": "x"}}})


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[threading.Thread]:
    """The threads that `Threads` has started."""
    started: list[threading.Thread] = []

    class Noted(threading.Thread):
        def start(self) -> None:
            if self.name == "strongroom":
                started.append(self)
            super().start()

    monkeypatch.setattr(threading, "Thread", Noted)
    return started


def held(store: RemoteStore) -> Any:
    """Return the data that the store holds at `a`, past its gate."""
    return MemoryStore.read(store, "a").data


# --- reads ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ttl", [300, 0])
def test_a_thousand_tasks_on_one_cold_path_make_one_request_in_one_thread(store, begun, ttl) -> None:
    async def use() -> list[Any]:
        async with SecretsManager(chain=[store], cache_ttl=ttl) as manager:
            store.gate.clear()
            reads = [asyncio.create_task(manager.aget_secret("a", "k")) for _ in range(1000)]
            await asyncio.sleep(0)  # each has begun
            store.gate.set()
            return await asyncio.gather(*reads)

    assert set(asyncio.run(use())) == {"v"}
    assert store.reads == ["a"]
    assert len(begun) == 1


def test_tasks_that_read_other_keys_of_a_cold_path_find_them_cached(store, begun) -> None:
    async def use() -> list[Any]:
        async with SecretsManager(chain=[store]) as manager:
            store.gate.clear()
            reads = [asyncio.create_task(manager.aget_secret("a", key)) for _ in range(50) for key in "kl"]
            await asyncio.sleep(0)  # each has begun
            store.gate.set()
            return await asyncio.gather(*reads)

    assert asyncio.run(use()) == ["v", "w"] * 50
    assert store.reads == ["a"]
    assert len(begun) == 1


class Late(RemoteStore):
    """A store that answers an absence too only when its gate is set."""

    def read(self, path: str) -> Secret:
        assert self.gate.wait(LONG)
        return super().read(path)


def test_tasks_that_share_a_read_get_separate_values_and_errors() -> None:
    store = Late({"a": {"k": "v", "l": "w", "n": {"deep": "x"}}})

    async def both(*reads: Any) -> list[Any]:
        store.gate.clear()
        tasks = [asyncio.create_task(read) for read in reads]
        await asyncio.sleep(0)  # each has begun
        store.gate.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    async def use() -> None:
        async with SecretsManager(chain=[store], cache_ttl=0) as manager:
            first, second = await both(manager.aget_secret("a"), manager.aget_secret("a"))
            assert first == second == {"k": "v", "l": "w", "n": {"deep": "x"}}
            assert first is not second
            assert first["n"] is not second["n"]
            one, other = await both(*(manager.aget_secret("b", "k") for _ in range(2)))
            assert isinstance(one, SecretNotFoundError)
            assert isinstance(other, SecretNotFoundError)
            assert one is not other
            assert one.attempts == other.attempts != ()

    asyncio.run(use())
    assert store.reads == ["a", "b"]


def test_a_read_after_a_write_shares_no_read_that_began_before(store) -> None:
    async def use() -> None:
        async with SecretsManager(chain=[store], cache_ttl=0) as manager:
            manager.resolve("a")
            assert store.entered.acquire(timeout=LONG)
            store.gate.clear()
            older = asyncio.create_task(manager.aget_secret("a", "k"))
            assert await asyncio.to_thread(store.entered.acquire, timeout=LONG)
            manager.invalidate("a")  # as a write does
            later = asyncio.create_task(manager.aget_secret("a", "k"))
            assert await asyncio.to_thread(store.entered.acquire, timeout=LONG)
            store.gate.set()
            assert await asyncio.gather(older, later) == ["v", "v"]

    asyncio.run(use())
    assert store.reads == ["a"] * 3


def test_a_cancelled_task_leaves_the_read_to_those_that_share_it(store) -> None:
    async def use() -> None:
        async with SecretsManager(chain=[store]) as manager:
            store.gate.clear()
            first, second = (asyncio.create_task(manager.aget_secret("a", "k")) for _ in range(2))
            assert await asyncio.to_thread(store.entered.acquire, timeout=LONG)
            first.cancel()
            await asyncio.wait([first])
            store.gate.set()
            assert first.cancelled()
            assert await second == "v"

    asyncio.run(use())
    assert store.reads == ["a"]


def test_a_task_that_is_cancelled_while_its_read_waits_for_a_thread_leaves_it_too(store, monkeypatch) -> None:
    monkeypatch.setattr(threads_module, "_MOST_THREADS", 1)

    async def use() -> None:
        async with SecretsManager(chain=[store]) as manager:
            manager.resolve("a")
            store.gate.clear()
            busy = asyncio.create_task(manager.aget_secret("a", "k", fresh=True))
            assert await asyncio.to_thread(store.entered.acquire, timeout=LONG)
            first, second = (asyncio.create_task(manager.aget_secret("b", "k", default="none")) for _ in range(2))
            await asyncio.sleep(0)  # both have begun
            first.cancel()
            await asyncio.wait([first])
            store.gate.set()
            assert await asyncio.gather(busy, second) == ["v", "none"]

    asyncio.run(use())


def test_a_task_that_shares_a_read_waits_its_own_time(store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads_module, "GRACE", 0.0)

    async def use() -> None:
        async with SecretsManager(chain=[store]) as manager:
            store.gate.clear()
            patient = asyncio.create_task(manager.aget_secret("a", "k"))
            assert await asyncio.to_thread(store.entered.acquire, timeout=LONG)
            with time_limit(0.01), pytest.raises(StoreUnavailableError, match="under way took too long"):
                await manager.aget_secret("a", "k")
            store.gate.set()
            assert await patient == "v"

    asyncio.run(use())


def test_fresh_reads_are_not_shared(store) -> None:
    async def use() -> None:
        async with SecretsManager(chain=[store]) as manager:
            await asyncio.gather(*(manager.aget_secret("a", "k", fresh=True) for _ in range(3)))

    asyncio.run(use())
    assert store.reads == ["a"] * 3


def test_reads_of_two_event_loops_are_shared(store) -> None:
    """The read of one answers a task of the other."""
    manager = SecretsManager(chain=[store], cache_ttl=0)
    store.gate.clear()
    answers: list[Any] = []
    first = threading.Thread(target=lambda: answers.append(asyncio.run(manager.aget_secret("a", "k"))))
    first.start()
    assert store.entered.acquire(timeout=LONG)

    async def use() -> None:
        second = asyncio.create_task(manager.aget_secret("a", "k"))
        await asyncio.sleep(0)
        store.gate.set()
        answers.append(await second)

    asyncio.run(use())
    first.join()
    manager.close()
    assert answers == ["v", "v"]
    assert store.reads == ["a"]


# --- writes -----------------------------------------------------------------------------------------------------------


def test_writes_of_a_path_take_turns_and_few_threads(store, begun) -> None:
    """First come, first served. Other paths do not wait for them."""

    async def use() -> None:
        async with SecretsManager(chain=[store]) as manager:
            writes = [manager.aset_secret("a", {f"k{number}": number}) for number in range(50)]
            await asyncio.gather(*writes)
            assert list(held(store))[-50:] == [f"k{number}" for number in range(50)]

    asyncio.run(use())
    assert len(begun) < 10


def test_a_write_that_is_cancelled_before_its_turn_leaves_it_to_the_next(store) -> None:
    async def use() -> None:
        async with SecretsManager(chain=[store]) as manager:
            await manager.aset_secret("a", {"k": "0"})
            while store.entered.acquire(blocking=False):
                pass
            store.gate.clear()
            tasks = [asyncio.create_task(manager.aset_secret("a", {"k": f"{number}"})) for number in range(3)]
            assert await asyncio.to_thread(store.entered.acquire, timeout=LONG)
            tasks[1].cancel()
            await asyncio.wait([tasks[1]])
            store.gate.set()
            await asyncio.gather(tasks[0], tasks[2])
            assert tasks[1].cancelled()

    asyncio.run(use())
    assert held(store)["k"] == "2"


def test_a_write_that_is_cancelled_just_after_it_got_its_turn_leaves_it_to_the_next() -> None:
    threads, entered, go = Threads(LONG), threading.Event(), threading.Event()

    def first() -> None:
        entered.set()
        assert go.wait(LONG)

    async def use() -> None:
        tasks = [asyncio.create_task(threads.write_in_turn("a", call)) for call in (first, dict, list)]
        await asyncio.to_thread(entered.wait, LONG)
        go.set()
        time.sleep(0.1)  # noqa: ASYNC251  # the turn comes while this loop cannot take it
        tasks[1].cancel()
        assert await tasks[2] == []
        assert tasks[1].cancelled()

    asyncio.run(use())
    threads.close()


def test_a_write_waits_for_its_turn_within_its_own_time(store) -> None:
    async def use() -> None:
        async with SecretsManager(chain=[store]) as manager:
            store.gate.clear()
            first = asyncio.create_task(manager.aset_secret("a", {"k": "first"}))
            assert await asyncio.to_thread(store.entered.acquire, timeout=LONG)
            with time_limit(0.01), pytest.raises(StoreUnavailableError, match="earlier writes"):
                await manager.aset_secret("a", {"k": "second"})
            store.gate.set()
            await first
            await manager.aset_secret("a", {"l": "third"})

    asyncio.run(use())
    assert (held(store)["k"], held(store)["l"]) == ("first", "third")


def test_a_cancelled_write_that_has_begun_is_made_before_a_close_ends(store) -> None:
    async def use() -> None:
        manager = SecretsManager(chain=[store])
        store.gate.clear()
        task = asyncio.create_task(manager.aset_secret("a", {"k": "new"}))
        assert await asyncio.to_thread(store.entered.acquire, timeout=LONG)
        task.cancel()
        await asyncio.wait([task])
        closing = asyncio.create_task(manager.aclose())
        await asyncio.sleep(0)
        store.gate.set()
        await closing

    asyncio.run(use())
    assert held(store)["k"] == "new"


PROGRAM = """
    import asyncio, sys, threading, time
    from strongroom import SecretsManager
    from strongroom.store.memory import MemoryStore
    from strongroom.store import Traits

    entered = threading.Event()

    class Slow(MemoryStore):
        traits = Traits(honors_deadline=True)

        def read(self, path):
            if path == "hangs":
                entered.set()
                time.sleep(60)
            return super().read(path)

        def write_if(self, path, data, expected):
            entered.set()
            time.sleep(0.2)
            version = super().write_if(path, data, expected)
            print("written", flush=True)
            return version

    manager = SecretsManager(chain=[Slow()])

    async def main():
        call = manager.aset_secret("a", {"k": "v"}) if sys.argv[1] == "write" else manager.aget_secret("hangs", "k")
        task = asyncio.create_task(call)
        await asyncio.to_thread(entered.wait)
        task.cancel()

    asyncio.run(main())
"""


@pytest.mark.parametrize(("call", "printed"), [("write", "written\n"), ("read", "")])
def test_the_end_of_a_process_waits_for_a_write_and_not_for_a_read(call, printed) -> None:
    """Both tasks were cancelled. The read would take a minute, and the end of the process waits for writes at most ten
    seconds."""
    program = [sys.executable, "-c", textwrap.dedent(PROGRAM), call]
    done = subprocess.run(program, capture_output=True, text=True, timeout=LONG, check=True)
    assert done.stdout == printed


# --- threads ----------------------------------------------------------------------------------------------------------


def test_no_more_than_128_threads_are_started(begun) -> None:
    threads, go = Threads(LONG), threading.Event()

    async def use() -> None:
        calls = [asyncio.create_task(threads.run(partial(go.wait, LONG))) for _ in range(200)]
        await asyncio.sleep(0)
        assert len(begun) == 128
        go.set()
        assert all(await asyncio.gather(*calls))

    asyncio.run(use())
    threads.close()


def test_the_time_that_a_call_waits_for_a_thread_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads_module, "_MOST_THREADS", 1)
    threads, go = Threads(5.0), threading.Event()

    async def use() -> None:
        first = asyncio.create_task(threads.run(partial(go.wait, LONG)))
        second = asyncio.create_task(threads.run_in_time(remaining))
        await asyncio.sleep(0)  # both have begun
        await asyncio.sleep(0.05)
        go.set()
        assert await first
        assert await second < 5.0 - 0.04

    asyncio.run(use())
    threads.close()


def test_idle_threads_end(monkeypatch: pytest.MonkeyPatch, begun) -> None:
    monkeypatch.setattr(threads_module, "_IDLE", 0.01)
    threads = Threads(LONG)
    for _ in range(2):
        assert asyncio.run(threads.run(lambda: 1)) == 1
        begun[-1].join(LONG)
        assert not begun[-1].is_alive()
    assert len(begun) == 2


def test_a_failed_call_of_a_task_that_was_cancelled_is_not_logged(caplog) -> None:
    threads, entered, go = Threads(LONG), threading.Event(), threading.Event()

    def fail() -> None:
        entered.set()
        assert go.wait(LONG)
        raise SecretNotFoundError("a")

    async def use() -> None:
        task = asyncio.create_task(threads.run(fail))
        await asyncio.to_thread(entered.wait, LONG)
        task.cancel()
        await asyncio.wait([task])
        go.set()

    asyncio.run(use())
    threads.close()
    gc.collect()
    assert caplog.records == []


# --- methods as coroutine functions -----------------------------------------------------------------------------------

DERIVED = [
    (SecretsManager, "aget_secret"),
    (SecretsManager, "aset_secret"),
    (Versions, "arollback"),
    (Rotations, "arotate"),
]


@pytest.mark.parametrize(("owner", "name"), DERIVED)
def test_an_async_method_has_the_name_signature_and_help_of_its_own(owner, name) -> None:
    method, blocking = getattr(owner, name), getattr(owner, name[1:])
    assert inspect.iscoroutinefunction(method)
    assert method.__qualname__ == f"{owner.__name__}.{name}"
    assert inspect.signature(method) == inspect.signature(blocking)
    assert method.__doc__ == blocking.__doc__
    assert pickle.loads(pickle.dumps(method)) is method


def test_no_frame_of_a_failed_call_shows_the_arguments(store) -> None:
    """Nor those of a call with a wrong argument."""

    def shown(error: BaseException | None) -> str:
        text, frames = "", error.__traceback__ if error is not None else None
        while frames is not None:
            if "/strongroom/" in frames.tb_frame.f_code.co_filename:
                text += repr(frames.tb_frame.f_locals)
            frames = frames.tb_next
        return text

    async def use() -> None:
        store.fault = StoreUnavailableError(reason="down")
        async with SecretsManager(chain=[store]) as manager:
            for options, kind in (({}, StoreUnavailableError), ({"stroe": "x"}, TypeError)):
                with pytest.raises(kind) as caught:
                    await manager.aset_secret("a", {"k": "canary"}, **options)
                assert "aset_secret" in shown(caught.value) or shown(caught.value)
                assert "canary" not in shown(caught.value)

    asyncio.run(use())


def test_a_resolution_is_copied_with_its_provenance(store) -> None:
    with SecretsManager(chain=[store]) as manager:
        found = manager.resolve("a")
        copy = found.copy()
    assert isinstance(copy, Resolution)
    assert {name: getattr(copy, name) for name in Resolution.__slots__} == {
        name: getattr(found, name) for name in Resolution.__slots__
    }
    assert copy.value is not found.value
    assert Secret("a", copy.value).data == found.value
