"""Secrets of Google: names, forms, versions in each state, labels, checksums, regions, and refusals."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from strongroom._boundary.guard import GuardedStore
from strongroom._chain.chain import Chain
from strongroom._chain.link import Link
from strongroom._config import CacheConfig, LinkConfig
from strongroom.errors import (
    CheckState,
    InvalidDataError,
    MigrationError,
    PermissionDeniedError,
    SecretNotFoundError,
    SecretTooLargeError,
    StoreUnavailableError,
)
from strongroom.migrate import ItemState, OnConflict
from strongroom.store.memory import MemoryStore
from strongroom_google.plugin import open_google
from strongroom_google.store import crc32c
from support.clock import LONG
from support.scenarios.migrations import apply, plan, undo, verify
from support.services.google import FakeSecretManager, State, delayed

pytestmark = pytest.mark.long


class TestNames:
    """Existing secrets are found under their names."""

    def test_plain_names_and_folders(self, google, store):
        for name in ("db_password", "app--database--connection", "driver_x64_key", "app--two_x20_words"):
            google.put(name, b"canary")
        listed = ["app/database/connection", "app/two words", "db_password", "driver_x64_key"]
        assert sorted(store.walk("")) == listed
        assert [store.read(path).data["value"] for path in listed] == ["canary"] * 4
        assert list(store.list_entries("app")) == ["database/", "two words"]

    def test_name_that_no_path_has_is_not_listed(self, google, store):
        google.put("app_x2d_db", b"canary")
        google.put("app", b"canary")
        assert list(store.walk("")) == ["app"]

    def test_prefix_is_a_folder(self, google, opened):
        store = opened(prefix="billing/prod")
        store.write("db", {"password": "canary"})
        google.put("billing--production", b"canary")
        google.put("billing--prod", b"canary")
        assert google.payload("billing--prod--db") == b'{"password":"canary"}'
        assert list(store.walk("")) == ["db"]
        assert store.read("db").data == {"password": "canary"}

    def test_secret_without_a_version_is_listed_and_absent(self, google, store):
        google.put("app")
        assert list(store.walk("")) == ["app"]
        for read in (store.read, store.versions):
            with pytest.raises(SecretNotFoundError):
                read("app")


class TestForms:
    """The rules of AWS Secrets Manager."""

    def test_plain_secret_stays_plain(self, google, store):
        google.put("text", b"old")
        google.put("binary", b"\xffold")
        store.write("text", {"value": "new"})
        store.write("binary", {"value": b"\xffnew"})
        store.write("other", {"value": "new"})
        assert [google.payload(name) for name in ("text", "binary", "other")] == [
            b"new",
            b"\xffnew",
            b'{"value":"new"}',
        ]

    def test_binary_that_is_text_is_json(self, google, opened):
        """As raw bytes it would come back as text."""
        store = opened(fold="plain")
        store.write("app", {"value": b"plain"})
        assert json.loads(google.payload("app")) == {"value": {"strongroom:bytes": "cGxhaW4="}}
        assert store.read("app").data == {"value": b"plain"}

    @pytest.mark.parametrize(("fold", "written"), [("plain", b"v"), ("json", b'{"value":"v"}')])
    def test_form_can_be_chosen_without_a_read(self, google, opened, fold, written):
        google.put("app", b"old")
        opened(fold=fold).write("app", {"value": "v"})
        assert google.payload("app") == written
        assert google.asked == ["AddSecretVersion"]

    def test_size_is_checked_before_a_request(self, google, store):
        store.write("app", {"k": "x" * (65_536 - 8)})
        google.requests.clear()
        for refused in (store.write, store.vet):
            with pytest.raises(SecretTooLargeError, match="65,537 bytes"):
                refused("app", {"k": "x" * (65_536 - 7)})
        assert google.asked == []


class TestChecksums:
    def test_write_sends_the_checksum(self, google, store):
        store.write("app", {"k": "v"})
        payload = google.requests[-1][1].payload
        assert payload.data_crc32c == crc32c(b'{"k":"v"}')

    def test_damaged_reply_is_an_outage(self, google, store):
        store.write("app", {"k": "canary"})
        google.damage("AccessSecretVersion")
        with pytest.raises(StoreUnavailableError, match="checksum") as caught:
            store.read("app")
        assert "canary" not in str(caught.value)


class TestVersions:
    """`latest` is the newest version, enabled or not."""

    @pytest.fixture
    def three(self, google):
        entry = google.put("app", b'{"k":"1"}', b'{"k":"2"}', b'{"k":"3"}')
        entry.secret.version_aliases = {"stable": 2}
        return entry.versions

    def test_version_by_number_and_alias(self, store, three):
        assert (store.read("app").version, store.read("app").data["k"]) == (3, "3")
        assert store.read_version("app", 1).data["k"] == "1"
        stable = store.read_version("app", "stable")
        assert (stable.version, stable.data["k"]) == ("stable", "2")

    def test_disabled_newest_version_is_denied(self, store, three):
        """Neither absent, which a default or another store would hide, nor an older one."""
        three[2].state = State.DISABLED
        for read in (lambda: store.read("app"), lambda: store.read_version("app", 3)):
            with pytest.raises(PermissionDeniedError, match="its version 3 is disabled") as caught:
                read()
            assert "undelete" in caught.value.hint
        assert dict(store.read_many(["app"]))["app"].reason == "its version 3 is disabled"
        store.undelete("app", 3)
        assert store.read("app").data["k"] == "3"

    def test_destroyed_newest_version_is_an_absence_with_its_reason(self, store, three):
        store.destroy("app", 3)
        with pytest.raises(SecretNotFoundError, match="its version 3 is destroyed"):
            store.read("app")
        with pytest.raises(SecretNotFoundError, match="its version 3 is destroyed"):
            store.undelete("app", 3)
        assert store.write("app", {"k": "4"}) == 4
        assert store.read("app").data["k"] == "4"

    def test_state_that_may_not_be_read_is_denied(self, google, store, three):
        three[2].state = State.DISABLED
        google.deny("GetSecretVersion")
        with pytest.raises(PermissionDeniedError, match="disabled or destroyed, and GetSecretVersion is denied"):
            store.read("app")

    def test_enabled_version_that_cannot_be_decrypted_is_denied(self, google, store, three):
        google.fail("AccessSecretVersion", "FAILED_PRECONDITION")
        with pytest.raises(PermissionDeniedError, match="cannot decrypt") as caught:
            store.read("app")
        assert "KMS" in caught.value.hint

    def test_history_has_the_states(self, store, three):
        three[0].state = State.DISABLED
        store.destroy("app", 2)
        first, second, third = store.versions("app")
        assert [(info.deleted, info.destroyed) for info in (first, second, third)] == [
            (True, False),
            (False, True),
            (False, False),
        ]
        assert second.deleted_at.tzinfo is not None
        assert abs((datetime.now(UTC) - third.created).total_seconds()) < 600

    def test_delayed_destruction_disables_and_can_be_undone(self, google, store):
        google.put("app", b"one", version_destroy_ttl=delayed(days=2))
        store.destroy("app", 1)
        [info] = store.versions("app")
        assert (info.deleted, info.destroyed) == (True, False)
        assert info.deleted_at > datetime.now(UTC)
        store.undelete("app", 1)
        assert store.read("app").data == {"value": "one"}

    def test_single_value_is_not_written_over_a_disabled_version(self, google, store):
        """Its form is unknown. The option `fold` decides it."""
        google.put("app", b"one").versions[0].state = State.DISABLED
        with pytest.raises(PermissionDeniedError, match="option `fold`"):
            store.write("app", {"value": "two"})

    def test_history_of_more_than_one_page(self, store, google, monkeypatch):
        monkeypatch.setattr("strongroom_google.store.PAGE", 2)
        google.put("app", *(str(number).encode() for number in range(5)))
        assert [info.version for info in store.versions("app")] == [1, 2, 3, 4, 5]
        assert google.asked.count("ListSecretVersions") == 3


class TestLateness:
    """`latest` and lists are late: https://docs.cloud.google.com/secret-manager/docs/reference/consistency."""

    def test_process_reads_what_it_has_written(self, google, store):
        google.put("app", b'{"k":"1"}')
        google.late = 60
        for version, written in ((2, "2"), (3, "3")):
            assert store.write("app", {"k": written}) == version
            secret = store.read("app")
            assert (secret.version, secret.data) == (version, {"k": written})
            assert dict(store.read_many(["app"]))["app"].data == {"k": written}
        assert [info.version for info in store.versions("app")] == [1, 2, 3]

    def test_new_secret_is_read_by_its_number(self, google, store):
        google.late = 60
        store.write("app", {"k": "v"})
        assert store.read("app").data == {"k": "v"}

    def test_newer_version_of_another_process_is_read(self, google, store, opened):
        store.write("app", {"k": "1"})
        opened().write("app", {"k": "2"})
        assert store.read("app").version == 2

    def test_secret_that_another_process_deleted_and_wrote_anew_is_read(self, google, store, opened):
        for number in range(3):
            store.write("app", {"k": str(number)})
        opened().delete("app")
        with pytest.raises(SecretNotFoundError):
            store.read("app")
        opened().write("app", {"k": "new"})
        assert (store.read("app").version, store.read("app").data) == (1, {"k": "new"})

    def test_destroyed_newest_version_hides_the_one_that_was_written(self, google, store, opened):
        store.write("app", {"k": "1"})
        opened().write("app", {"k": "2"})
        opened().destroy("app", 2)
        with pytest.raises(SecretNotFoundError, match="its version 2 is destroyed"):
            store.read("app")

    @pytest.mark.parametrize("late", [0, 0.3, 5])
    def test_no_key_of_three_writers_is_lost(self, google, opened, late):
        google.put("app", b'{"first":"1"}')
        google.late = late

        def merge(writer):
            chain = Chain([Link(LinkConfig("google"), opened, CacheConfig())], timeout=LONG)
            for number in range(4):
                chain.write("app", {f"k{writer}-{number}": "v"})

        with ThreadPoolExecutor(3) as writers:
            list(writers.map(merge, range(3)))
        assert len(json.loads(google.payload("app"))) == 13


