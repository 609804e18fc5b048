"""A change whose answer is lost: what was made is known to be made, and nothing is made twice."""

import contextlib

import pytest

from strongroom.errors import ConflictError, SecretNotFoundError, WriteOutcomeUnknownError
from strongroom.secret import same
from strongroom.store import time_limit
from strongroom.store.boundary.validation import ValidatedStore
from strongroom_vault.plugin import open_vault
from strongroom_vault.testing import faults

LOST = {
    "reset": faults.reset(forward=True),
    "truncated": faults.truncated(),
    "reset within the body": faults.reset_within_body(),
    "500": faults.status(500, forward=True),
    "502": faults.status(502, forward=True),
    "504": faults.status(504, forward=True),
    "a gateway's 503": faults.html(503, forward=True),
    "a page": faults.html(forward=True),
    "wrong JSON": faults.wrong_json({"data": {"version": "hunter2"}}, forward=True),
}
NEVER_MADE = {
    "reset": faults.reset(),
    "500": faults.status(500),
    "502": faults.status(502),
    "a page": faults.html(),
    "hangs": faults.hang(),
}


def is_change(request):
    return request.method in {"POST", "PUT", "DELETE"}


def changes(proxy):
    """The number of changes to secrets, without renewals of tokens."""
    return sum(is_change(request) and "/auth/token/" not in request.target for request in proxy.requests)


@pytest.fixture
def open_through(openbao, proxy):
    """A function that opens a front on a mount, through the proxy."""
    with contextlib.ExitStack() as stack:

        def open_(mount, token=openbao.token):
            store = open_vault(url=proxy.url, token=token, mount=mount)
            return stack.enter_context(contextlib.closing(ValidatedStore(store, "vault")))

        yield open_


@pytest.mark.parametrize("name", LOST)
def test_a_write_that_was_made_is_known_to_be(openbao, proxy, open_through, kv2, name):
    """By its version and its data; it is sent once."""
    front = open_through(kv2)
    first = front.write("app", {"n": 1})
    proxy.forget()
    with proxy.fault(LOST[name], when=is_change), time_limit(4):
        assert front.write_if("app", {"n": 2, "f": 1.0, "b": True, "deep": {"x": [None, "ü"]}}, first) == first + 1
        assert changes(proxy) == 1
        assert front.write("app", {"n": 3}) == first + 2
        front.delete("app")
    assert changes(proxy) == 3
    assert openbao.call("GET", f"{kv2}/metadata/app")["data"]["current_version"] == first + 2
    with pytest.raises(SecretNotFoundError):
        front.read("app")


@pytest.mark.parametrize("name", NEVER_MADE)
def test_a_write_under_a_check_that_was_not_made_is_made_once(openbao, proxy, open_through, kv2, name):
    """The server would refuse the second of two."""
    front = open_through(kv2)
    first = front.write("app", {"n": 1})
    with proxy.fault(NEVER_MADE[name], times=1, when=is_change), time_limit(8):
        assert front.write_if("app", {"n": 2}, first) == first + 1
    assert openbao.peek("app", mount=kv2) == {"n": 2}
    with proxy.fault(NEVER_MADE[name], times=1, when=is_change), time_limit(8):
        assert front.write_if("new", {"n": 1}, None) == 1


@pytest.mark.parametrize("name", NEVER_MADE)
def test_a_write_that_was_not_made_is_made_once(openbao, proxy, open_through, kv2, name):
    """It names the version that it has read, so that the server would refuse the second of two."""
    front = open_through(kv2)
    assert front.write("app", {"n": 1}) == 1
    with proxy.fault(NEVER_MADE[name], times=1, when=is_change), time_limit(8):
        assert front.write("app", {"n": 2}) == 2
    assert openbao.call("GET", f"{kv2}/metadata/app")["data"]["current_version"] == 2
    assert openbao.peek("app", mount=kv2) == {"n": 2}


def test_a_write_follows_what_somebody_else_wrote_meanwhile(openbao, proxy, open_through, kv2):
    """The write replaces the newest version, and nothing is written twice."""
    front = open_through(kv2)
    front.write("app", {"n": 1})

    def overtaken(exchange):
        openbao.put("app", {"n": "theirs"}, mount=kv2)
        exchange.reset()

    with proxy.fault(overtaken, times=1, when=is_change), time_limit(8):
        assert front.write("app", {"n": 2}) == 3
    assert openbao.peek("app", mount=kv2) == {"n": 2}


