"""Migrations between real stores: every pair with hard values, and what goes wrong on the way."""

from __future__ import annotations

import errno
import json
import os
import re
import resource
import stat
import threading
from collections import Counter
from itertools import product
from pathlib import Path

import pytest

from strongroom._boundary.guard import GuardedStore
from strongroom._config import Config
from strongroom.errors import (
    MigrationError,
    PermissionDeniedError,
    SecretNotFoundError,
    UnsupportedOperationError,
)
from strongroom.migrate import ItemState, OnConflict, PlannedState, Selection, dump_plan, runs
from strongroom.migrate import report as migration_report
from strongroom.migrate.endpoints import Endpoints
from strongroom.secret import Secret, same
from strongroom.store.memory import MemoryStore
from strongroom_vault.http import request_policy
from strongroom_vault.plugin import open_vault
from support.representatives import some
from support.scenarios.migrations import HARD, apply, delete_source, plan, resume, undo, verify
from support.vault import faults
from support.vault.proxy import FaultProxy

CANARY = "canary-5d3b-value"


@pytest.fixture
def home(tmp_path):
    return tmp_path / "state" / "migrations"


@pytest.fixture
def vault(openbao, monkeypatch):
    """Specs such as `vault:MOUNT` lead to the shared server."""
    monkeypatch.setenv("VAULT_ADDR", openbao.url)
    monkeypatch.setenv("VAULT_TOKEN", openbao.token)
    return openbao


@pytest.fixture
def mount(openbao):
    """A function that opens the front of a mount, under the name that a spec has for it."""
    fronts = []

    def open_(name, *, token=openbao.token, url=openbao.url):
        fronts.append(GuardedStore(open_vault(url=url, token=token, mount=name, max_retries=5), f"vault:{name}"))
        return fronts[-1]

    yield open_
    for front in fronts:
        front.close()


def place(kind, vault, tmp_path, stores, name):
    """The name of an empty store of this kind."""
    if kind == "memory":
        stores[name] = MemoryStore()
        return name
    if kind in {"kv1", "kv2"}:
        return f"vault:{vault.fresh_mount(version=int(kind[-1]))}/deep/er"
    return f"{kind}:{tmp_path / name}.{kind}"


KINDS = ["memory", "kv1", "kv2", "json", "yaml", "csv"]
ALL = "TEST_ALL_PAIRS" in os.environ
THERE_AND_BACK = [pair for pair in product(KINDS, repeat=2) if ALL or pair[0] == "kv2" or pair[0] == pair[1]]
"""Each kind from Vault and back, and with itself; `nox -s pairs` has each pair, from either end."""

USUAL = {("kv2", "kv2"), ("kv2", "json"), ("memory", "memory")}


@pytest.mark.parametrize(("origin", "to"), some(THERE_AND_BACK, lambda pair: pair in USUAL))
def test_hard_values_arrive_exactly_and_go_back_exactly(origin, to, vault, tmp_path, home):
    """There and back again: the same paths, the same keys, the same values, of the same types."""
    stores = {}
    there, middle, back = (
        place(kind, vault, tmp_path, stores, name) for kind, name in ((origin, "a"), (to, "b"), (origin, "c"))
    )
    with Endpoints(None, stores) as ends:
        assert [error for _, error in ends.target(there).write_many(HARD.items()) if isinstance(error, Exception)] == []
    for source, target in ((there, middle), (middle, back)):
        first = plan(source, target, stores=stores, state_folder=home)
        assert {item.path: item.reason for item in first.items if item.state is not PlannedState.CREATE} == {}
        assert apply(first, stores=stores, state_folder=home).count(ItemState.DONE) == len(HARD)
        assert verify(stores=stores, state_folder=home).count(ItemState.DONE) == len(HARD)
        again = plan(source, target, stores=stores, state_folder=home)
        assert again.count(PlannedState.EQUAL) == len(HARD)
    with Endpoints(None, stores) as ends:
        front = ends.target(back)
        assert sorted(front.walk()) == sorted(HARD)
        for path, secret in front.read_many(HARD):
            assert isinstance(secret, Secret)
            assert same(secret.data, HARD[path]), path


