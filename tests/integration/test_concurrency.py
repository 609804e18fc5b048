"""Concurrent threads and processes on one real server: no lost, duplicate, stale or mixed-up secret."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from strongroom import SecretsManager
from strongroom_vault.plugin import open_vault

MAY_FORK = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
"""Python 3.12 and later warn of a fork in a process with threads. These tests show that it works."""


@pytest.fixture
def openbao(audited_openbao):
    """A server that counts requests."""
    return audited_openbao


@pytest.fixture
def secrets(openbao, kv2, monkeypatch):
    """A manager on a fresh mount."""
    monkeypatch.setenv("STRONGROOM_STORES_VAULT_MOUNT", kv2)
    with SecretsManager(vault_url=openbao.url, vault_token=openbao.token) as manager:
        yield manager


def at_once(count, work):
    """Run `work(0)` to `work(count - 1)` in threads that start together, and return the results."""
    start = threading.Barrier(count)

    def one(number):
        start.wait()
        return work(number)

    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(one, range(count)))


def test_forty_concurrent_writes_of_different_keys_lose_none(secrets, openbao, kv2):
    """Each writer merges its key into the secret, under check-and-set."""
    at_once(40, lambda number: secrets.set_secret("shared", {f"key-{number}": number}))
    assert openbao.peek("shared", mount=kv2) == {f"key-{number}": number for number in range(40)}


def test_forty_writers_with_a_manager_each_lose_none(openbao, kv2, monkeypatch):
    """The writers share no lock, like forty processes: only the server's check-and-set protects them."""
    monkeypatch.setenv("STRONGROOM_STORES_VAULT_MOUNT", kv2)

    def write(number):
        with SecretsManager(vault_url=openbao.url, vault_token=openbao.token) as manager:
            manager.set_secret("shared", {f"key-{number}": number})

    at_once(40, write)
    assert openbao.peek("shared", mount=kv2) == {f"key-{number}": number for number in range(40)}


def test_sixty_four_threads_on_a_cold_key_make_one_upstream_read(secrets, openbao, kv2):
    openbao.put("cold", {"key": "value"}, mount=kv2)
    read = at_once(64, lambda _: secrets.get_secret("cold", "key"))
    assert read == ["value"] * 64
    assert openbao.requests(f"{kv2}/data/cold") == 1


def test_a_write_is_read_back_at_once_under_readers(secrets):
    """A read that began before a write never fills the cache after it."""
    secrets.set_secret("busy", {"count": -1})
    done = threading.Event()
    seen = []

    def read():
        last = -1
        while not done.wait(0.0005):  # without a pause, six threads leave the writer little of the interpreter
            now = secrets.get_secret("busy", "count", as_=int)
            seen.append(now >= last)
            last = now

    readers = [threading.Thread(target=read) for _ in range(6)]
    for reader in readers:
        reader.start()
    try:
        for count in range(150):
            secrets.set_secret("busy", {"count": count})
            assert secrets.get_secret("busy", "count", as_=int) == count
    finally:
        done.set()
        for reader in readers:
            reader.join()
    assert seen
    assert all(seen)


@MAY_FORK
def test_forked_children_read_their_own_secrets(secrets, openbao, kv2):
    """A connection shared over a fork would return another path's secret."""
    for number in range(40):
        openbao.put(f"own/{number}", {"key": f"value-{number}"}, mount=kv2)
    assert secrets.get_secret("own/0", "key") == "value-0"
    children = [os.fork() or _child(secrets, shift) for shift in range(8)]
    wrong = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert wrong == [0] * 8
    assert secrets.get_secret("own/1", "key") == "value-1"


@MAY_FORK
def test_forked_children_read_their_own_secrets_from_a_store_that_was_open(openbao, kv2):
    """A store that the application opened is not reopened in the child."""
    for number in range(40):
        openbao.put(f"own/{number}", {"key": f"value-{number}"}, mount=kv2)
    store = open_vault(url=openbao.url, token=openbao.token, mount=kv2)
    with SecretsManager(chain=[store]) as manager:
        assert manager.get_secret("own/0", "key") == "value-0"
        children = [os.fork() or _child(manager, shift) for shift in range(8)]
        wrong = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        assert wrong == [0] * 8
        assert manager.get_secret("own/1", "key") == "value-1"


def _child(secrets, shift):
    """Read all forty secrets in an order that depends on `shift`, and exit with the number of wrong values."""
    wrong = 255
    try:
        numbers = [(number * 7 + shift * 5) % 40 for number in range(40)]
        wrong = sum(secrets.get_secret(f"own/{number}", "key") != f"value-{number}" for number in numbers)
    finally:
        os._exit(wrong)


@MAY_FORK
def test_a_child_that_is_forked_while_the_parent_reads_can_read(secrets, openbao, kv2):
    """A lock that a thread of the parent held during the fork does not block the child."""
    for number in range(40):
        openbao.put(f"own/{number}", {"key": f"value-{number}"}, mount=kv2)
    done = threading.Event()

    def keep_reading():
        while not done.is_set():
            for number in range(40):
                secrets.get_secret(f"own/{number}", "key", fresh=True)

    readers = [threading.Thread(target=keep_reading) for _ in range(4)]
    for reader in readers:
        reader.start()
    try:
        children = [os.fork() or _child(secrets, shift) for shift in range(8)]
        assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * 8
    finally:
        done.set()
        for reader in readers:
            reader.join()
