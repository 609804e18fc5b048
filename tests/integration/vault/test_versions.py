"""The versions and labels of a KV version 2 engine, beyond the contract, on a real server."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta

import pytest

from strongroom import SecretsManager
from strongroom._boundary.guard import GuardedStore
from strongroom.errors import (
    ConfigurationError,
    ConflictError,
    InvalidDataError,
    PermissionDeniedError,
    SecretNotFoundError,
    StoreError,
    StoreUnavailableError,
    WriteOutcomeUnknownError,
)
from strongroom_vault.plugin import open_vault

CANARY = "canary-5e0d"


@pytest.fixture
def open_guarded(openbao):
    """A function that opens a mount of the shared server, with a token of given rules or the root's."""
    fronts = []

    def open_(mount, rules=None, **options):
        token = openbao.token if rules is None else openbao.issue_token(rules)
        fronts.append(GuardedStore(open_vault(url=openbao.url, token=token, mount=mount, **options), "vault"))
        return fronts[-1]

    yield open_
    for front in fronts:
        front.close()


@pytest.fixture
def front(open_guarded, kv2):
    return open_guarded(kv2)


@pytest.fixture
def metadata(openbao, kv2):
    """A function that gives a secret's metadata, or sets some of it first."""

    def call(path="app", **settings):
        if settings:
            openbao.call("POST", f"{kv2}/metadata/{path}", settings)
        return openbao.call("GET", f"{kv2}/metadata/{path}")["data"]

    return call


def writes(front, count, path="app"):
    for number in range(1, count + 1):
        front.write(path, {"own": str(number)})


def states(front, path="app"):
    """Version -> what was done to it."""
    done = {(False, False): "", (True, False): "deleted", (False, True): "destroyed"}
    return {info.version: done[info.deleted, info.destroyed] for info in front.versions(path)}


def read_on(front, seconds):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        front.read("app")
        time.sleep(0.05)


def test_history_has_the_servers_times(front):
    """Written within this test, and with a time zone."""
    before = datetime.now(UTC) - timedelta(seconds=5)
    writes(front, 2)
    first, second = front.versions("app")
    assert before < first.created < second.created < datetime.now(UTC) + timedelta(seconds=5)
    assert (first.deleted_at, second.deleted_at) == (None, None)


def test_versions_of_two_digits_are_in_order_of_their_numbers(front, metadata):
    """The server's object is in order of the text: 10 before 2."""
    metadata(max_versions=20)
    writes(front, 12)
    assert [info.version for info in front.versions("app")] == list(range(1, 13))


def test_just_deleted_is_deleted(front):
    """By the server's clock, whose header has whole seconds."""
    writes(front, 1)
    front.delete("app")
    [info] = front.versions("app")
    assert info.deleted
    assert info.deleted_at >= info.created


def test_history_goes_by_the_servers_clock(faulty, answered):
    """Ours may be wrong by an hour."""
    hour = timedelta(hours=1)
    now = datetime.now(UTC) - hour
    entry = {"created_time": (now - hour).isoformat(), "destroyed": False}
    versions = {
        "1": {**entry, "deletion_time": (now - timedelta(minutes=1)).isoformat()},
        "2": {**entry, "deletion_time": (now + timedelta(minutes=1)).isoformat()},
    }
    header = f"Date: {now:%a, %d %b %Y %H:%M:%S} GMT"
    front = faulty(answered(200, {"data": {"versions": versions}}, [header]))
    assert [info.deleted for info in front.versions("app")] == [True, False]


def test_version_that_will_be_deleted_is_not_deleted_yet(front, metadata):
    """With `delete_version_after` every version has a time of deletion from the start."""
    metadata(delete_version_after="1h")
    writes(front, 1)
    [info] = front.versions("app")
    assert not info.deleted
    assert timedelta(minutes=59) < info.deleted_at - info.created <= timedelta(hours=1)
    assert front.read_version("app", 1).data == {"own": "1"}