def test_what_the_target_cannot_hold_is_impossible_and_not_mangled(vault, kv2, home):
    """A plan says so before anything is written, and the others are written all the same."""
    source = MemoryStore()
    source.write("fine", {"k": CANARY})
    source.write("large", {"k": "x" * 2**20})
    source.write("precise", {"k": 2**60})
    source.write("no-break\u00a0space", {"k": "v"})
    stores, target = {"source": source}, f"vault:{kv2}"
    made = plan("source", target, stores=stores, state_folder=home)
    assert {item.path: item.state for item in made.items if item.state is PlannedState.IMPOSSIBLE}.keys() == {
        "large",
        "precise",
        "no-break\u00a0space",
    }
    with pytest.raises(MigrationError) as caught:
        apply(made, stores=stores, state_folder=home)
    assert caught.value.report.count(ItemState.DONE) == 1
    assert caught.value.report.count(ItemState.FAILED) == 3
    assert vault.peek("fine", mount=kv2) == {"k": CANARY}


def test_deleted_secrets_are_none_of_the_source_and_absent_at_the_target(vault, kv2, mount, home):
    """A soft-deleted secret is listed: it is not migrated, and where the target has one, it is created anew."""
    source, target = mount(vault.fresh_mount()), mount(kv2)
    for front in (source, target):
        front.write("gone", {"k": "old"})
        front.delete("gone")
    source.write("there", {"k": "v"})
    target.write("there", {"k": "old"})
    target.delete("there")
    made = plan(source.name, target.name, state_folder=home)
    assert [(item.path, item.state) for item in made.items] == [("there", PlannedState.CREATE)]
    report = apply(made, state_folder=home)
    assert report.results[0].version == 2
    assert verify(state_folder=home).ok
    assert undo(state_folder=home).ok
    with pytest.raises(SecretNotFoundError):
        target.read("there")


def test_three_of_twenty_are_forbidden(vault, kv2, mount, home):
    """The seventeen others are done, and each forbidden one is named; with the right, resuming does the rest."""
    paths = [f"app/s{number:02}" for number in range(20)]
    forbidden = paths[4:7]
    source = MemoryStore()
    for path in paths:
        source.write(path, {"k": CANARY})
    rules = {f"{kv2}/data/*": ["create", "read", "update"], **{f"{kv2}/data/{path}": ["read"] for path in forbidden}}
    token = vault.issue_token(rules)
    stores = {"source": source, "target": mount(kv2, token=token)}
    made = plan("source", "target", stores=stores, state_folder=home)
    with pytest.raises(MigrationError, match="done 17, failed 3") as caught:
        apply(made, stores=stores, state_folder=home)
    failed = {result.path: result.error for result in caught.value.report.faults}
    assert failed.keys() == set(forbidden)
    assert {type(error) for error in failed.values()} == {PermissionDeniedError}
    assert [run.finished for run in runs(home)] == [False]
    stores["target"] = mount(kv2)
    assert resume(stores=stores, state_folder=home).count(ItemState.DONE) == 20
    assert {len(mount(kv2).versions(path)) for path in paths} == {1}


def test_what_may_not_be_read_at_the_target_is_never_created(vault, kv2, mount, home):
    """Denied is not absent."""
    mount(kv2).write("hidden", {"k": "theirs"})
    token = vault.issue_token(
        {f"{kv2}/data/*": ["create", "read", "update"], f"{kv2}/data/hidden": ["create", "update"]}
    )
    source = MemoryStore()
    source.write("hidden", {"k": "mine"})
    stores = {"source": source, "target": mount(kv2, token=token)}
    made = plan("source", "target", stores=stores, state_folder=home)
    assert [item.state for item in made.items] == [PlannedState.IMPOSSIBLE]
    assert "permission denied" in made.items[0].reason


def test_what_may_not_be_read_at_the_source_is_named(vault, kv2, mount, home):
    front = mount(kv2)
    for path in ("open", "secret"):
        front.write(path, {"k": "v"})
    token = vault.issue_token(
        {f"{kv2}/data/*": ["read"], f"{kv2}/metadata/*": ["list"], f"{kv2}/data/secret": ["deny"]}
    )
    stores = {"source": mount(kv2, token=token), "target": MemoryStore()}
    made = plan("source", "target", stores=stores, state_folder=home)
    assert {item.source_path: item.state for item in made.items} == {
        "open": PlannedState.CREATE,
        "secret": PlannedState.IMPOSSIBLE,
    }


