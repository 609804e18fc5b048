"""A change whose answer is lost: what was made is known to be made, and nothing is made twice."""

import contextlib

import pytest

from strongroom._boundary.guard import GuardedStore
from strongroom.errors import ConflictError, SecretNotFoundError, WriteOutcomeUnknownError
from strongroom.secret import same
from strongroom.store import time_limit
from strongroom_vault.plugin import open_vault
from support.vault import faults

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


def overtaken_by(write):
    """A fault: another client writes first, and our change is lost."""

    def overtaken(exchange):
        write()
        exchange.reset()

    return overtaken


@pytest.fixture
def open_through(openbao, proxy):
    """A function that opens a front on a mount, through the proxy."""
    with contextlib.ExitStack() as stack:

        def open_(mount, token=openbao.token):
            store = open_vault(url=proxy.url, token=token, mount=mount)
            return stack.enter_context(contextlib.closing(GuardedStore(store, "vault")))

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
    overtaken = overtaken_by(lambda: openbao.put("app", {"n": "theirs"}, mount=kv2))
    with proxy.fault(overtaken, times=1, when=is_change), time_limit(8):
        assert front.write("app", {"n": 2}) == 3
    assert openbao.peek("app", mount=kv2) == {"n": 2}


@pytest.mark.parametrize("name", NEVER_MADE)
def test_a_write_by_a_token_that_cannot_read_is_a_doubt(openbao, proxy, open_through, kv2, name):
    """It names no version and is never repeated, because somebody else may have written meanwhile."""
    front = open_through(kv2)
    first = front.write("app", {"n": 1})
    writer = open_through(kv2, openbao.issue_token({f"{kv2}/data/*": ["update"]}))
    proxy.forget()
    with (
        proxy.fault(NEVER_MADE[name], when=is_change),
        time_limit(3),
        pytest.raises(WriteOutcomeUnknownError) as caught,
    ):
        writer.write("app", {"n": 2})
    assert "may or may not" in str(caught.value)
    assert "app" in str(caught.value)
    assert changes(proxy) == 1
    assert front.read("app").version == first


@pytest.mark.parametrize("name", NEVER_MADE)
def test_a_delete_that_was_not_made_is_made(openbao, proxy, open_through, kv2, name):
    """By the number of the version. The same holds for other changes of versions and for labels."""
    front = open_through(kv2)
    first = front.write("app", {"n": 1})
    steps = [
        (lambda: front.delete("app"), lambda info: info.deleted),
        (lambda: front.undelete("app", first), lambda info: not info.deleted),
        (lambda: front.write_metadata("app", {"owner": "ops"}), lambda _: front.read_metadata("app")),
        (lambda: front.destroy("app", first), lambda info: info.destroyed),
    ]
    for change, is_made in steps:
        with proxy.fault(NEVER_MADE[name], times=1, when=is_change), time_limit(8):
            change()
        assert is_made(front.versions("app")[-1])


def test_a_repeated_delete_spares_what_somebody_else_wrote_meanwhile(openbao, proxy, open_through, kv2):
    """The version that was there before is deleted, whether the secret shows it or not."""
    front = open_through(kv2)
    first = front.write("app", {"n": 1})
    overtaken = overtaken_by(lambda: openbao.put("app", {"n": "theirs"}, mount=kv2))
    with proxy.fault(overtaken, times=1, when=is_change), time_limit(8):
        front.delete("app")
    assert front.read("app").data == {"n": "theirs"}
    assert [info.deleted for info in front.versions("app")] == [True, False]
    assert front.versions("app")[0].version == first


def test_a_delete_is_not_repeated_without_the_right_to_name_a_version(openbao, proxy, open_through, kv2):
    """Another DELETE could hit a later version."""
    front = open_through(kv2)
    front.write("app", {"n": 1})
    deleter = open_through(kv2, openbao.issue_token({f"{kv2}/data/*": ["read", "delete"]}))
    proxy.forget()
    with proxy.fault(faults.reset(), times=1, when=is_change), time_limit(8), pytest.raises(WriteOutcomeUnknownError):
        deleter.delete("app")
    assert sum(request.method == "DELETE" for request in proxy.requests) == 1
    assert front.read("app").data == {"n": 1}