class TestLabels:
    def test_own_labels_of_google_stay(self, google, store):
        entry = google.put("app", b"one", labels={"goog-terraform-provisioned": "true", "owner": "billing"})
        assert store.read_metadata("app") == {"owner": "billing"}
        store.write_metadata("app", {"tier": "1"})
        assert dict(entry.secret.labels) == {"goog-terraform-provisioned": "true", "tier": "1"}
        assert dict(store.walk_labels("")) == {"app": {"tier": "1"}}

    def test_label_that_google_refuses_is_not_sent(self, google, store):
        google.put("app", b"one")
        with pytest.raises(InvalidDataError, match="'Owner'"):
            store.write_metadata("app", {"Owner": "x"})
        assert google.asked == []


class TestWrites:
    def test_first_write_creates_the_secret(self, google, store):
        assert store.write("app", {"k": "v"}) == 1
        assert google.asked == ["AddSecretVersion", "CreateSecret", "AddSecretVersion"]
        google.requests.clear()
        assert store.write("app", {"k": "w"}) == 2
        assert google.asked == ["AddSecretVersion"]

    def test_other_writer_may_create_it_meanwhile(self, google, store):
        google.fail("AddSecretVersion", "NOT_FOUND", times=1)
        google.put("app", b"theirs")
        assert store.write("app", {"k": "v"}) == 2

    @pytest.mark.parametrize("late", [0, 60])
    @pytest.mark.parametrize("is_known", [True, False])
    def test_write_whose_reply_was_lost_is_looked_up_by_number(self, google, store, late, is_known):
        google.put("app", b"one", b"two")
        if is_known:
            store.read("app")
        google.late = late
        google.lose("AddSecretVersion")
        assert store.write("app", {"k": "v"}) == 3
        assert google.asked.count("AddSecretVersion") == 1
        assert store.read("app").data == {"k": "v"}

    def test_other_changes_whose_reply_was_lost_are_made(self, google, store):
        entry = google.put("app", b"one", b"two")
        for method in ("UpdateSecret", "DestroySecretVersion", "EnableSecretVersion", "DeleteSecret"):
            google.lose(method)
        entry.versions[0].state = State.DISABLED
        store.write_metadata("app", {"tier": "1"})
        store.undelete("app", 1)
        store.destroy("app", 2)
        assert ([version.state for version in entry.versions], dict(entry.secret.labels)) == (
            [State.ENABLED, State.DESTROYED],
            {"tier": "1"},
        )
        store.delete("app")
        assert list(store.walk("")) == []


