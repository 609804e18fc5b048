"""The base of stores that issue credentials: when one is replaced, and who waits for it."""

import threading
from datetime import UTC, datetime

import pytest

from strongroom.errors import ConfigurationError, PermissionDeniedError, SecretNotFoundError, StoreUnavailableError
from strongroom.store import fails_fast, remaining, time_limit
from strongroom.store.issuer import Issued, IssuingStore, read_rows
from support.clock import SOON, Clock

LIFE = 90.0


class Tokens(IssuingStore[str]):
    """Numbered tokens, or the failure that a test sets."""

    def __init__(self, clock):
        super().__init__({"app": "row"}, clock=clock)
        self.count = 0
        self.failure = None
        self.contexts = []

    def issue(self, path, row):
        self.contexts.append((remaining(), fails_fast()))
        if self.failure is not None:
            raise self.failure
        self.count += 1
        return Issued({"token": f"{row} {self.count}"}, LIFE)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def tokens(clock):
    return Tokens(clock)


def token(store):
    return store.read("app").data["token"]


def test_a_credential_serves_two_thirds_of_its_life(tokens, clock):
    assert tokens.read("app").ttl == pytest.approx(60)
    clock.now += 59
    assert (token(tokens), tokens.read("app").ttl) == ("row 1", pytest.approx(1))
    clock.now += 1
    assert token(tokens) == "row 2"


def test_only_the_rows_have_secrets(tokens):
    assert (tokens.makes("app"), tokens.makes("other")) == (True, False)
    with pytest.raises(SecretNotFoundError):
        tokens.read("other")


def test_the_old_credential_serves_an_outage_until_its_end(tokens, clock, caplog):
    token(tokens)
    clock.now += 60
    tokens.failure = StoreUnavailableError(None, "no answer")
    with time_limit(4):
        assert token(tokens) == "row 1"
    assert tokens.contexts[-1] == (pytest.approx(2, abs=0.5), True)
    assert "could not be replaced: no answer. It ends in 30 s" in caplog.text
    assert token(tokens) == "row 1"
    assert len(tokens.contexts) == 2, "the next attempt comes after a pause"
    clock.now += 7.5
    token(tokens)
    assert len(tokens.contexts) == 3
    clock.now += 22.5
    with pytest.raises(StoreUnavailableError):
        tokens.read("app")


def test_a_denial_is_not_answered_by_the_old_credential(tokens, clock):
    token(tokens)
    clock.now += 60
    tokens.failure = PermissionDeniedError("app", "no role")
    with pytest.raises(PermissionDeniedError):
        tokens.read("app")


class Waiting(Tokens):
    """Tokens that take until the test lets them come."""

    def __init__(self, clock):
        super().__init__(clock)
        self.asked, self.go = threading.Event(), threading.Event()

    def issue(self, path, row):
        self.asked.set()
        assert self.go.wait(30)
        return super().issue(path, row)


def test_a_working_credential_serves_the_others_while_one_thread_replaces_it(clock):
    store = Waiting(clock)
    store.go.set()
    token(store)
    clock.now += 60
    store.asked.clear()
    store.go.clear()
    thread = threading.Thread(target=token, args=[store])
    thread.start()
    assert store.asked.wait(30)
    assert token(store) == "row 1"
    clock.now += 30
    with time_limit(0.01), pytest.raises(StoreUnavailableError, match="under way"):
        store.read("app")
    store.go.set()
    thread.join(30)
    assert token(store) == "row 2"


def test_threads_share_the_first_credential(clock):
    store, found = Waiting(clock), []
    threads = [threading.Thread(target=lambda: found.append(token(store))) for _ in range(4)]
    for thread in threads:
        thread.start()
    store.go.set()
    for thread in threads:
        thread.join(30)
    assert found == ["row 1"] * 4


def test_a_closed_store_has_forgotten_its_credentials(tokens):
    token(tokens)
    tokens.close()
    assert token(tokens) == "row 2"


@pytest.mark.parametrize(
    ("paths", "says"),
    [
        ({}, "names no path"),
        ({"app": "text"}, "must be a table with host"),
        ({"app": {"host": "a", "pot": 1}}, "there is no 'pot'"),
        ({"app": {"port": 1}}, "lacks 'host'"),
        ({"a//b": {"host": "a"}}, "paths: 'a//b'"),
    ],
)
def test_malformed_rows_are_refused(paths, says):
    with pytest.raises(ConfigurationError, match=says):
        read_rows(paths, ("host",), ("port",))


def test_rows_are_returned_by_path():
    assert read_rows({"a/b": {"host": "h", "port": 1}}, ("host",), ("port",)) == {"a/b": {"host": "h", "port": 1}}


def test_the_end_is_that_of_the_credential_and_not_of_its_use(tokens, clock):
    """`Secret.ttl` is two thirds of the life, so that it is replaced in time. A program that holds it needs the end."""
    before = datetime.now(UTC)
    first = tokens.read("app")
    assert 0 <= (first.ends - before).total_seconds() - LIFE < SOON
    clock.now += 59
    later = tokens.read("app")
    assert (later.ends - datetime.now(UTC)).total_seconds() == pytest.approx(LIFE - 59, abs=SOON)
    assert later.ends.tzinfo is UTC