def test_version_whose_time_came_is_deleted_and_can_be_undeleted(front, metadata):
    """Its time begins anew."""
    metadata(delete_version_after="1s")
    writes(front, 1)
    with pytest.raises(SecretNotFoundError, match="version 1 is deleted"):
        read_on(front, 30)
    assert states(front) == {1: "deleted"}
    metadata(delete_version_after="1h")
    front.undelete("app", 1)
    assert front.read("app").data == {"own": "1"}
    assert not front.versions("app")[0].deleted


def test_pruned_versions_are_not_there(front, metadata):
    """Beyond `max_versions` the engine forgets the oldest, and says yes to whatever is asked of them."""
    writes(front, 1)
    metadata(max_versions=3)
    writes(front, 5)
    assert [info.version for info in front.versions("app")] == [4, 5, 6]
    for operation in (front.read_version, front.undelete, front.destroy):
        with pytest.raises(SecretNotFoundError, match="version 1 does not exist or is no longer kept"):
            operation("app", 1)


@pytest.mark.parametrize(
    ("engine", "secret", "kept"), [(0, 0, 10), (5, 0, 5), (5, 1, 5), (1, 5, 5), (0, 1, 1), (1, 0, 1)]
)
def test_as_many_versions_stay_as_the_engine_or_the_secret_says(openbao, front, kv2, metadata, engine, secret, kept):
    """Whichever is more; ten where neither says anything. The server, asked after twelve writes, has as many."""
    openbao.call("POST", f"{kv2}/config", {"max_versions": engine})
    metadata(max_versions=secret)
    writes(front, 12)
    assert front.kept_versions("app") == kept == len(front.versions("app"))


@pytest.mark.parametrize("where", ["config", "metadata/app"])
def test_versions_that_are_deleted_after_a_time_are_not_sure_to_stay(openbao, front, kv2, where):
    openbao.call("POST", f"{kv2}/{where}", {"delete_version_after": "1h"})
    writes(front, 1)
    assert front.kept_versions("app") == 1


def test_a_newest_version_that_is_due_to_be_deleted_is_not_sure_to_stay(front, metadata):
    """It got its time when it was written: that nothing is deleted after a time any more leaves it as it is."""
    metadata(delete_version_after="1h")
    writes(front, 1)
    metadata(delete_version_after="0s")
    assert front.kept_versions("app") == 1
    writes(front, 1)
    assert front.kept_versions("app") == 10


def test_who_may_not_read_the_engines_settings_is_not_told_how_many_versions_stay(front, open_guarded, kv2):
    """No number is guessed: a secret would be overwritten that cannot be given back."""
    writes(front, 1)
    narrow = open_guarded(kv2, {f"{kv2}/metadata/*": ["read"], f"{kv2}/data/*": ["read"]})
    with pytest.raises(PermissionDeniedError):
        narrow.kept_versions("app")


def test_version_that_is_destroyed_is_not_called_deleted(front):
    """A deleted one comes back by `undelete`, and a destroyed one never."""
    writes(front, 3)
    front.destroy("app", 1)
    front.delete("app")
    with pytest.raises(SecretNotFoundError, match="version 1 is destroyed"):
        front.read_version("app", 1)
    with pytest.raises(SecretNotFoundError, match="version 3 is deleted"):
        front.read("app")
    front.destroy("app", 3)
    with pytest.raises(SecretNotFoundError, match="version 3 is destroyed"):
        front.read("app")


def test_version_zero_is_not_the_newest(front):
    """The server takes it for that."""
    writes(front, 2)
    for version in (0, -1, "2"):
        for operation in (front.read_version, front.undelete, front.destroy):
            with pytest.raises(SecretNotFoundError):
                operation("app", version)
    assert states(front) == {1: "", 2: ""}


def test_large_numbers_survive_a_rollback(front):
    """A float above 2^53, which the engine shows as an integer."""
    front.write("app", {"number": 1e300, "list": [1.5e20]})
    front.write("app", {"number": 1})
    assert front.write_if("app", front.read_version("app", 1).data, 2) == 3
    assert front.read("app").data == {"number": 1e300, "list": [1.5e20]}