def test_a_storm_of_429_loses_nothing(vault, kv2, mount, home):
    """The server asks for patience again and again; what it refused is written once."""
    source = MemoryStore()
    for number in range(60):
        source.write(f"s{number}", {"k": CANARY, "n": number})
    with FaultProxy(vault.url) as proxy:
        stores = {"source": source, "target": mount(kv2, url=proxy.url)}
        made = plan("source", "target", stores=stores, state_folder=home)
        with proxy.fault(faults.status(429, retry_after=0), times=40):
            assert apply(made, stores=stores, state_folder=home).count(ItemState.DONE) == 60
    assert {len(mount(kv2).versions(f"s{number}")) for number in range(60)} == {1}


def test_a_target_that_goes_away_ends_the_run_and_resuming_goes_on(vault, kv2, mount, home, monkeypatch):
    """An outage is of the whole store: what was done is said, the rest is not tried one by one, and comes later."""
    monkeypatch.setattr(migration_report, "_EVERY", 0.0)  # a fast run could be over between two reports
    for name, seconds in {"_REFUSED": 0.1, "_SHORTEST_PAUSE": 0.01, "_LONGEST_PAUSE": 0.02}.items():
        monkeypatch.setattr(request_policy, name, seconds)  # each write that was lost is looked for so long
    source = MemoryStore()
    for number in range(150):
        source.write(f"s{number:03}", {"k": CANARY, "n": number})
    with FaultProxy(vault.url) as proxy:
        stores = {"source": source, "target": mount(kv2, url=proxy.url)}
        made = plan("source", "target", stores=stores, state_folder=home)
        gone = threading.Event()

        def progress(said):
            if said.done >= 50 and not gone.is_set():
                gone.set()
                proxy.inject(faults.reset())

        with pytest.raises(MigrationError) as caught:
            apply(made, stores=stores, state_folder=home, progress=progress)
        report = caught.value.report
        # The first failure in time stops the run: no connection, or a write whose reply was lost.
        assert re.search(r"unavailable|connect|may or may not have been made", report.stopped, re.IGNORECASE)
        assert 50 <= report.count(ItemState.DONE) < 150
        assert report.count(ItemState.PENDING) > 0
        proxy.heal()
        assert resume(stores=stores, state_folder=home).ok
        assert verify(stores=stores, state_folder=home).count(ItemState.DONE) == 150
    target = mount(kv2)
    assert Counter(len(target.versions(f"s{number:03}")) for number in range(150)) == {1: 150}


@pytest.mark.parametrize("policy", [OnConflict.FAIL, OnConflict.OVERWRITE])
@pytest.mark.parametrize("version", [1, 2])
def test_a_concurrent_writer_is_a_conflict_and_not_overwritten(vault, mount, home, version, policy):
    """Somebody else writes between the plan and the write: theirs stays, and the others are done."""
    target = mount(vault.fresh_mount(version=version))
    source = MemoryStore()
    for path in ("new", "kept", "other"):
        source.write(path, {"k": CANARY})
    target.write("kept", {"own": "1"})
    stores = {"source": source, "target": target}
    made = plan("source", "target", stores=stores, state_folder=home, on_conflict=policy)
    target.write("new", {"k": "theirs"})
    target.write("kept", {"own": "2"})
    with pytest.raises(MigrationError) as caught:
        apply(made, stores=stores, state_folder=home)
    states = {result.path: result.state for result in caught.value.report.results}
    assert states == {"new": ItemState.CONFLICT, "kept": ItemState.CONFLICT, "other": ItemState.DONE}
    assert target.read("new").data == {"k": "theirs"}
    assert target.read("kept").data == {"own": "2"}


