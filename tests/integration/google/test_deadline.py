"""A call ends within its deadline even if the service hangs, and an error says if a write may have been made."""

import time

import pytest

from strongroom.errors import StoreUnavailableError, WriteOutcomeUnknownError
from strongroom.store import time_limit
from strongroom.testing import dripping_server, silent_server
from strongroom_google.plugin import open_google
from support.scenarios.deadlines import each_ends_in_time
from support.services.google import DRIPPING

pytestmark = pytest.mark.long

LIMIT, GRACE = 0.5, 8.0
"""Seconds that a call is given, and that a busy machine may add."""


def operations(store):
    return [
        lambda: store.read("app"),
        lambda: store.write("app", {"k": "v"}),
        lambda: store.delete("app"),
        lambda: list(store.walk("")),
        lambda: store.versions("app"),
        lambda: store.undelete("app", 1),
        lambda: store.write_metadata("app", {"owner": "billing"}),
        store.probe,
    ]


def test_service_that_hangs(google, store):
    google.put("app", b"one")
    store.read("app")
    google.hang("*")
    each_ends_in_time(operations(store), LIMIT, GRACE)


@pytest.mark.parametrize(
    "service",
    [silent_server, lambda: dripping_server(DRIPPING), dripping_server],
    ids=["silent", "drip", "HTTP/1"],
)
def test_server_that_never_answers(service):
    with service() as (host, port):
        store = open_google(project="demo", endpoint_url=f"http://{host}:{port}")
        each_ends_in_time(operations(store), LIMIT, GRACE)
        store.close()


def test_page_that_hangs_ends_the_list_in_time(google, store, monkeypatch):
    """The SDK's own paging gives each page the whole time."""
    monkeypatch.setattr("strongroom_google.store.PAGE", 1)
    for number in range(3):
        google.put(f"app{number}", b"one")
    began = time.monotonic()
    with time_limit(LIMIT):
        walk = store.walk("")
        assert next(walk) == "app0"
        google.hang("ListSecrets")
        with pytest.raises(StoreUnavailableError):
            list(walk)
    assert time.monotonic() - began < LIMIT + GRACE


def test_batch_ends_in_time_with_an_error_for_each(google, store):
    google.hang("*")
    paths = [f"app{number}" for number in range(30)]
    began = time.monotonic()
    with time_limit(LIMIT):
        outcomes = [*store.read_many(paths), *store.write_many((path, {"k": "v"}) for path in paths)]
    assert len(outcomes) == 60
    assert all(isinstance(outcome, StoreUnavailableError) for _, outcome in outcomes)
    assert time.monotonic() - began < LIMIT + GRACE


def test_write_whose_answer_is_late_is_in_doubt(google, store):
    google.put("app", b"one")
    google.hang("AddSecretVersion")
    with time_limit(LIMIT), pytest.raises(WriteOutcomeUnknownError, match="may or may not have been made"):
        store.write("app", {"k": "v"})
    assert google.asked.count("AddSecretVersion") == 1
    google.hang("AccessSecretVersion")
    with time_limit(LIMIT), pytest.raises(StoreUnavailableError) as caught:
        store.read("app")
    assert not isinstance(caught.value, WriteOutcomeUnknownError)


def test_service_that_comes_back_is_used_again(google, store):
    """A channel of gRPC waits longer after each failed connection, up to two minutes by default."""
    google.put("app", b"one")
    google.hang("AccessSecretVersion", times=1)
    with time_limit(LIMIT), pytest.raises(StoreUnavailableError):
        store.read("app")
    assert store.read("app").data == {"value": "one"}
