"""Names, values, tags, states and deleted secrets in a store of Key Vault."""

import time
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from strongroom._boundary.guard import GuardedStore
from strongroom.errors import (
    ConflictError,
    InvalidDataError,
    InvalidPathError,
    PermissionDeniedError,
    SecretNotFoundError,
    SecretTooLargeError,
    StoreUnavailableError,
    UnsupportedOperationError,
)
from strongroom.store.one_value import FOLD
from strongroom_azure import store as store_module

pytestmark = pytest.mark.long

# --- names ------------------------------------------------------------------------------------------------------------


def test_secret_of_another_program_is_read_by_its_plain_name(key_vault):
    """Key Vault does not tell capitals from small letters, and keeps the spelling of the first write."""
    key_vault.vault.put("DbPassword-1", "s3cret")
    store = key_vault.open()
    assert dict(store.read("dbpassword-1").data) == {"value": "s3cret"}
    assert list(store.walk("")) == ["dbpassword-1"]
    with pytest.raises(SecretNotFoundError):
        store.read("DbPassword-1")


def test_name_that_is_no_path_is_listed_and_cannot_be_read(key_vault):
    """It is an error of that name alone."""
    for name in ("--a", "fine"):
        key_vault.vault.put(name, "s3cret")
    store = GuardedStore(key_vault.open(), "azure")
    assert sorted(store.walk("")) == ["/a", "fine"]
    with pytest.raises(InvalidPathError):
        store.read("/a")


def test_prefix_is_a_part_of_the_name(key_vault):
    key_vault.vault.put("other", "s3cret")
    store = key_vault.open(prefix="shop/prod")
    store.write("db/app", {"k": "v"})
    assert set(key_vault.vault.secrets) == {"other", "shop--prod--db--app"}
    assert (list(store.walk("")), list(store.list_entries(""))) == (["db/app"], ["db/"])


# --- values -----------------------------------------------------------------------------------------------------------


def newest(key_vault, name):
    return key_vault.vault.secrets[name][-1]


def test_keys_are_one_json_object_with_its_content_type(key_vault):
    store = key_vault.open()
    store.write("app", {"user": "u", "port": 5432})
    written = newest(key_vault, "app")
    assert (written["value"], written["contentType"]) == ('{"user":"u","port":5432}', "application/json")


def test_plain_secret_stays_plain_with_its_content_type_and_tags(key_vault):
    key_vault.vault.put("app", "one", content_type="password", tags={"owner": "billing"})
    store = key_vault.open()
    secret = store.read("app")
    assert secret.metadata == {"owner": "billing", FOLD: "text"}
    store.write("app", {"value": "two"})
    written = newest(key_vault, "app")
    assert (written["value"], written["contentType"]) == ("two", "password")
    assert written["tags"] == {"owner": "billing"}
    store.write("app", {"value": "two", "more": "three"})
    assert newest(key_vault, "app")["contentType"] == "application/json"


@pytest.mark.parametrize(("fold", "value"), [("keep", '{"value":"v"}'), ("plain", "v"), ("json", '{"value":"v"}')])
def test_form_of_a_new_secret(key_vault, fold, value):
    key_vault.open(fold=fold).write("app", {"value": "v"})
    assert newest(key_vault, "app")["value"] == value


def test_largest_value_is_25_600_bytes(key_vault):
    store = key_vault.open(fold="plain")
    store.write("app", {"value": "x" * 25_600})
    with pytest.raises(SecretTooLargeError, match="25,601 bytes, the most is 25,600"):
        store.write("app", {"value": "x" * 25_601})
    assert len(newest(key_vault, "app")["value"]) == 25_600


@pytest.mark.parametrize("labels", [{str(number): "" for number in range(16)}, {"n" * 513: ""}, {"n": "x" * 513}])
def test_labels_that_are_no_tags_are_refused_before_a_request(key_vault, labels):
    store = key_vault.open()
    with pytest.raises(InvalidDataError):
        store.write_metadata("app", labels)
    assert key_vault.asked == []


# --- states -----------------------------------------------------------------------------------------------------------


def test_disabled_version_is_denied_and_can_be_enabled(key_vault):
    """A denial, since another store's value must not replace a value that an operator withdrew."""
    first = key_vault.vault.put("app", "one")
    second = key_vault.vault.put("app", "two", enabled=False)
    store = key_vault.open()
    for read in (lambda: store.read("app"), lambda: store.read_version("app", second)):
        with pytest.raises(PermissionDeniedError, match="it is disabled"):
            read()
    assert store.read_version("app", first).data["value"] == "one"
    assert [(info.version, info.deleted) for info in store.versions("app")] == [(first, False), (second, True)]
    store.undelete("app", second)
    assert store.read("app").data["value"] == "two"


def test_write_to_a_secret_whose_newest_version_is_disabled_keeps_its_form_and_tags(key_vault):
    key_vault.vault.put("app", "one", tags={"owner": "billing"}, content_type="password", enabled=False)
    store = key_vault.open()
    store.write("app", {"value": "two"})
    written = newest(key_vault, "app")
    assert (written["value"], written["tags"], written["contentType"]) == ("two", {"owner": "billing"}, "password")


def test_expired_and_future_versions_are_read_with_cautions(key_vault):
    """For Key Vault, both times are information for people. A copy lacks them."""
    now = int(time.time())
    key_vault.vault.put("app", "s3cret", exp=now - 86_400, nbf=now + 86_400, content_type="password")
    store = key_vault.open()
    assert store.read("app").data["value"] == "s3cret"
    expiry, start, kind = store.cautions("app")
    assert f"{datetime.fromtimestamp(now - 86_400, UTC):%Y-%m-%d}" in expiry
    assert f"{datetime.fromtimestamp(now + 86_400, UTC):%Y-%m-%d}" in start
    assert "content type" in kind


