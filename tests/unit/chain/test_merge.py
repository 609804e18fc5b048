"""Merges into a store without check-and-set, whose versions are numbers and whose newest one may be shown late."""

import queue
import random
import threading
from functools import partial

import pytest

from strongroom._chain.chain import Chain
from strongroom._chain.link import Link
from strongroom._config import CacheConfig, LinkConfig
from strongroom.errors import ConflictError, SecretNotFoundError
from strongroom.secret import Secret
from strongroom.store import Traits
from support.clock import LONG


class NumberedStore:
    """A store like that of Google: `read` shows an older version while it is late, and a write always succeeds.

    Attributes:
        held: the data of each version, oldest first; None is destroyed.
        late: the number of versions that `read` does not show yet.
        rivals: functions that other writers call just before the next writes, one for each write.
        wait: called before each request.
    """

    traits = Traits(honors_deadline=True, consecutive=True)

    def __init__(self, *versions):
        self.held = list(versions)
        self.late = 0
        self.rivals = []
        self.calls = []
        self.wait = lambda: None

    def read(self, path):
        self.wait()
        return self._version(path, len(self.held) - self.late)

    def read_version(self, path, version):
        self.wait()
        self.calls.append(f"read {version}")
        return self._version(path, version)

    def _version(self, path, number):
        if not 0 < number <= len(self.held) or self.held[number - 1] is None:
            raise SecretNotFoundError(path)
        return Secret(path, dict(self.held[number - 1]), number)

    def write(self, path, data):
        self.wait()
        if self.rivals:
            self.rivals.pop(0)()
        self.calls.append("write")
        self.held.append(dict(data))
        return len(self.held)

    def _unused(self, *_):
        raise NotImplementedError

    versions = delete = undelete = destroy = kept_versions = read_metadata = write_metadata = _unused

    def close(self):
        """Hold nothing."""


def write(store, data, **options):
    chain = Chain([Link(LinkConfig("numbered"), lambda: store, CacheConfig())], timeout=LONG)
    return chain.write("db", data, **options)


def adding(store, base, **changes):
    """A rival's write of its changes to the version of this number, also if it is not the newest one."""

    def add():
        data = {**store.held[base - 1], **changes}
        store.held.append({key: value for key, value in data.items() if value is not None})

    return add


def test_merge_begins_with_the_newest_version_however_late_it_is_shown():
    store = NumberedStore({"a": "1"}, {"a": "1", "b": "1"}, {"a": "1", "b": "1", "c": "1"})
    store.late = 2
    assert write(store, {"d": "1"}) == 4
    assert store.held[-1] == {"a": "1", "b": "1", "c": "1", "d": "1"}
    assert store.calls == ["read 2", "read 3", "read 4", "write"]


def test_versions_of_other_writers_are_merged_whichever_one_they_began_with():
    """A merge with the last of them alone would lose the keys that this one lacks."""
    store = NumberedStore({"a": "1"})

    def rivals():
        adding(store, 1, b="1")()
        adding(store, 1, c="1", a="2")()
        adding(store, 1, d="1")()

    store.rivals = [rivals]
    assert write(store, {"e": "1"}) == 6
    assert store.held[-1] == {"a": "2", "b": "1", "c": "1", "d": "1", "e": "1"}


def test_writer_who_comes_between_again_is_merged_too():
    store = NumberedStore({"a": "1"})
    store.rivals = [adding(store, 1, b="1"), adding(store, 1, c="1")]
    write(store, {"d": "1"})
    assert store.held[-1] == {"a": "1", "b": "1", "c": "1", "d": "1"}


def test_key_that_another_writer_removed_stays_removed():
    store = NumberedStore({"a": "1", "b": "1"})
    store.rivals = [adding(store, 1, b=None)]
    write(store, {"c": "1"})
    assert store.held[-1] == {"a": "1", "c": "1"}


def test_key_that_a_writer_did_not_know_comes_back_with_its_next_version():
    """A rival began before this merge did, and merges again, as each writer does that finds others between."""
    store = NumberedStore({}, {"a": "1"})
    store.rivals = [adding(store, 1, b="1"), adding(store, 2, b="1")]
    write(store, {"c": "1"})
    assert store.held[-1] == {"a": "1", "b": "1", "c": "1"}


def test_own_key_is_set_against_a_rival():
    store = NumberedStore({"a": "1"})
    store.rivals = [adding(store, 1, a="theirs")]
    write(store, {"a": "mine"})
    assert store.held[-1] == {"a": "mine"}


def test_two_writers_may_create_a_secret():
    store = NumberedStore()
    store.rivals = [lambda: store.held.append({"a": "1"})]
    assert write(store, {"b": "1"}) == 3
    assert store.held[-1] == {"a": "1", "b": "1"}


def test_old_versions_of_a_destroyed_secret_do_not_come_back():
    store = NumberedStore({"old": "1"}, None)
    assert write(store, {"a": "1"}) == 3
    assert store.held[-1] == {"a": "1"}


def test_only_a_missing_key_is_created():
    store = NumberedStore({"a": "1"})
    store.rivals = [adding(store, 1, b="1")]
    assert write(store, {"c": "1"}, create=True) == 4
    store.rivals = [adding(store, 4, d="theirs")]
    with pytest.raises(ConflictError, match="it has the key already"):
        write(store, {"d": "mine"}, create=True)


class Turns:
    """Three threads that take turns at random, so that each request of one may come between two of another."""

    def __init__(self, chance, tasks):
        self._chance = chance
        self._waiting = queue.SimpleQueue()
        self._turns = [threading.Semaphore(0) for _ in tasks]
        self._threads = [threading.Thread(target=self._run, args=each) for each in enumerate(tasks)]

    def wait(self, number):
        self._waiting.put((number, True))
        assert self._turns[number].acquire(timeout=LONG)

    def _run(self, number, task):
        try:
            task(partial(self.wait, number))
        finally:
            self._waiting.put((number, False))

    def take(self):
        for thread in self._threads:
            thread.start()
        running, ready = len(self._threads), []
        while running:
            while len(ready) < running:
                number, goes_on = self._waiting.get(timeout=LONG)
                ready += [number] * goes_on
                running -= not goes_on
            if ready:
                self._turns[ready.pop(self._chance.randrange(len(ready)))].release()
        for thread in self._threads:
            thread.join(LONG)


@pytest.mark.parametrize("seed", range(30))
def test_no_key_of_three_writers_is_lost(seed, monkeypatch):
    monkeypatch.setattr("strongroom._chain.writes.time.sleep", lambda _: None)
    chance = random.Random(seed)
    held = [{"first": "1"}]

    def merges(number, wait):
        store = NumberedStore()
        store.held, store.wait = held, wait
        for key in range(5):
            store.late = min(chance.randrange(4), len(held) - 1)
            write(store, {f"k{number}-{key}": "1"})

    Turns(chance, [partial(merges, number) for number in range(3)]).take()
    assert len(held[-1]) == 16