def test_metadata_alone_is_no_secret(front, metadata):
    """Anybody may make it before the first write; the secret is absent all the same."""
    metadata(custom_metadata={"owner": "billing"})
    for operation in (front.versions, front.read_metadata, lambda path: front.write_metadata(path, {})):
        with pytest.raises(SecretNotFoundError, match="metadata and no version"):
            operation("app")
    assert metadata()["custom_metadata"] == {"owner": "billing"}


# --- labels -----------------------------------------------------------------------------------------------------------


def test_labels_leave_every_setting_alone(front, metadata):
    """`delete_version_after` above all, which hvac's own call resets."""
    writes(front, 2)
    settings = {"delete_version_after": "1h0m0s", "cas_required": True, "max_versions": 7}
    before = metadata(**settings)
    front.write_metadata("app", {"owner": "billing", "tier": "1"})
    front.write_metadata("app", {"ключ": "žluť"})
    after = metadata()
    assert after["custom_metadata"] == front.read_metadata("app") == {"ключ": "žluť"}
    front.write_metadata("app", {})
    assert front.read_metadata("app") == {}
    changed = {"custom_metadata", "updated_time", "current_metadata_version"}
    assert {key: value for key, value in after.items() if key not in changed} == {
        key: value for key, value in before.items() if key not in changed
    }
    assert settings.items() <= after.items()


def test_labels_on_a_mount_that_requires_check_and_set_for_them(openbao, front, kv2):
    """The number of the metadata goes with them."""
    openbao.call("POST", f"{kv2}/config", {"metadata_cas_required": True})
    writes(front, 1)
    for owner in ("billing", "payments"):
        front.write_metadata("app", {"owner": owner})
    assert front.read_metadata("app") == {"owner": "payments"}


def test_one_of_many_writers_of_labels_wins(front):
    """The others are told of the conflict, and none that its labels are invalid."""
    writes(front, 1)
    barrier = threading.Barrier(8)

    def attempt(number):
        barrier.wait(60)
        try:
            front.write_metadata("app", {"writer": str(number)})
        except ConflictError:
            return None
        return str(number)

    with ThreadPoolExecutor(8) as pool:
        written = set(filter(None, pool.map(attempt, range(8))))
    assert front.read_metadata("app")["writer"] in written


REFUSED = {
    "empty": {"a": ""},
    "long": {"a": "x" * 513},
    "long in bytes": {"a": "ž" * 257},
    "long name": {"n" * 129: "x"},
    "lines": {"a": "two\nlines"},
    "space of another kind": {"a": "x\u00a0y"},
    "format": {"a": "x\u200by"},
    "private": {"a": "\ue000"},
    "name that does not print": {"a\u00a0b": "x"},
    "many": {f"n{number}": "x" for number in range(65)},
}
TAKEN = {
    "longest": {"n" * 128: "x" * 512},
    "longest in bytes": {"ž" * 64: "ž" * 256},
    "most": {f"n{number}": "x" for number in range(64)},
    "of every kind": {"a b/ž": "emoji 😀 (+) «x» 漢字 e\u0301"},
}


@pytest.mark.parametrize("labels", REFUSED.values(), ids=REFUSED)
def test_labels_that_the_server_refuses_are_invalid_data(front, openbao, kv2, labels):
    """Found before they are sent, in words that say what it takes; those that are there stay."""
    writes(front, 1)
    front.write_metadata("app", {"owner": "billing"})
    for operation in (front.vet_labels, front.write_metadata):
        with pytest.raises(InvalidDataError, match=r"takes|limits") as caught:
            operation("app", labels)
        assert "HTTP" not in str(caught.value)
    with pytest.raises(StoreError, match="HTTP 400"):
        openbao.call("POST", f"{kv2}/metadata/app", {"custom_metadata": labels})
    assert front.read_metadata("app") == {"owner": "billing"}


