"""The thread of a manager's watches: its start, its end, forks, and the times at which it looks."""

from __future__ import annotations

import asyncio
import os
import queue
import threading
import warnings
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom import SecretsManager
from strongroom._manager.manager import parts_of
from strongroom._watch.watcher import Watcher, effective_interval, first_look, next_look
from strongroom.errors import InvalidPathError, StoreUnavailableError
from strongroom.secrets_manager import Watch
from support.clock import LONG
from support.descriptors import open_descriptors
from support.scenarios.watching import ListedStore, Looks
from support.stores import RemoteStore


@pytest.fixture
def threads() -> Callable[[], list[threading.Thread]]:
    """Return a function that lists the threads of watches, without those that are older than the test."""
    older = set(threading.enumerate())
    return lambda: [
        thread for thread in threading.enumerate() if thread.name == "strongroom watch" and thread not in older
    ]


def test_changes_are_delivered_by_one_thread_for_all_watches(threads) -> None:
    store, changes = ListedStore({"a": {"k": "1"}, "b": {"k": "1"}}), queue.Queue()
    with SecretsManager(chain=[store]) as manager:
        assert threads() == []
        manager.watch(["a"], lambda change: changes.put((change.path, threading.current_thread())), interval=0.01)
        manager.watch(["b"], lambda change: changes.put((change.path, threading.current_thread())), interval=0.01)
        (thread,) = threads()
        for path in "ab":
            store.write(path, {"k": "2"})
            assert changes.get(timeout=LONG) == (path, thread)
    assert threads() == []


def test_nothing_is_left_after_close(threads) -> None:
    store = ListedStore({"a": {"k": "1"}})
    with SecretsManager(chain=[store]) as manager:
        files = open_descriptors()
        first, second = (manager.watch(["a"], print, interval=0.01) for _ in range(2))
        first.close()
        assert len(threads()) == 1
        second.close()
        second.close()
        assert threads() == []
        assert first.closed
        looks = len(store.looks)
        with manager.watch(["a"], print, interval=0.01) as again:
            assert len(threads()) == 1
        assert again.closed
        assert threads() == []
        assert len(store.looks) >= looks
        assert open_descriptors() <= files


def test_closing_the_manager_ends_its_watches(threads) -> None:
    manager = SecretsManager(chain=[ListedStore({"a": {"k": "1"}})])
    watch = manager.watch(["a"], print)
    manager.close()
    assert watch.closed
    assert threads() == []
    watch.close()


def test_a_callback_may_end_its_own_watch(threads) -> None:
    store, done = ListedStore({"a": {"k": "1"}}), threading.Event()
    with SecretsManager(chain=[store]) as manager:
        watches: list[Watch] = []

        def stop(_: object) -> None:
            watches[0].close()
            done.set()

        watches.append(manager.watch(["a"], stop, interval=0.01))
        (thread,) = threads()
        store.write("a", {"k": "2"})
        assert done.wait(LONG)
        thread.join(LONG)
        assert not thread.is_alive()


def test_no_callback_begins_after_close() -> None:
    store, calls = ListedStore({"a": {"k": "1"}}), []
    with SecretsManager(chain=[store]) as manager:
        look = Looks(manager)
        other = manager.watch(["a"], lambda _: watch.close())
        watch = manager.watch(["a"], calls.append)
        store.write("a", {"k": "2"})
        look()
        other.close()
    assert calls == []


@pytest.mark.parametrize(
    ("paths", "options", "error"),
    [
        ("a", {}, TypeError),
        (["../a"], {}, InvalidPathError),
        (["a"], {"interval": 0}, ValueError),
        (["a"], {"interval": float("nan")}, ValueError),
        (["a"], {"interval": True}, ValueError),
    ],
)
def test_wrong_arguments_are_refused(paths, options, error, threads) -> None:
    with SecretsManager(chain=[RemoteStore()]) as manager:
        with pytest.raises(error):
            manager.watch(paths, print, **options)
        with pytest.raises(TypeError):
            manager.watch(["a"], None)
        assert threads() == []