@pytest.mark.parametrize("version", [1, 2])
def test_undo_never_takes_a_later_change_away(vault, mount, home, version):
    """Only what still is as the run wrote it goes back: what it made goes away, what it changed is as it was."""
    target = mount(vault.fresh_mount(version=version))
    source = MemoryStore()
    for path in ("new", "changed", "later-new", "later-changed"):
        source.write(path, {"k": CANARY})
    for path in ("changed", "later-changed"):
        target.write(path, {"own": "before"})
    stores = {"source": source, "target": target}
    apply(plan("source", "target", stores=stores, state_folder=home), stores=stores, state_folder=home)
    for path in ("later-new", "later-changed"):
        target.write(path, {"k": "later"})
    with pytest.raises(MigrationError) as caught:
        undo(stores=stores, state_folder=home)
    states = {result.path: result.state for result in caught.value.report.results}
    assert states == {
        "new": ItemState.DONE,
        "changed": ItemState.DONE,
        "later-new": ItemState.CONFLICT,
        "later-changed": ItemState.CONFLICT,
    }
    with pytest.raises(SecretNotFoundError):
        target.read("new")
    assert target.read("changed").data == {"own": "before"}
    assert target.read("later-new").data == target.read("later-changed").data == {"k": "later"}


def test_a_same_value_written_later_is_a_later_change_too(kv2, mount, home):
    """The version tells: somebody wrote it, and relies on it."""
    target, source = mount(kv2), MemoryStore()
    source.write("s", {"k": CANARY})
    stores = {"source": source, "target": target}
    apply(plan("source", "target", stores=stores, state_folder=home), stores=stores, state_folder=home)
    target.write("s", {"k": CANARY})
    with pytest.raises(MigrationError, match="changed after the migration"):
        undo(stores=stores, state_folder=home)
    assert target.read("s").data == {"k": CANARY}


def test_undo_finds_what_the_target_did_not_keep_in_the_backup(vault, kv2, mount, home):
    """With one version kept, the old one is gone for the server: the backup of the run has it."""
    vault.call("POST", f"{kv2}/config", {"max_versions": 1})
    target, source = mount(kv2), MemoryStore()
    source.write("s", {"k": CANARY})
    target.write("s", {"own": "before", "bytes": b"\0\xff", "n": 1.5})
    stores = {"source": source, "target": target}
    apply(plan("source", "target", stores=stores, state_folder=home), stores=stores, state_folder=home)
    assert undo(stores=stores, state_folder=home).ok
    assert target.read("s").data == {"own": "before", "bytes": b"\0\xff", "n": 1.5}


@pytest.mark.parametrize(("keeps", "state"), [(1, PlannedState.IMPOSSIBLE), (2, PlannedState.CHANGE)])
def test_without_a_backup_nothing_is_overwritten_that_the_server_would_not_keep(vault, kv2, mount, home, keeps, state):
    """What it keeps is undone from there, and no copy of it is on this machine."""
    vault.call("POST", f"{kv2}/config", {"max_versions": keeps})
    target, source = mount(kv2), MemoryStore()
    for path in ("s", "new"):
        source.write(path, {"k": 1})
    target.write("s", {"own": CANARY})
    stores = {"source": source, "target": target}
    made = plan("source", "target", backup=False, stores=stores, state_folder=home)
    assert {item.path: item.state for item in made.items} == {"new": PlannedState.CREATE, "s": state}
    if state is PlannedState.CHANGE:
        assert apply(made, stores=stores, state_folder=home).count(ItemState.DONE) == 2
        assert undo(stores=stores, state_folder=home).count(ItemState.DONE) == 2
        assert not list(home.rglob("backup*"))
    else:
        with pytest.raises(MigrationError, match="s: the target keeps too few versions to undo it"):
            apply(made, stores=stores, state_folder=home)
    assert target.read("s").data == {"own": CANARY}


@pytest.mark.parametrize("version", [1, 2])
def test_apply_undo_apply(vault, mount, home, version):
    """The same plan goes a second time: what undo restored is what it was made of."""
    target, source = mount(vault.fresh_mount(version=version)), MemoryStore()
    for path in ("new", "changed"):
        source.write(path, {"k": CANARY})
    target.write("changed", {"own": "before"})
    stores = {"source": source, "target": target}
    made = plan("source", "target", stores=stores, state_folder=home)
    for _ in range(2):
        assert apply(made, stores=stores, state_folder=home).count(ItemState.DONE) == 2
        assert verify(stores=stores, state_folder=home).count(ItemState.DONE) == 2
        assert undo(stores=stores, state_folder=home).count(ItemState.DONE) == 2
        assert target.read("changed").data == {"own": "before"}
    assert undo(stores=stores, state_folder=home).count(ItemState.SKIPPED) == 2


LABELS = {"owner": f"{CANARY}-team", "tier": "1"}


