"""The store `keyring`, over a keyring in memory: one call at a time, within the deadline, and never a wrong answer."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

pytest.importorskip("keyring")

from keyring import errors
from keyring.backend import KeyringBackend
from keyring.backends import chainer, fail, null

from strongroom.errors import (
    ConfigurationError,
    PermissionDeniedError,
    SecretNotFoundError,
    StoreUnavailableError,
    UnsupportedOperationError,
    WriteOutcomeUnknownError,
)
from strongroom.integrations.keyring import StrongroomKeyring
from strongroom.secret import same
from strongroom.store import time_limit
from strongroom.testing import CASES
from strongroom_local.keyring_store import KeyringStore, open_keyring


class Service:
    """Passwords in memory. It fails if two calls run at once, as gnome-keyring does."""

    def __init__(self):
        self.passwords = {}
        self.busy = threading.Lock()
        self.before = lambda: None

    def __enter__(self):
        assert self.busy.acquire(blocking=False), "two calls at once"
        self.before()

    def __exit__(self, *_):
        self.busy.release()


def kind_of(service, module="corp.keyring"):
    """Return a kind of keyring. It is not registered with the library."""

    def get(self, name, user):
        with service:
            return service.passwords.get((name, user))

    def put(self, name, user, password):
        with service:
            service.passwords[name, user] = password

    def delete(self, name, user):
        with service:
            del service.passwords[name, user]

    methods = {"get_password": get, "set_password": put, "delete_password": delete, "priority": 5}
    return type("InMemory", (), {**methods, "__module__": module})


@pytest.fixture
def service():
    return Service()


@pytest.fixture
def viable(monkeypatch):
    """Return a function that sets the keyrings of this session."""
    return lambda *kinds: monkeypatch.setattr(KeyringBackend, "get_viable_backends", lambda: iter(kinds))


@pytest.fixture
def store(service, viable):
    viable(fail.Keyring, null.Keyring, chainer.ChainerBackend, StrongroomKeyring, kind_of(service))
    return open_keyring(service="corp")


@pytest.mark.parametrize("case", CASES, ids=str)
def test_hard_inputs_survive(store, case):
    """As one password for each secret."""
    store.write(case.path, case.data)
    assert same(store.read(case.path).data, case.data)


def test_a_password_of_another_program_is_one_value(store, service):
    """It stays plain text when it is written again, and is gone when it is deleted."""
    service.passwords["corp", "mail/app"] = "hunter2\n"
    assert store.read("mail/app").data == {"value": "hunter2\n"}
    store.write("mail/app", {"value": "hunter3"})
    assert service.passwords == {("corp", "mail/app"): "hunter3"}
    store.delete("mail/app")
    for operation in (store.read, store.delete):
        with pytest.raises(SecretNotFoundError, match="the keyring has no password of corp"):
            operation("mail/app")


def test_eight_threads_take_turns(store):
    """The services behind the library do not survive many calls at once. Stores of one process share the turns."""
    stores = [store, open_keyring(service="corp")]

    def work(number):
        stores[number % 2].write(f"a/{number}", {"number": number})
        return stores[(number + 1) % 2].read(f"a/{number}").data["number"]

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(64))) == list(range(64))


def test_a_keyring_that_hangs_is_unavailable_and_holds_up_nobody(store, service, viable):
    """It may wait for its user. A write may have been made. The next call does not wait for the one that hangs."""
    free = threading.Event()
    assert store.probe().ok  # it knows its kind of keyring now
    service.before = lambda: free.wait()  # noqa: PLW0108  # replaced below
    with time_limit(0.05), pytest.raises(StoreUnavailableError, match="has not answered in time"):
        store.read("a/b")
    other = Service()
    viable(kind_of(other))
    fresh = KeyringStore("corp", "value")
    fresh.write("a/b", {"key": "value"})
    assert fresh.read("a/b").data == {"key": "value"}
    other.before = service.before
    with time_limit(0.05), pytest.raises(WriteOutcomeUnknownError):
        fresh.write("a/b", {"key": "other"})
    free.set()


def test_a_locked_keyring_is_denied(store, service):
    """Whether the secret exists is unknown."""

    def locked():
        raise errors.KeyringLocked

    service.before = locked
    with pytest.raises(PermissionDeniedError, match=r"the keyring is locked.*unlock the keyring"):
        store.read("a/b")


def test_an_error_of_the_keyring_is_an_outage(store, service):
    """Each keyring raises its own errors. Their messages may show a value."""

    def failing():
        raise RuntimeError("canary-6f1d")

    service.before = failing
    with pytest.raises(StoreUnavailableError, match="the keyring failed with RuntimeError") as caught:
        store.read("a/b")
    assert "canary" not in f"{caught.value!r} {caught.value.__context__!r}"
    with pytest.raises(WriteOutcomeUnknownError):
        store.write("a/b", {"key": "canary-6f1d"})


def test_only_a_secret_service_can_be_listed(store):
    """The library lists no other."""
    with pytest.raises(UnsupportedOperationError, match=r"the keyring corp\.keyring cannot be listed"):
        list(store.list_entries(""))


def test_a_machine_without_a_keyring_says_what_to_do(viable, service):
    """Keyrings that forget, and our own, which would ask the chain again, do not count. One that appears is used."""
    viable(fail.Keyring, null.Keyring, chainer.ChainerBackend, StrongroomKeyring)
    store = open_keyring(service="corp")
    for operation in (lambda: store.read("a/b"), store.probe, lambda: list(store.walk(""))):
        with pytest.raises(StoreUnavailableError, match=r"no keyring.*dbus-run-session.*or use another store"):
            operation()
    viable(kind_of(service))
    assert store.probe().detail == "the keyring corp.keyring"


def test_a_keyring_that_keeps_plain_text_is_refused(viable, service):
    """Its file would not protect the passwords."""
    viable(kind_of(service, "keyrings.alt.file"))
    with pytest.raises(ConfigurationError, match=r"keyrings\.alt\.file does not protect passwords"):
        open_keyring(service="corp").write("a/b", {"key": "value"})