def test_an_outage_at_the_start_is_not_raised() -> None:
    store, changes = ListedStore({"a": {"k": "1"}}), queue.Queue()
    store.fault = StoreUnavailableError(reason="down")
    with SecretsManager(chain=[store]) as manager, manager.watch(["a"], changes.put):
        assert changes.empty()


@pytest.fixture
def on_begun(monkeypatch):
    """Return a function that registers a callback for the start of watches. It is called in a thread."""

    def note(call) -> None:
        begin = Watcher.begin

        def noted(watcher, watch):
            begin(watcher, watch)
            call()

        monkeypatch.setattr(Watcher, "begin", noted)

    return note


def test_a_loop_gets_changes_in_order(on_begun, threads) -> None:
    store = ListedStore({"a": {"k": "0"}})

    async def collect(manager: SecretsManager) -> list[tuple[object, object]]:
        found = []
        changes = manager.awatch(["a"], interval=0.01)
        writer = asyncio.create_task(asyncio.to_thread(write))
        async for change in changes:
            found.append((change.old_version, change.new_version))
            seen.release()
            if change.new_version == 4:
                break
        await changes.aclose()
        await writer
        return found

    seen, started = threading.Semaphore(0), threading.Event()

    def write() -> None:
        assert started.wait(LONG)
        for number in range(3):
            store.write("a", {"k": f"{number}"})
            assert seen.acquire(timeout=LONG)

    with SecretsManager(chain=[store]) as manager:
        on_begun(started.set)
        assert asyncio.run(collect(manager)) == [(1, 2), (2, 3), (3, 4)]
        assert threads() == []


@pytest.mark.parametrize("is_async", [False, True])
def test_closing_the_manager_ends_a_loop_over_changes(on_begun, is_async, threads) -> None:
    async def run() -> list[object]:
        manager, ready = SecretsManager(chain=[ListedStore({"a": {"k": "1"}})]), threading.Event()
        on_begun(ready.set)

        async def collect() -> list[object]:
            return [change async for change in manager.awatch(["a"])]

        task = asyncio.create_task(collect())
        assert await asyncio.to_thread(ready.wait, LONG)
        await (manager.aclose() if is_async else asyncio.to_thread(manager.close))
        found = await asyncio.wait_for(task, LONG)
        return found + [change async for change in manager.awatch(["a"])]  # it is closed from the start

    assert asyncio.run(run()) == []
    assert threads() == []


@pytest.mark.parametrize("moment", ["before", "during", "after"])
def test_a_cancelled_loop_leaves_no_watch(monkeypatch, moment, threads) -> None:
    store = ListedStore({"a": {"k": "1"}})

    async def run() -> None:
        begun, go = asyncio.Event(), threading.Event()
        begin, loop = Watcher.begin, asyncio.get_running_loop()

        def slow(watcher: Watcher, watch: Watch) -> None:
            if moment == "after":
                begin(watcher, watch)
            loop.call_soon_threadsafe(begun.set)
            if moment == "during":
                assert go.wait(LONG)
            if moment != "after":
                begin(watcher, watch)
            over.set()

        async def collect() -> None:
            async for _ in manager.awatch(["a"], interval=0.01):
                pass

        monkeypatch.setattr(Watcher, "begin", slow)
        task = asyncio.create_task(collect())
        if moment != "before":
            await asyncio.wait_for(begun.wait(), LONG)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(asyncio.shield(task), LONG)
        go.set()

    over = threading.Event()
    with SecretsManager(chain=[store]) as manager:
        asyncio.run(run())
        assert moment == "before" or over.wait(LONG)
        assert parts_of(manager).watcher.watches == ()
        assert threads() == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="os.fork")