def test_secret_of_a_certificate_has_a_caution(key_vault):
    key_vault.vault.put("cert", "s3cret")
    newest(key_vault, "cert")["managed"] = True
    assert "certificate" in key_vault.open().cautions("cert")[0]


def test_newest_of_several_versions_of_one_second_is_the_last(key_vault):
    """Key Vault tells whole seconds, and lists versions in no order."""
    key_vault.vault.tick = 0
    store = key_vault.open()
    versions = [store.write("app", {"k": str(number)}) for number in range(6)]
    found = store.versions("app")
    assert found[-1].version == versions[-1]
    assert {info.version for info in found} == set(versions)


def test_writes_of_one_second_wait_for_the_next(key_vault, monkeypatch):
    """Key Vault tells whole seconds, so that nobody would know the order of the values that are still accepted."""
    vault, waits = key_vault.vault, []
    vault.tick = 0
    store = key_vault.open()
    monkeypatch.setattr(vault, "_clock", 1_000)

    def sleep(seconds):
        waits.append(round(seconds, 3))
        vault._clock += 1

    monkeypatch.setattr(store_module, "time", SimpleNamespace(time=lambda: vault._clock + 0.25, sleep=sleep))
    versions = [store.write("app", {"k": str(number)}) for number in range(4)]
    assert [info.version for info in store.versions("app")] == versions
    assert waits == [0.75] * 3
    vault._clock += 60
    store.write("app", {"k": "later"})
    with monkeypatch.context() as patches:
        patches.setattr(store_module, "remaining", lambda: 0.5)
        store.write("app", {"k": "a write that has no time to wait is made"})
    assert waits == [0.75] * 3


# --- deleted secrets --------------------------------------------------------------------------------------------------


def deleted(key_vault, **options):
    store = key_vault.open(**options)
    store.write("app", {"k": "one"})
    store.write_metadata("app", {"owner": "billing"})
    store.delete("app")
    return store


def test_write_to_a_deleted_secret_is_a_conflict_that_names_the_ways_out(key_vault):
    store = deleted(key_vault)
    for refused in (lambda: store.write("app", {"k": "two"}), lambda: store.vet("app", {"k": "two"})):
        with pytest.raises(ConflictError, match="it is deleted") as caught:
            refused()
        assert "undelete" in caught.value.hint
        assert "restore" in caught.value.hint
    assert "app" in key_vault.vault.deleted


@pytest.mark.parametrize("lag", [0, 1])
def test_write_with_restore_recovers_a_deleted_secret_with_its_versions_and_tags(key_vault, lag):
    """Also while Key Vault is still deleting it."""
    store = key_vault.open(restore=True)
    store.write("app", {"k": "one"})
    store.write_metadata("app", {"owner": "billing"})
    key_vault.vault.lag = lag
    store.delete("app")
    store.vet("app", {"k": "two"})
    store.write("app", {"k": "two"})
    assert [store.read_version("app", info.version).data["k"] for info in store.versions("app")] == ["one", "two"]
    assert newest(key_vault, "app")["tags"] == {"owner": "billing"}


def test_undelete_waits_for_the_recovery(key_vault):
    store = deleted(key_vault)
    [info] = store.versions("app")
    assert info.deleted
    assert info.deleted_at is not None
    key_vault.vault.lag = 2
    store.undelete("app", info.version)
    assert store.read("app").data["k"] == "one"


def test_undelete_that_is_not_complete_in_time_says_so(key_vault, monkeypatch):
    """If the time that is left is shorter than the pause between two looks."""
    store = deleted(key_vault)
    [info] = store.versions("app")
    key_vault.vault.lag = 1_000
    monkeypatch.setattr(store_module, "PAUSE", 1_000.0)
    with pytest.raises(StoreUnavailableError, match="its recovery has begun"):
        store.undelete("app", info.version)


def test_other_version_of_a_deleted_secret_is_not_found(key_vault):
    """Only the newest one is known."""
    store = deleted(key_vault)
    for operation in (store.undelete, store.destroy):
        with pytest.raises(SecretNotFoundError, match="stands for all"):
            operation("app", "0" * 32)
    assert "app" in key_vault.vault.deleted


def test_destroying_the_version_of_a_deleted_secret_purges_it(key_vault):
    store = deleted(key_vault)
    [info] = store.versions("app")
    store.destroy("app", info.version)
    assert key_vault.vault.deleted == {}
    with pytest.raises(SecretNotFoundError):
        store.versions("app")
    store.write("app", {"k": "two"})
    assert store.read("app").data["k"] == "two"


def test_purge_protection_is_a_denial(key_vault):
    store = deleted(key_vault)
    [info] = store.versions("app")
    key_vault.vault.purge_protected = True
    with pytest.raises(PermissionDeniedError, match="ForbiddenByPolicy"):
        store.destroy("app", info.version)


def test_destroying_a_version_of_a_live_secret_is_refused(key_vault):
    store = key_vault.open()
    version = store.write("app", {"k": "one"})
    with pytest.raises(UnsupportedOperationError):
        store.destroy("app", version)
    assert store.read("app").version == version


# --- processes and health ---------------------------------------------------------------------------------------------


def test_probe_reports_a_denied_listing(key_vault, monkeypatch):
    monkeypatch.setitem(key_vault.azure.rights, "reader", frozenset({"get"}))
    assert [check.name for check in key_vault.open().probe().checks] == ["reachable", "authenticated"]
    monkeypatch.setenv("AZURE_CLIENT_ID", "reader")
    health = key_vault.open().probe()
    assert health.ok
    assert health.facts["vault"] == key_vault.name
    assert [check.name for check in health.checks if check.state.value == "warning"] == ["listing"]