@pytest.mark.parametrize("labels", TAKEN.values(), ids=TAKEN)
def test_labels_at_the_limits_of_the_server_are_taken(front, labels):
    writes(front, 1)
    front.vet_labels("app", labels)
    front.write_metadata("app", labels)
    assert front.read_metadata("app") == labels


@pytest.mark.parametrize("path", ["a b/ž", "a?b#c%d&e", "..a/b"])
def test_labels_go_to_the_path_that_they_are_for(front, path):
    """Below the prefix, and escaped once."""
    front.write(path, {"own": "1"})
    front.write_metadata(path, {"path": "this"})
    assert front.read_metadata(path) == {"path": "this"}
    front.destroy(path, 1)
    assert states(front, path) == {1: "destroyed"}


# --- check-and-set ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["mount", "secret"])
def test_rollback_where_check_and_set_is_required(openbao, front, kv2, metadata, where):
    """Over a live version, a deleted one and a destroyed one."""
    if where == "mount":
        openbao.call("POST", f"{kv2}/config", {"cas_required": True})
    else:
        metadata(cas_required=True)
    writes(front, 2)
    with SecretsManager(
        chain=[open_vault(url=openbao.url, token=openbao.token, mount=kv2)],
    ) as secrets:
        assert secrets.versions.rollback("app", 1) == 3
        assert secrets.get_secret("app", "own") == "1"
        secrets.delete_secret("app")
        assert secrets.versions.rollback("app", 2) == 4
        secrets.versions.destroy("app", 4)
        assert secrets.get_secret("app", default=None) is None
        assert secrets.versions.rollback("app", 1) == 5
        assert secrets.get_secret("app", "own") == "1"
    assert states(front) == {1: "", 2: "", 3: "deleted", 4: "destroyed", 5: ""}


def test_write_after_an_undo_takes_the_deleted_versions_number(front):
    """Whoever saw the deleted version may expect it, or that there is none."""
    writes(front, 1)
    front.delete("app")
    with pytest.raises(ConflictError):
        front.write_if("app", {"own": "2"}, 7)
    assert front.write_if("app", {"own": "2"}, 1) == 2
    front.delete("app")
    assert front.write_if("app", {"own": "3"}, None) == 3


# --- policies ---------------------------------------------------------------------------------------------------------


def test_under_the_guides_policies_history_is_denied_and_never_empty(front, open_guarded, kv2):
    """They give the data and not the metadata: an old version can be read, and rolled back to."""
    writes(front, 2)
    front.write_metadata("app", {"owner": "billing"})
    limited = open_guarded(kv2, {f"{kv2}/data/*": ["create", "read", "update", "delete"]})
    for operation in (
        limited.versions,
        limited.read_metadata,
        lambda path: limited.write_metadata(path, {}),
        lambda path: limited.undelete(path, 1),
        lambda path: limited.destroy(path, 1),
    ):
        for path in ("app", "absent"):
            with pytest.raises(PermissionDeniedError, match="policies"):
                operation(path)
    assert limited.read_version("app", 1).data == {"own": "1"}
    with pytest.raises(SecretNotFoundError):
        limited.read_version("app", 3)
    assert limited.write_if("app", {"own": "1"}, 2) == 3
    assert states(front) == {1: "", 2: "", 3: ""}


def test_who_may_read_metadata_may_not_undelete_or_destroy_by_that(front, open_guarded, kv2):
    """Each is a right of its own; none of them shows a value."""
    writes(front, 2)
    front.delete("app")
    reader = open_guarded(kv2, {f"{kv2}/metadata/*": ["read"]})
    assert [info.deleted for info in reader.versions("app")] == [False, True]
    for operation in (lambda: reader.undelete("app", 2), lambda: reader.destroy("app", 1), lambda: reader.read("app")):
        with pytest.raises(PermissionDeniedError):
            operation()
    assert states(front) == {1: "", 2: "deleted"}
    rules = {f"{kv2}/metadata/*": ["read"], f"{kv2}/undelete/*": ["update"], f"{kv2}/destroy/*": ["update"]}
    keeper = open_guarded(kv2, rules)
    keeper.undelete("app", 2)
    keeper.destroy("app", 1)
    assert states(front) == {1: "destroyed", 2: ""}