def test_labels_go_along_and_back(vault, kv2, mount, home):
    """Beside those of the target; over a deleted secret, which has its labels still; and where only labels lack."""
    source, target = mount(vault.fresh_mount()), mount(kv2)
    for path in ("deleted", "equal", "less", "new"):
        source.write(path, {"k": CANARY, "n": 1})
        source.write_metadata(path, LABELS)
    before = {"deleted": {"own": "kept"}, "equal": {"tier": "theirs"}, "less": {"own": "kept"}}
    for path, data in {"deleted": {"x": 1}, "equal": {"k": CANARY, "n": 1}, "less": {"n": 1}}.items():
        target.write(path, data)
        target.write_metadata(path, before[path])
    target.delete("deleted")
    made = plan(source.name, target.name, state_folder=home)
    assert {item.path: item.labels for item in made.items} == {
        "deleted": ("owner", "tier"),
        "equal": ("owner",),
        "less": ("owner", "tier"),
        "new": ("owner", "tier"),
    }
    for _ in range(2):
        assert apply(made, state_folder=home).count(ItemState.DONE) == 4
        held = {path: target.read_metadata(path) for path in ("deleted", "equal", "less", "new")}
        assert held == {path: {**LABELS, **before.get(path, {})} for path in held}
        assert len(target.versions("equal")) == 1
        assert verify(state_folder=home).count(ItemState.DONE) == 4
        assert undo(state_folder=home).count(ItemState.DONE) == 4
        assert {path: target.read_metadata(path) for path in held} == {path: before.get(path, {}) for path in held}
        assert target.read("less").data == {"n": 1}
    assert not [file for file in home.rglob("*") if file.is_file() and CANARY.encode() in file.read_bytes()]


def test_a_migration_without_labels_asks_nothing_about_them(vault, kv2, mount, home):
    """And one with labels only of the secrets that have some."""
    source = mount(vault.fresh_mount())
    for number in range(40):
        source.write(f"s{number:02}", {"k": CANARY})
    with FaultProxy(vault.url) as proxy:
        stores = {
            "source": mount(source.name.removeprefix("vault:"), url=proxy.url),
            "target": mount(kv2, url=proxy.url),
        }

        def asked():
            """The secrets whose metadata were read or written; `list` reads none."""
            lines = [request.target.partition("?")[0] for request in proxy.requests if request.method != "LIST"]
            return {line.rpartition("/")[2] for line in lines if "/metadata/" in line and not line.endswith("/")}

        for labelled in ((), ("s07", "s08")):
            for path in labelled:
                source.write_metadata(path, LABELS)
            proxy.requests.clear()
            apply(plan("source", "target", stores=stores, state_folder=home), stores=stores, state_folder=home)
            assert verify(stores=stores, state_folder=home).ok
            assert asked() == set(labelled)


def test_labels_that_the_token_may_not_touch_fail_nothing(vault, kv2, mount, home):
    """Neither may it read them at the target; with the right, another migration brings them."""
    source = mount(vault.fresh_mount())
    source.write("s", {"k": CANARY})
    source.write_metadata("s", LABELS)
    token = vault.issue_token({f"{kv2}/data/*": ["create", "read", "update"]})
    stores = {"source": source, "target": mount(kv2, token=token)}
    report = apply(plan("source", "target", stores=stores, state_folder=home), stores=stores, state_folder=home)
    assert report.results[0].reason.startswith("labels not copied: ")
    assert verify(stores=stores, state_folder=home).ok
    assert mount(kv2).read_metadata("s") == {}
    stores["target"] = mount(kv2)
    later = plan("source", "target", stores=stores, state_folder=home)
    assert later.items[0].state is PlannedState.CHANGE
    assert apply(later, stores=stores, state_folder=home).ok
    assert mount(kv2).read_metadata("s") == LABELS
    assert len(mount(kv2).versions("s")) == 1