@pytest.mark.parametrize("name", NEVER_MADE)
def test_a_change_without_a_check_that_was_not_made_is_a_doubt(openbao, proxy, open_through, kv2, name):
    """It is never repeated: somebody else may have written meanwhile. A write has no check if its token cannot read."""
    front = open_through(kv2)
    first = front.write("app", {"n": 1})
    writer = open_through(kv2, openbao.issue_token({f"{kv2}/data/*": ["update"]}))
    for change in (lambda: writer.write("app", {"n": 2}), lambda: front.delete("app")):
        proxy.forget()
        with (
            proxy.fault(NEVER_MADE[name], when=is_change),
            time_limit(3),
            pytest.raises(WriteOutcomeUnknownError) as caught,
        ):
            change()
        assert "may or may not" in str(caught.value)
        assert "app" in str(caught.value)
        assert changes(proxy) == 1
    assert front.read("app").version == first


@pytest.mark.parametrize("name", NEVER_MADE)
def test_a_write_that_keeps_being_lost_ends_as_a_doubt(proxy, open_through, kv2, name):
    """It is repeated while there is time, at most every 50 ms."""
    front = open_through(kv2)
    first = front.write("app", {"n": 1})
    proxy.forget()
    with proxy.fault(NEVER_MADE[name], when=is_change), time_limit(3), pytest.raises(WriteOutcomeUnknownError):
        front.write_if("app", {"n": 2}, first)
    assert 1 <= changes(proxy) <= 3 / 0.05


def test_what_somebody_else_wrote_meanwhile_is_a_conflict(openbao, proxy, open_through, kv2):
    """Ours was not made, and theirs is not overwritten."""
    front = open_through(kv2)
    first = front.write("app", {"n": 1})

    def overtaken(exchange):
        openbao.put("app", {"n": "theirs"}, mount=kv2)
        exchange.reset()

    with proxy.fault(overtaken, when=is_change), time_limit(4), pytest.raises(ConflictError):
        front.write_if("app", {"n": 2}, first)
    assert openbao.peek("app", mount=kv2) == {"n": "theirs"}


def test_what_somebody_else_wrote_after_ours_does_not_hide_that_ours_was_made(openbao, proxy, open_through, kv2):
    """The version after the expected one is ours, and theirs follows it."""
    front = open_through(kv2)
    first = front.write("app", {"n": 1})

    def followed(exchange):
        exchange.forward()
        openbao.put("app", {"n": "theirs"}, mount=kv2)
        exchange.reset()

    with proxy.fault(followed, when=is_change), time_limit(4):
        assert front.write_if("app", {"n": 2}, first) == first + 1
    assert openbao.peek("app", mount=kv2) == {"n": "theirs"}


def test_a_batch_settles_each_of_its_writes(openbao, proxy, open_through, kv2):
    """One by one, as they are found out."""
    front = open_through(kv2)
    items = [(f"app/{number}", {"n": number}) for number in range(20)]
    with proxy.fault(faults.reset(forward=True), times=5, when=is_change), time_limit(8):
        written = dict(front.write_many(items))
    assert written == {path: 1 for path, _ in items}


@pytest.mark.parametrize("name", ["reset", "500", "a page"])
def test_a_version_1_engine_is_read_back_too(openbao, proxy, open_through, kv1, name):
    """It has no versions: what is there is what was written, or nobody knows."""
    front = open_through(kv1)
    with proxy.fault(LOST[name], when=is_change), time_limit(4):
        front.write("app", {"n": 1})
        front.delete("app")
    front.write("app", {"n": 1})
    for change in (lambda: front.write("app", {"n": 2}), lambda: front.delete("app")):
        with proxy.fault(NEVER_MADE[name], when=is_change), time_limit(3), pytest.raises(WriteOutcomeUnknownError):
            change()
    assert front.read("app").data == {"n": 1}


@pytest.mark.parametrize(("one", "other", "expected"), [
    ({"a": 1}, {"a": 1.0}, True), ({"a": True}, {"a": 1}, False), ({"a": 0}, {"a": False}, False),
    ({"a": [1, {"b": None}]}, {"a": [1, {"b": None}]}, True), ({"a": [True]}, {"a": [1]}, False),
    ({"a": 1}, {"a": 1, "b": 2}, False), ({"a": "1"}, {"a": 1}, False), ({"a": None}, {}, False),
])  # fmt: skip
def test_the_same_in_json(one, other, expected):
    """What the server keeps is compared by value, and true is no number."""
    assert same(one, other) is expected