def test_the_child_of_a_fork_watches_in_a_thread_of_its_own() -> None:
    """Even if another thread of the parent held the watcher's lock at the fork."""
    store, changes = ListedStore({"a": {"k": "1"}}), queue.SimpleQueue()
    with SecretsManager(chain=[store]) as manager:
        look = Looks(manager)
        watch = manager.watch(["a"], changes.put)
        store.write("a", {"k": "2"})
        parts_of(manager).watcher.draw = lambda: 0.0  # the child's first look is at once
        with parts_of(manager).watcher._changed:  # no public call holds the lock for long
            child = _forked()
            if child == 0:
                _in_child(manager, changes, watch)
        assert _exit_code(child) == 0
        assert changes.empty(), "the child's thread delivers to the child"
        look()
        assert changes.get(timeout=LONG).new_version == 2


def _in_child(manager: SecretsManager, changes: queue.SimpleQueue, watch: Watch) -> None:
    code = 1
    try:
        thread = parts_of(manager).watcher.thread
        assert thread.is_alive()
        assert changes.get(timeout=LONG).new_version == 2
        watch.close()
        assert not thread.is_alive()
        code = 0
    finally:
        os._exit(code)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="os.fork")
def test_the_childs_thread_starts_after_the_chain_was_reset(monkeypatch) -> None:
    """Otherwise it could use a connection of the parent. The fork also resets the managers of other tests."""
    order = []
    start = threading.Thread.start

    def started(thread: threading.Thread) -> None:
        order.append(thread)
        start(thread)

    with SecretsManager(chain=[ListedStore({"a": {"k": "1"}})]) as manager:
        parts = parts_of(manager)
        manager.watch(["a"], print)
        reset = parts.chain.reset
        monkeypatch.setattr(parts.chain, "reset", lambda: (reset(), order.append("reset")))
        monkeypatch.setattr(threading.Thread, "start", started)
        child = _forked()
        if child == 0:
            thread = parts.watcher.thread
            os._exit(0 if order.index("reset") < order.index(thread) and thread.is_alive() else 1)
        assert _exit_code(child) == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="os.fork")
def test_the_child_of_a_fork_drops_the_watches_of_the_parents_loop(on_begun) -> None:
    """Its copy of the loop would write to the parent's socket."""

    async def run(manager: SecretsManager) -> int:
        ready = threading.Event()
        on_begun(ready.set)

        async def collect() -> None:
            async for _ in manager.awatch(["a"], interval=30):
                pass

        task = asyncio.create_task(collect())
        assert await asyncio.to_thread(ready.wait, LONG)
        watcher = parts_of(manager).watcher
        (watch,) = watcher.watches
        child = _forked()
        if child == 0:
            os._exit(0 if watcher.watches == () and watch.closed and watcher.thread is None else 1)
        task.cancel()
        return await asyncio.to_thread(_exit_code, child)

    with SecretsManager(chain=[ListedStore({"a": {"k": "1"}})]) as manager:
        assert asyncio.run(run(manager)) == 0


def _exit_code(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _forked() -> int:
    with warnings.catch_warnings():  # a process with threads forks
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


# --- the times of the looks -------------------------------------------------------------------------------------------

intervals = st.floats(0.01, 86_400)


@given(st.floats(0, 1e6), intervals, st.floats(0, 1))
def test_the_first_look_is_within_one_interval(now: float, interval: float, draw: float) -> None:
    assert now <= first_look(now, interval, draw) <= now + interval


@given(st.floats(0, 1e6), intervals, st.floats(0, 1e5))
def test_a_look_is_never_earlier_than_one_interval_after_the_last(last: float, interval: float, late: float) -> None:
    assert next_look(last, interval, last + late) >= last + interval


@given(st.integers(0, 1000), st.sampled_from([0.5, 10.0, 30.0]), st.floats(0, 100))
def test_a_late_look_skips_what_it_missed_and_keeps_its_phase(last: int, interval: float, late: float) -> None:
    at = next_look(float(last), interval, last + late)
    assert last + late < at <= last + late + interval
    assert (at - last) % interval == 0


def test_a_short_ttl_shortens_the_interval() -> None:
    """The cache drops a secret after nine tenths of its ttl at the earliest."""
    assert effective_interval(30.0, 300.0) == 30.0
    assert effective_interval(30.0, 10.0) == 8.0
    assert effective_interval(30.0, 0.0) == 30.0