def test_labels_that_the_target_refuses_fail_their_secret_alone(vault, kv2, mount, home):
    """Its data are there, once; with labels that it takes, resuming ends it."""
    source, target = MemoryStore(), mount(kv2)
    for path in ("bad", "good"):
        source.write(path, {"k": CANARY})
        source.write_metadata(path, LABELS)
    stores = {"source": source, "target": target}
    made = plan("source", "target", stores=stores, state_folder=home)
    source.write_metadata("bad", {"owner": "x" * 513})  # which the plan would have said
    with pytest.raises(MigrationError, match="done 1, failed 1") as caught:
        apply(made, stores=stores, state_folder=home)
    assert "data written, labels not: " in caught.value.report.results[0].reason
    source.write_metadata("bad", {"owner": "short"})
    assert resume(stores=stores, state_folder=home).ok
    assert target.read_metadata("bad") == {"owner": "short"}
    assert len(target.versions("bad")) == 1


def test_a_full_disk_stops_the_run_before_it_writes(vault, kv2, mount, home, monkeypatch):
    """What cannot be in the journal is not sent; with room again, resuming does the rest."""
    monkeypatch.setattr(migration_report, "_EVERY", 0.0)  # a fast run would be over before its first report
    source = MemoryStore()
    for number in range(600):
        source.write(f"s{number:03}", {"k": CANARY})
    stores = {"source": source, "target": mount(kv2)}
    made = plan("source", "target", stores=stores, state_folder=home)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))
    size = len(dump_plan(made))
    assert size < 300_000
    limit = 60_000  # two groups of intents and dones are longer
    begun = threading.Event()

    def progress(said):
        if not begun.is_set():
            begun.set()
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))

    try:
        with pytest.raises(MigrationError, match=os.strerror(errno.EFBIG)) as caught:
            apply(made, stores=stores, state_folder=home, progress=progress)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    done = caught.value.report.count(ItemState.DONE)
    assert done < 600
    assert len(list(mount(kv2).walk())) < 600
    assert resume(stores=stores, state_folder=home).ok
    target = mount(kv2)
    assert Counter(len(target.versions(f"s{number:03}")) for number in range(600)) == {1: 600}


PLACES = """
[stores.mine]
plugin = "vault"
url = ["http://vault.example:8200/"]
mount = "kv/"
prefix = "app"
namespace = "team"
max_retries = 7
auth = { method = "token", token = { env = "CI_TOKEN" } }

[stores.elsewhere]
plugin = "vault"
url = "http://other.example:8200"
mount = "kv"
prefix = "app"

[stores.file]
plugin = "json"
file = "sub/../out.json"
encrypt_to = ["age1qyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqs3290gq"]

[stores.parameters]
plugin = "aws-ssm"
prefix = "/app"
kms_key = "alias/mine"
"""


@pytest.mark.parametrize(
    ("names", "alike"),
    [
        (("vault:kv/app", "mine"), True),
        (("vault:kv/app", "mine:kv/app"), True),
        (("json:out.json", "json:./out.json", "file"), True),
        (("aws-ssm:/app", "aws-ssm:app", "parameters"), True),
        (("vault:kv/app", "vault:kv/other"), False),
        (("vault:kv/app", "vault:kv2/app"), False),
        (("vault:kv/app", "elsewhere"), False),
        (("json:out.json", "json:other.json"), False),
        (("json:out.json", "yaml:out.json"), False),
        (("aws-ssm:/app", "aws-secretsmanager:app"), False),
    ],
)
def test_names_of_one_place_are_one_target(names, alike, monkeypatch):
    """Whatever else differs: retries, a login, a key to encrypt with. Another prefix of a mount is another target."""
    Path("strongroom.toml").write_text(PLACES)
    Path("sub").mkdir()
    monkeypatch.setenv("VAULT_ADDR", "http://vault.example:8200")
    monkeypatch.setenv("CI_TOKEN", CANARY)
    with Endpoints(None, None) as ends:
        assert len({ends.identity(name) for name in names}) == (1 if alike else len(names))


def test_two_names_of_one_place_exclude_each_other(vault, kv2, home):
    """One run at a time, whatever each calls the target; another prefix is free meanwhile."""
    options = f'plugin = "vault"\nmount = "{kv2}"\nprefix = "app"\nmax_retries = 1\n'
    Path("strongroom.toml").write_text(f"[stores.mine]\n{options}")
    stores = {"source": MemoryStore()}
    stores["source"].write("s", {"k": CANARY})
    made = {
        name: plan("source", name, stores=stores, state_folder=home) for name in (f"vault:{kv2}/app", f"vault:{kv2}/b")
    }
    mine = plan("source", "mine", stores=stores, state_folder=home)
    outcomes = []

    def progress(_):
        with pytest.raises(MigrationError, match="Another migration is writing to mine"):
            apply(mine, stores=stores, state_folder=home)
        outcomes.append(apply(made[f"vault:{kv2}/b"], stores=stores, state_folder=home).ok)

    assert apply(made[f"vault:{kv2}/app"], stores=stores, state_folder=home, progress=progress).ok
    assert outcomes == [True]