def test_who_may_delete_and_not_read_can_delete(front, open_guarded, kv2):
    """Whether there was anything is then beyond it."""
    writes(front, 1)
    remover = open_guarded(kv2, {f"{kv2}/data/*": ["delete"]})
    remover.delete("app")
    remover.delete("absent")
    assert states(front) == {1: "deleted"}
    with pytest.raises(PermissionDeniedError):
        open_guarded(kv2, {f"{kv2}/data/other": ["read"]}).delete("app")


# --- replies that are none --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        {"data": {}},
        {"data": {"versions": None}},
        {"data": {"versions": [1]}},
        {"data": {"versions": {"one": {}}}},
        {"data": {"versions": {"1": None}}},
        {"data": None},
        b"<html>",
    ],
)
def test_metadata_of_another_shape_is_unavailable(faulty, answered, body):
    """It is neither an empty history nor an absence, and nothing is destroyed after it."""
    front = faulty(answered(200, body))
    for operation in (front.versions, front.read_metadata, lambda path: front.destroy(path, 1)):
        with pytest.raises(StoreUnavailableError):
            operation("app")


def test_wrong_404_is_a_configuration_error(faulty, answered):
    """A mount that is gone is no absence of history."""
    front = faulty(answered(404, {"errors": ["no handler for route"]}))
    for operation in (front.versions, lambda path: front.read_version(path, 1)):
        with pytest.raises(ConfigurationError):
            operation("app")


def test_another_version_than_was_asked_for_is_refused(faulty, stored):
    """A cache in between that ignores the query gives the newest."""
    front = faulty(stored(version=2, own=CANARY))
    with pytest.raises(Exception, match=r"read_version\(\) returned another version") as caught:
        front.read_version("app", 1)
    assert CANARY not in str(caught.value)
    assert front.read_version("app", 2).data == {"own": CANARY}


# --- answers that are lost --------------------------------------------------------------------------------------------


def entry(**state):
    return {"created_time": "2026-01-02T03:04:05Z", "deletion_time": "", "destroyed": False, **state}


DELETED = {"deletion_time": "2026-01-02T03:04:06Z"}
CHANGES = {
    "undelete": (
        lambda front: front.undelete("app", 1),
        {"versions": {"1": entry(**DELETED)}},
        {"versions": {"1": entry()}},
    ),
    "destroy": (
        lambda front: front.destroy("app", 1),
        {"versions": {"1": entry()}},
        {"versions": {"1": entry(destroyed=True)}},
    ),
    "labels": (
        lambda front: front.write_metadata("app", {"owner": "billing"}),
        {"versions": {"1": entry()}, "custom_metadata": {"owner": "nobody"}},
        {"versions": {"1": entry()}, "custom_metadata": {"owner": "billing"}},
    ),
}


@pytest.mark.parametrize("lost", [None, 500, 502], ids=str)
@pytest.mark.parametrize("change", CHANGES)
def test_change_whose_answer_was_lost_is_settled_by_looking(faulty, fault_server, answered, change, lost):
    """It was made, or it is sent again. Labels are not sent again if the server does not number their revisions."""
    operation, before, after = CHANGES[change]
    before, after = answered(200, {"data": before}), answered(200, {"data": after})
    answer = None if lost is None else answered(lost, {"errors": []})
    operation(faulty(before, answer, after))
    front = faulty(before, answer, before, answered(204))
    with pytest.raises(WriteOutcomeUnknownError) if change == "labels" else nullcontext():
        operation(front)
    sent = 2 if change == "labels" else 3
    assert [request.method for request in fault_server.requests].count("POST") == sent