class TestOutages:
    def test_reply_about_another_secret_is_an_outage(self, google, store):
        """A proxy or a server that is not Google's: its answer is not this secret."""
        google.put("other", b"canary")
        google.put("app", b"one").secret.name = "projects/1/secrets/other"
        with pytest.raises(StoreUnavailableError, match="not Secret Manager"):
            store.read("app")


class TestDenials:
    def test_denial_names_the_operation(self, google, store):
        google.deny("AccessSecretVersion")
        with pytest.raises(PermissionDeniedError, match="AccessSecretVersion") as caught:
            store.read("app")
        assert "canary" not in f"{caught.value} {vars(caught.value)}"

    def test_listing_that_is_denied_is_a_warning_of_the_probe(self, google, store):
        google.deny("ListSecrets")
        health = store.probe()
        assert health.ok
        assert [check.state for check in health.checks] == [CheckState.OK, CheckState.OK, CheckState.WARNING]
        with pytest.raises(PermissionDeniedError, match="ListSecrets"):
            list(store.walk(""))


class TestRegions:
    """A regional secret is at the endpoint of its region, and nowhere else."""

    def test_regional_secret(self):
        with FakeSecretManager(region="europe-west3") as google:
            store = open_google(project="demo", region="europe-west3", endpoint_url=google.url)
            assert store.write("app", {"k": "v"}) == 1
            assert store.read("app").data == {"k": "v"}
            assert list(store.walk("")) == ["app"]
            assert google.payload("app", region="europe-west3") == b'{"k":"v"}'
            store.close()

    @pytest.mark.parametrize(
        ("region", "url"),
        [
            (None, "https://secretmanager.googleapis.com"),
            ("europe-west3", "https://secretmanager.europe-west3.rep.googleapis.com"),
        ],
    )
    def test_region_has_an_endpoint(self, region, url):
        store = open_google(project="demo", region=region)
        assert store._client.url == url
        store.close()


def test_migration_finds_what_latest_does_not_show_yet(google, opened, tmp_path, monkeypatch):
    """Other processes verify it and undo it, and find a later change."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    google.late = 60
    for number in range(2):
        google.put(f"app--{number}", b'{"k":"before"}').versions[0].created -= timedelta(days=1)
    source = GuardedStore(MemoryStore(), "source")
    for number in range(4):
        source.write(f"app/{number}", {"k": str(number)})

    def options():
        return {"stores": {"source": source, "target": GuardedStore(opened(), "target")}, "state_folder": tmp_path}

    assert apply(plan("source", "target", on_conflict=OnConflict.OVERWRITE, **options()), **options()).ok
    assert verify(**options()).count(ItemState.DONE) == 4
    opened().write("app/1", {"k": "later"})
    with pytest.raises(MigrationError) as caught:
        undo(**options())
    assert [caught.value.report.count(state) for state in (ItemState.DONE, ItemState.CONFLICT)] == [3, 1]
    assert [google.payload(f"app--{number}") for number in range(2)] == [b'{"k":"before"}', b'{"k":"later"}']
    assert list(opened().walk("")) == ["app/0", "app/1"]