def test_deleting_at_the_source_takes_only_what_is_verified(vault, kv2, mount, home):
    """What changed at either end since stays where it is."""
    source, target = mount(vault.fresh_mount()), mount(kv2)
    for path in ("a", "b", "c", "d"):
        source.write(path, {"k": CANARY})
    apply(plan(source.name, target.name, state_folder=home), state_folder=home)
    source.write("b", {"k": "newer"})
    target.delete("c")
    with pytest.raises(MigrationError) as caught:
        delete_source(state_folder=home)
    states = {result.path: result.state for result in caught.value.report.results}
    assert states["a"] is states["d"] is ItemState.DONE
    assert states["b"] is ItemState.CONFLICT
    assert states["c"] is ItemState.FAILED
    left = {path for path, secret in source.read_many(["a", "b", "c", "d"]) if isinstance(secret, Secret)}
    assert left == {"b", "c"}


def test_deleting_at_the_source_stops_where_it_is_the_target(vault, kv2, mount, home):
    """Two names of one place: what was deleted is written back, and nothing else is touched."""
    front = mount(kv2)
    for number in range(5):
        front.write(f"app/s{number}", {"k": CANARY})
    apply(
        plan(f"vault:{kv2}/app", f"vault:{kv2}", selection=Selection(to_prefix="app"), state_folder=home),
        state_folder=home,
    )
    with pytest.raises(MigrationError, match="one place"):
        delete_source(state_folder=home)
    assert {front.read(f"app/s{number}").data["k"] for number in range(5)} == {CANARY}


def test_deleting_at_the_source_refuses_one_place(vault, mount, home):
    """KV version 1 would give nothing back; and the first secret may be none that shows it."""
    name = vault.fresh_mount(version=1)
    front, stores = mount(name), {"more": MemoryStore()}
    for path in ("a", "b", "c"):
        front.write(path, {"k": CANARY})
    stores["more"].write("z", {"k": CANARY})
    apply(
        plan([f"vault:{name}", "more"], f"vault:{name}/", stores=stores, state_folder=home),
        stores=stores,
        state_folder=home,
    )
    front.delete("a")
    with pytest.raises(MigrationError, match="are one place: nothing was deleted"):
        delete_source(stores=stores, state_folder=home)
    assert [front.read(path).data["k"] for path in ("b", "c", "z")] == [CANARY] * 3


def test_nothing_on_disk_shows_a_value(vault, kv2, mount, home, caplog):
    """Files are 0600 in folders of 0700, and neither they nor the plan, the report and the page hold a value."""
    caplog.set_level("DEBUG")
    target, source = mount(kv2), MemoryStore()
    source.write("new", {"k": CANARY})
    source.write("changed", {"k": CANARY})
    target.write("changed", {"own": f"{CANARY}-before"})
    stores = {"source": source, "target": target}
    made = plan("source", "target", stores=stores, state_folder=home)
    report = apply(made, stores=stores, state_folder=home)
    texts = [dump_plan(made), json.dumps(report.to_json()), repr(made), repr(report), caplog.text]
    files = [path for path in home.rglob("*") if path.is_file()]
    assert {"key", "journal", "plan", "backup", "backup.key"} <= {file.name for file in files}
    texts += [file.read_bytes().decode("latin-1") for file in files]
    assert not [text for text in texts if CANARY in text]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert {stat.S_IMODE(path.stat().st_mode) for path in (home, *home.rglob("*")) if path.is_dir()} == {0o700}


def test_a_rotating_source_is_refused(vault):
    """A store that issues a credential when it is read has nothing to migrate."""
    with pytest.raises(UnsupportedOperationError, match="issues a new credential"):
        plan("vault-dynamic", "memory", config=Config(), stores={"vault-dynamic": _Dynamic(), "memory": MemoryStore()})


class _Dynamic(MemoryStore):
    def makes(self, path):
        return True