def test_labels_that_somebody_else_changed_meanwhile_stay(openbao, proxy, open_through, kv2):
    """The revision of the metadata is no longer the one that the change names."""
    front = open_through(kv2)
    front.write("app", {"n": 1})
    overtaken = overtaken_by(
        lambda: openbao.call("POST", f"{kv2}/metadata/app", {"custom_metadata": {"owner": "theirs"}})
    )

    with proxy.fault(overtaken, times=1, when=is_change), time_limit(8), pytest.raises(WriteOutcomeUnknownError):
        front.write_metadata("app", {"owner": "ours"})
    assert front.read_metadata("app") == {"owner": "theirs"}


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
    overtaken = overtaken_by(lambda: openbao.put("app", {"n": "theirs"}, mount=kv2))
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


@pytest.mark.parametrize("fault", [faults.reset(forward=True), faults.reset()], ids=["made", "not made"])
@pytest.mark.parametrize("version", [1, 2])
def test_a_batch_settles_each_of_its_writes(request, proxy, open_through, fault, version):
    """One by one, as they are found out. Each write names the version that it follows, if the engine has versions."""
    mount = request.getfixturevalue(f"kv{version}")
    front = open_through(mount)
    items = [(f"app/{number}", {"n": number}) for number in range(20)]
    with proxy.fault(fault, times=5, when=is_change), time_limit(8):
        written = dict(front.write_many(items))
    assert written == {path: 1 if version == 2 else None for path, _ in items}
    assert {path: secret.data for path, secret in front.read_many(written)} == dict(items)


@pytest.mark.parametrize("name", LOST)
def test_a_version_1_engine_is_read_back_too(proxy, open_through, kv1, name):
    """The secret has the data that was written. It is sent once."""
    front = open_through(kv1)
    proxy.forget()
    with proxy.fault(LOST[name], when=is_change), time_limit(4):
        front.write("app", {"n": 1})
        front.delete("app")
    assert changes(proxy) == 2


@pytest.mark.parametrize("name", NEVER_MADE)
def test_a_version_1_change_is_repeated_while_the_secret_is_as_before(openbao, proxy, open_through, kv1, name):
    """The engine lacks check-and-set. A write of another client meanwhile stays, and the outcome is unknown."""
    front = open_through(kv1)
    overtaken = overtaken_by(lambda: openbao.call("POST", f"{kv1}/app", {"n": "theirs"}))
    with proxy.fault(NEVER_MADE[name], times=1, when=is_change), time_limit(8):
        front.write("app", {"n": 1})
    with proxy.fault(NEVER_MADE[name], times=1, when=is_change), time_limit(8):
        front.write("app", {"n": 2})
    assert front.read("app").data == {"n": 2}
    for change in (lambda: front.write("app", {"n": 3}), lambda: front.delete("app")):
        with proxy.fault(overtaken, times=1, when=is_change), time_limit(8), pytest.raises(WriteOutcomeUnknownError):
            change()
        assert front.read("app").data == {"n": "theirs"}
        front.write("app", {"n": 2})
    with proxy.fault(NEVER_MADE[name], times=1, when=is_change), time_limit(8):
        front.delete("app")
    with pytest.raises(SecretNotFoundError):
        front.read("app")


@pytest.mark.parametrize(("one", "other", "expected"), [
    ({"a": 1}, {"a": 1.0}, True), ({"a": True}, {"a": 1}, False), ({"a": 0}, {"a": False}, False),
    ({"a": [1, {"b": None}]}, {"a": [1, {"b": None}]}, True), ({"a": [True]}, {"a": [1]}, False),
    ({"a": 1}, {"a": 1, "b": 2}, False), ({"a": "1"}, {"a": 1}, False), ({"a": None}, {}, False),
])  # fmt: skip
def test_the_same_in_json(one, other, expected):
    """What the server keeps is compared by value, and true is no number."""
    assert same(one, other) is expected
