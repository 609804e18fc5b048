"""The keyset of a process: how often it is read, its memory, and how an outage differs from an unknown key."""

import asyncio
import gc
import logging
import os
import threading
import weakref

import pytest

from strongroom import SecretsManager
from strongroom._manager.manager import parts_of
from strongroom.encryption import FieldCipher, aload, keyset, load
from strongroom.errors import InvalidDataError, StoreUnavailableError, UnknownKeyError
from strongroom.store.memory import MemoryStore

PATH = "columns/customer"
FIRST = {"primary": "48291", "48291": "k" * 43}
BOTH = {"primary": "61332", "48291": "k" * 43, "61332": "o" * 43}


class Counted(MemoryStore):
    """Counts its reads, and has an outage on demand."""

    def __init__(self):
        super().__init__()
        self.reads, self.down = 0, False

    def read(self, path):
        self.reads += 1
        if self.down:
            raise StoreUnavailableError(path, "down")
        return super().read(path)


class Time:
    """Stands in for the module `time`: each look at the clock is a millisecond later."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        self.now += 0.001
        return self.now


@pytest.fixture
def time(monkeypatch):
    time = Time()
    monkeypatch.setattr(keyset, "time", time)
    return time


@pytest.fixture
def store():
    store = Counted()
    store.write(PATH, FIRST)
    return store


def opened(store):
    return FieldCipher(PATH, "customer.iban", manager=SecretsManager(chain=[store]))


@pytest.fixture
def cipher(store, time):
    return opened(store)


@pytest.fixture
def text_of_new_key(store, time):
    """A text of a key that the process of `cipher` does not know yet."""
    store.write(PATH, BOTH)
    text = opened(store).encrypt("x")
    store.write(PATH, FIRST)
    return text


def test_listing_makes_no_request(cipher, store):
    texts = [cipher.encrypt(str(number)) for number in range(100)]
    reads = store.reads
    assert [cipher.decrypt(text) for text in texts] == [str(number) for number in range(100)]
    assert store.reads == reads


def test_a_text_of_a_new_key_is_read_at_once(cipher, store, text_of_new_key):
    """The cache of the chain and the watch do not know the key yet."""
    cipher.encrypt("before")
    store.write(PATH, BOTH)
    assert cipher.decrypt(text_of_new_key) == "x"
    assert cipher.encrypt("y").startswith("sr1.61332.")


def test_an_unknown_key_is_asked_for_once_a_second(cipher, store, time):
    text = "sr1.99999." + "A" * 60
    cipher.encrypt("x")
    reads = store.reads
    for _ in range(50):
        with pytest.raises(UnknownKeyError):
            cipher.decrypt(text)
    assert store.reads == reads + 1
    time.now += 1
    with pytest.raises(UnknownKeyError):
        cipher.decrypt(text)
    assert store.reads == reads + 2


def test_a_new_key_is_read_a_second_after_an_unknown_one(cipher, store, time, text_of_new_key):
    """The limit that the page names. Nothing waits meanwhile."""
    cipher.encrypt("x")
    with pytest.raises(UnknownKeyError):
        cipher.decrypt("sr1.99999." + "A" * 60)
    store.write(PATH, BOTH)
    with pytest.raises(UnknownKeyError):
        cipher.decrypt(text_of_new_key)
    time.now += keyset.FRESH_READ_PAUSE
    assert cipher.decrypt(text_of_new_key) == "x"


def test_many_unknown_keys_neither_wait_nor_ask_each(cipher, store, time):
    """Who can write rows can stall neither an event loop nor the store."""
    cipher.encrypt("x")
    reads, began = store.reads, time.now
    for key_id in range(10_000, 10_300):
        with pytest.raises(UnknownKeyError):
            cipher.decrypt(f"sr1.{key_id}." + "A" * 60)
    assert store.reads == reads + 1
    assert 0.3 < time.now - began < 1  # each look at the clock is a millisecond of it


def test_keys_that_are_found_leave_the_reads_of_others(cipher, store, time):
    """Only reads that find nothing are limited: any number of rotations in a second can be followed."""
    cipher.encrypt("x")
    began, keys = time.now, dict(FIRST)
    for number in range(10_000, 10_020):
        keys = {**keys, str(number): f"{number}" * 8, "primary": str(number)}
        store.write(PATH, keys)
        text = opened(store).encrypt("y")
        assert cipher.decrypt(text) == "y"
    assert time.now - began < 1


def test_an_outage_is_no_unknown_key(cipher, store, time, text_of_new_key):
    """The known keys go on, and the second call does not wait."""
    text = cipher.encrypt("x")
    store.down = True
    began = time.now
    for _ in range(3):
        with pytest.raises(StoreUnavailableError):
            cipher.decrypt(text_of_new_key)
    assert time.now - began < 0.5
    assert cipher.decrypt(text) == "x"
    store.down = False
    store.write(PATH, BOTH)
    time.now += 1
    assert cipher.decrypt(text_of_new_key) == "x"


def test_an_outage_of_an_earlier_store_is_no_unknown_key_of_a_later_one(store, text_of_new_key, time):
    fallback = MemoryStore()
    fallback.write(PATH, FIRST)
    manager = SecretsManager(chain=[store, fallback])
    cipher = FieldCipher(PATH, "customer.iban", manager=manager)
    cipher.encrypt("x")
    store.down = True
    with pytest.raises(StoreUnavailableError):
        cipher.decrypt(text_of_new_key)


def test_it_does_not_encrypt_under_a_keyset_that_nobody_can_confirm(store, time):
    """A key can be dropped once no process encrypts with it: after the times of the cache, one stops."""
    manager = SecretsManager(chain=[store], cache_ttl=0)
    cipher = FieldCipher(PATH, "customer.iban", manager=manager)
    text = cipher.encrypt("x")
    store.down = True
    cipher.encrypt("y")
    time.now += keyset.RECHECK + 1
    with pytest.raises(StoreUnavailableError):
        cipher.encrypt("y")
    assert cipher.decrypt(text) == "x"


def test_a_key_that_a_rollback_has_lost_is_kept_and_reported(cipher, store, time, caplog):
    store.write(PATH, BOTH)
    text = cipher.encrypt("x")
    store.write(PATH, FIRST)
    load(PATH, manager=cipher._manager, fresh=True)
    assert cipher.decrypt(text) == "x"
    assert cipher.encrypt("y").startswith("sr1.48291.")
    (record,) = (record for record in caplog.records if record.levelno == logging.WARNING)
    assert record.getMessage() == "The keyset columns/customer has lost keys that this process keeps: 61332"
    with pytest.raises(UnknownKeyError):
        opened(store).decrypt(text)


def test_a_watch_renews_the_keyset(store):
    manager = SecretsManager(chain=[store])
    cipher = FieldCipher(PATH, "customer.iban", manager=manager)
    cipher.encrypt("x")
    (watch,) = parts_of(manager).watcher.watches
    assert set(watch.paths) == {PATH}
    store.write(PATH, BOTH)
    manager.invalidate(PATH)
    watcher = parts_of(manager).watcher
    watcher.look(watcher.intervals)
    assert cipher.encrypt("x").startswith("sr1.61332.")
    manager.close()


def test_a_change_that_is_no_keyset_leaves_the_keyset(store, caplog):
    manager = SecretsManager(chain=[store])
    cipher = FieldCipher(PATH, "customer.iban", manager=manager)
    text = cipher.encrypt("x")
    store.write(PATH, {"primary": "48291"})
    manager.invalidate(PATH)
    watcher = parts_of(manager).watcher
    watcher.look(watcher.intervals)
    assert cipher.decrypt(text) == "x"
    assert "KeysetHandle._follow raised InvalidDataError for columns/customer" in caplog.text
    manager.close()


def test_load_reads_and_checks_it_at_the_start(store):
    manager = SecretsManager(chain=[store])
    assert load(PATH, manager=manager).encrypting == "48291"
    reads = store.reads
    assert asyncio.run(aload(PATH, manager=manager)).encrypting == "48291"
    assert store.reads == reads
    store.write("other", {"no": "keyset"})
    with pytest.raises(InvalidDataError):
        load("other", manager=manager)


def test_many_threads_read_once(store):
    cipher = opened(store)
    threads = [threading.Thread(target=cipher.encrypt, args=("x",)) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.reads <= 2  # the watch reads too


def test_the_child_of_a_fork_reads_anew(store):
    """It has no key of its parent, and a lock that another thread holds does not stop it."""
    cipher = opened(store)
    text = cipher.encrypt("x")
    (own,) = keyset._handles[cipher._manager].values()
    held = threading.Event()
    ended = threading.Event()

    def hold():
        with own._lock:
            held.set()
            ended.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(30)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if own._latest is None and cipher.decrypt(text) == "x" else 2
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    ended.set()
    thread.join()
    assert os.waitstatus_to_exitcode(status) == 0


def test_it_does_not_keep_a_manager_alive(store):
    manager = SecretsManager(chain=[store])
    load(PATH, manager=manager)
    manager.close()
    living = weakref.ref(manager)
    del manager
    gc.collect()
    assert living() is None
