"""Applying, resuming, verifying, undoing: policies, changes on the way, and who may run when."""

from __future__ import annotations

import errno
import itertools
import json
import os
import resource
import threading
from datetime import datetime
from types import SimpleNamespace

import pytest

from strongroom.errors import (
    AuthenticationError,
    MigrationError,
    PermissionDeniedError,
    SecretNotFoundError,
    SecretTooLargeError,
    StoreUnavailableError,
    UnsupportedOperationError,
)
from strongroom.migrate import (
    ItemState,
    Migrator,
    OnConflict,
    PlannedState,
    Selection,
    runs,
)
from strongroom.migrate._execution import parallel, transfer
from strongroom.migrate._ledger import runs as ledger_runs
from strongroom.migrate._ledger.backup import Backup
from strongroom.migrate._ledger.journal import steps_in
from strongroom.migrate._plans.comparison import decide
from strongroom.migrate._plans.document import plan_lines
from strongroom.migrate.report import progress_counter
from strongroom.migrate.spi import MigrationOutcome
from strongroom.secret import Secret
from strongroom.store import Traits
from strongroom.store.memory import MemoryStore
from support.clock import LONG, Clock
from support.scenarios.migrations import apply, failed, plan, resume, states, undo, verify

SOURCE = {"new": {"k": 1}, "less": {"k": 1, "more": 2}, "equal": {"k": 1}, "other": {"k": 1, "more": 2}}
TARGET = {"less": {"k": 1, "own": 3}, "equal": {"k": 1, "own": 3}, "other": {"k": 9, "own": 3}}


class Unchecked(MemoryStore):
    """A store of versions without check-and-set."""

    write_if = None


class Bare:
    """A store with neither versions nor check-and-set nor bulk operations, far away."""

    def __init__(self):
        self.inner = MemoryStore()
        self.list_entries = self.inner.list_entries

    def read(self, path):
        return Secret(path, self.inner.read(path).data)

    def delete(self, path):
        self.inner.delete(path)

    def write(self, path, data):
        self.inner.write(path, data)

    def close(self):
        pass


@pytest.fixture
def home(tmp_path):
    return tmp_path / "migrations"


@pytest.fixture(params=[MemoryStore, Bare])
def stores(request):
    made = {"s": MemoryStore(), "t": request.param()}
    for name, secrets in (("s", SOURCE), ("t", TARGET)):
        for path, data in secrets.items():
            made[name].write(path, data)
    return made


def held(store):
    return {path: dict(store.read(path).data) for path in sorted(store.list_entries(""))}


# --- policies ---------------------------------------------------------------------------------------------------------


def test_a_plan_with_a_conflict_writes_nothing(stores, home):
    made = plan("s", "t", stores=stores, state_folder=home)
    with pytest.raises(MigrationError, match="1 secret in conflict, and nothing was written") as caught:
        apply(made, stores=stores, state_folder=home)
    assert caught.value.report is None
    assert held(stores["t"]) == TARGET
    assert runs(home) == []


@pytest.mark.parametrize(
    ("policy", "other"),
    [
        (OnConflict.SKIP, {"k": 9, "own": 3}),
        (OnConflict.OVERWRITE, {"k": 1, "more": 2, "own": 3}),
        (OnConflict.MERGE, {"k": 9, "more": 2, "own": 3}),
    ],
)
def test_a_policy_says_what_becomes_of_a_conflict(stores, home, policy, other):
    """Keys that only the target has are kept by all of them; and all of it can be undone."""
    made = plan("s", "t", on_conflict=policy, stores=stores, state_folder=home)
    report = apply(made, stores=stores, state_folder=home)
    assert held(stores["t"]) == {
        "new": {"k": 1},
        "less": {"k": 1, "more": 2, "own": 3},
        "equal": {"k": 1, "own": 3},
        "other": other,
    }
    skipped = {"equal", "other"} if policy is OnConflict.SKIP else {"equal"}
    assert {path for path, state in states(report).items() if state is ItemState.SKIPPED} == skipped
    assert verify(stores=stores, state_folder=home).ok
    assert undo(stores=stores, state_folder=home).ok
    assert held(stores["t"]) == TARGET


def test_without_a_backup_the_targets_own_versions_undo_it(home):
    """Nothing of what was overwritten is on this machine. Where the target let it go since, that is said."""
    stores = {"s": MemoryStore(), "t": MemoryStore()}
    for name, value in (("s", 1), ("t", 2)):
        for path in ("kept", "gone"):
            stores[name].write(path, {"k": value})
    made = plan("s", "t", on_conflict=OnConflict.OVERWRITE, backup=False, stores=stores, state_folder=home)
    assert apply(made, stores=stores, state_folder=home).ok
    assert not list(home.rglob("backup*"))
    stores["t"].destroy("gone", 1)
    report = failed(undo, stores=stores, state_folder=home)
    assert states(report) == {"kept": ItemState.DONE, "gone": ItemState.FAILED}
    assert "the earlier data are no longer kept" in str(report.results)
    assert held(stores["t"]) == {"kept": {"k": 2}, "gone": {"k": 1}}


def test_an_equal_secret_is_not_written(home):
    stores = {"s": MemoryStore(), "t": MemoryStore()}
    for store in stores.values():
        store.write("a", {"k": 1})
    apply(plan("s", "t", stores=stores, state_folder=home), stores=stores, state_folder=home)
    assert len(stores["t"].versions("a")) == 1


# --- changes on the way -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("remembered", [True, False])
def test_a_source_changed_since_the_plan_is_noticed(stores, home, remembered, tmp_path):
    """Here by its digest, elsewhere by its version."""
    made = plan("s", "t", on_conflict=OnConflict.SKIP, stores=stores, state_folder=home)
    stores["s"].write("new", {"k": 2})
    report = failed(apply, made, stores=stores, state_folder=home if remembered else tmp_path / "other")
    assert states(report)["new"] is ItemState.CONFLICT
    assert states(report)["less"] is ItemState.DONE
    assert "new" not in held(stores["t"])


def test_a_source_without_versions_is_noticed_by_digest_here_and_by_size_elsewhere(home, tmp_path):
    stores = {"s": Bare(), "t": MemoryStore()}
    for path in ("size", "value"):
        stores["s"].write(path, {"k": "four"})
    made = plan("s", "t", stores=stores, state_folder=home)
    stores["s"].write("size", {"k": "fives"})
    stores["s"].write("value", {"k": "five"})
    here = failed(apply, made, stores=stores, state_folder=home)
    assert states(here) == {"size": ItemState.CONFLICT, "value": ItemState.CONFLICT}
    elsewhere = failed(apply, made, stores=stores, state_folder=tmp_path / "other")
    assert states(elsewhere) == {"size": ItemState.CONFLICT, "value": ItemState.DONE}


def test_a_source_that_is_gone_fails_for_itself(stores, home):
    made = plan("s", "t", on_conflict=OnConflict.SKIP, stores=stores, state_folder=home)
    stores["s"].delete("new")
    report = failed(apply, made, stores=stores, state_folder=home)
    assert states(report)["new"] is ItemState.FAILED
    assert isinstance(report.faults[0].error, SecretNotFoundError)


@pytest.mark.parametrize(
    ("policy", "state"), [(OnConflict.SKIP, ItemState.SKIPPED), (OnConflict.OVERWRITE, ItemState.CONFLICT)]
)
def test_a_target_changed_since_the_plan_is_left_alone(stores, home, policy, state):
    """Also where conflicts are overwritten: what the plan showed is what may be lost, and the others go on."""
    made = plan("s", "t", on_conflict=policy, stores=stores, state_folder=home)
    stores["t"].write("less", {"k": 1, "own": 4})
    if state is ItemState.SKIPPED:
        report = apply(made, stores=stores, state_folder=home)
    else:
        report = failed(apply, made, stores=stores, state_folder=home)
    assert (states(report)["less"], states(report)["new"]) == (state, ItemState.DONE)
    assert held(stores["t"])["less"] == {"k": 1, "own": 4}


def test_a_target_changed_since_the_plan_is_merged(stores, home):
    """Nothing of it is lost by that."""
    made = plan("s", "t", on_conflict=OnConflict.MERGE, stores=stores, state_folder=home)
    stores["t"].write("less", {"k": 1, "own": 4})
    apply(made, stores=stores, state_folder=home)
    assert held(stores["t"])["less"] == {"k": 1, "own": 4, "more": 2}


class Raced(MemoryStore):
    """Somebody else writes just before each first write."""

    def __init__(self):
        super().__init__()
        self.raced = set()

    def write_if(self, path, data, expected):
        if path not in self.raced:
            self.raced.add(path)
            super().write(path, {"theirs": path})
        return super().write_if(path, data, expected)

    def write_many_if(self, items):
        raise NotImplementedError


Raced.write_many_if = None  # type: ignore[assignment]  # one by one


def test_what_another_wrote_first_is_not_undone_though_it_is_the_same(home):
    """The run has written none of it."""

    class Twin(MemoryStore):
        """Somebody else writes the same just before."""

        write_many_if = None

        def write_if(self, path, data, expected):
            super().write(path, data)
            return super().write_if(path, data, expected)

    stores = {"s": MemoryStore(), "t": Twin()}
    stores["s"].write("a", {"k": 1})
    report = apply(plan("s", "t", stores=stores, state_folder=home), stores=stores, state_folder=home)
    assert states(report) == {"a": ItemState.SKIPPED}
    assert undo(report.run, stores=stores, state_folder=home).count(ItemState.SKIPPED) == 1
    assert held(stores["t"]) == {"a": {"k": 1}}


def test_what_arrives_while_a_killed_run_is_resumed_is_not_taken_for_its_own(home):
    """Nobody can tell whose it is: it stays when the run is undone, and every other secret is undone."""

    class Killed(MemoryStore):
        """Is killed at the first write; later somebody else writes the same between reading and writing."""

        write_many_if = None
        writes = 0

        def write_if(self, path, data, expected):
            self.writes += 1
            if self.writes == 1:
                raise KeyboardInterrupt
            if path == "a" and self.writes == 2:
                super().write(path, data)
            return super().write_if(path, data, expected)

    stores = {"s": MemoryStore(), "t": Killed()}
    for path in ("a", "b"):
        stores["s"].write(path, {"k": 1})
    made = plan("s", "t", stores=stores, state_folder=home)
    with pytest.raises(KeyboardInterrupt):
        apply(made, stores=stores, state_folder=home)
    assert states(resume(stores=stores, state_folder=home)) == {"a": ItemState.SKIPPED, "b": ItemState.DONE}
    assert verify(stores=stores, state_folder=home).ok
    assert undo(stores=stores, state_folder=home).ok
    assert held(stores["t"]) == {"a": {"k": 1}}


@pytest.mark.parametrize("policy", [OnConflict.FAIL, OnConflict.MERGE])
def test_a_writer_between_reading_and_writing_is_never_overwritten(home, policy):
    stores = {"s": MemoryStore(), "t": Raced()}
    stores["s"].write("a", {"k": 1})
    made = plan("s", "t", on_conflict=policy, stores=stores, state_folder=home)
    if policy is OnConflict.FAIL:
        assert states(failed(apply, made, stores=stores, state_folder=home)) == {"a": ItemState.CONFLICT}
        assert held(stores["t"]) == {"a": {"theirs": "a"}}
    else:
        assert apply(made, stores=stores, state_folder=home).ok
        assert held(stores["t"]) == {"a": {"theirs": "a", "k": 1}}
        assert undo(stores=stores, state_folder=home).ok
        assert held(stores["t"]) == {"a": {"theirs": "a"}}


# --- failures ---------------------------------------------------------------------------------------------------------


def test_a_run_that_found_nothing_to_write_is_not_the_last_one(home):
    """The same plan again: undoing, verifying and deleting are about the run that wrote, unless the other is named."""
    stores = {"s": MemoryStore(), "t": MemoryStore()}
    for path in ("a", "b"):
        stores["s"].write(path, {"k": 1})
    made = plan("s", "t", stores=stores, state_folder=home)
    first = apply(made, stores=stores, state_folder=home).run
    again = apply(made, stores=stores, state_folder=home)
    assert states(again) == {"a": ItemState.SKIPPED, "b": ItemState.SKIPPED}
    assert verify(stores=stores, state_folder=home).run == first
    assert verify(again.run, stores=stores, state_folder=home).run == again.run
    assert undo(again.run, stores=stores, state_folder=home).count(ItemState.SKIPPED) == 2
    undone = undo(stores=stores, state_folder=home)
    assert (undone.run, undone.count(ItemState.DONE)) == (first, 2)
    assert held(stores["t"]) == {}


def test_undo_takes_the_last_run_that_wrote(home):
    """A later run that failed for every secret is unfinished, and there is nothing of it to undo."""

    class Denied(MemoryStore):
        """Refuses every write."""

        write_many_if = None

        def write_if(self, path, data, expected):
            raise PermissionDeniedError(path)

    stores = {"s": MemoryStore(), "t": MemoryStore(), "denied": Denied()}
    stores["s"].write("a", {"k": 1})
    made = plan("s", "denied", stores=stores, state_folder=home)
    alone = failed(apply, made, stores=stores, state_folder=home)
    with pytest.raises(MigrationError, match="There is no migration that wrote a secret"):
        undo(stores=stores, state_folder=home)
    first = apply(plan("s", "t", stores=stores, state_folder=home), stores=stores, state_folder=home)
    assert failed(resume, alone.run, stores=stores, state_folder=home).count(ItemState.FAILED) == 1
    failed(apply, made, stores=stores, state_folder=home)
    undone = undo(stores=stores, state_folder=home)
    assert (undone.run, undone.count(ItemState.DONE)) == (first.run, 1)
    assert [run.progress().wrote for run in runs(home)] == [0, 1, 0]


def test_a_run_that_found_the_labels_there_is_not_the_last_one(home):
    """Nor does it count that it looked at them."""
    stores = {"s": MemoryStore(), "t": MemoryStore()}
    stores["s"].write("a", {"k": 1})
    stores["s"].write_metadata("a", {"owner": "team"})
    made = plan("s", "t", stores=stores, state_folder=home)
    first = apply(made, stores=stores, state_folder=home).run
    assert apply(made, stores=stores, state_folder=home).run != first
    assert undo(stores=stores, state_folder=home).run == first
    stores["t"].write("a", {"k": 1})
    labelled = apply(plan("s", "t", stores=stores, state_folder=home), stores=stores, state_folder=home).run
    assert undo(stores=stores, state_folder=home).run == labelled


@pytest.mark.parametrize("limit", [50, 20_000])
def test_a_run_that_cannot_be_kept_is_none(home, limit):
    """A full disk: nothing is written, and the run before it is the last one still."""
    stores = {"s": MemoryStore(), "t": MemoryStore()}
    stores["s"].write("a", {"k": 1})
    last = apply(plan("s", "t", stores=stores, state_folder=home), stores=stores, state_folder=home).run
    for number in range(300):
        stores["s"].write(f"s{number:03}", {"k": 1})
    made = plan("s", "t", stores=stores, state_folder=home)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with pytest.raises(MigrationError, match=os.strerror(errno.EFBIG)):
            apply(made, stores=stores, state_folder=home)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [run.name for run in runs(home)] == [last] == [entry.name for entry in home.glob("2*")]
    assert verify(stores=stores, state_folder=home).run == last


def test_a_run_that_was_killed_while_its_plan_was_kept_is_none(home, monkeypatch):
    """The one before it is undone."""
    stores = {"s": MemoryStore(), "t": MemoryStore()}
    stores["s"].write("a", {"k": 1})
    last = apply(plan("s", "t", stores=stores, state_folder=home), stores=stores, state_folder=home).run
    stores["s"].write("b", {"k": 1})

    def killed(made):
        yield from itertools.islice(plan_lines(made), 1)
        raise KeyboardInterrupt

    monkeypatch.setattr("strongroom.migrate._ledger.runs.plan_lines", killed)
    with pytest.raises(KeyboardInterrupt):
        apply(plan("s", "t", stores=stores, state_folder=home), stores=stores, state_folder=home)
    assert len(list(home.glob("*2*"))) == 1
    assert [run.name for run in runs(home)] == [last]
    assert undo(stores=stores, state_folder=home).run == last


def test_undoing_twice_takes_no_earlier_run_back(home):
    """The last run that wrote is the last one, undone or not."""
    stores = {"s": MemoryStore(), "t": MemoryStore()}
    for path in ("a", "b"):
        stores["s"].write(path, {"k": 1})
        last = apply(plan("s", "t", stores=stores, state_folder=home), stores=stores, state_folder=home).run
    for count in (1, 0):
        undone = undo(stores=stores, state_folder=home)
        assert (undone.run, undone.count(ItemState.DONE)) == (last, count)
    assert held(stores["t"]) == {"a": {"k": 1}}


def test_what_was_undone_is_resumed_by_name_alone(home):
    """By default it would be written again, which nobody asked for. Gone on with, it is the last one again."""
    stores = {"s": MemoryStore(), "t": MemoryStore()}
    stores["s"].write("a", {"k": 1})
    made = plan("s", "t", stores=stores, state_folder=home)
    stores["t"].write("a", {"k": 2})
    earlier = failed(apply, made, stores=stores, state_folder=home).run
    for path in ("b", "c", "d"):
        stores["s"].write(path, {"k": 1})
    made = plan("s", "t", selection=Selection(exclude=("a",)), stores=stores, state_folder=home)
    stores["t"].write("c", {"k": 2})
    run = failed(apply, made, stores=stores, state_folder=home).run
    assert undo(stores=stores, state_folder=home).run == run
    assert failed(resume, stores=stores, state_folder=home).run == earlier
    assert held(stores["t"]) == {"a": {"k": 2}, "c": {"k": 2}}
    assert states(failed(resume, run, stores=stores, state_folder=home)) == {"b": "done", "c": "conflict", "d": "done"}
    assert failed(resume, stores=stores, state_folder=home).run == run


def test_a_run_that_could_not_write_yet_is_the_last_one(home):
    """It is not finished: verifying says that it is not done, and does not praise the one before."""
    stores = {"s": MemoryStore(), "t": MemoryStore()}
    stores["s"].write("a", {"k": 1})
    apply(plan("s", "t", stores=stores, state_folder=home), stores=stores, state_folder=home)
    stores["s"].write("b", {"k": 1})
    made = plan("s", "t", stores=stores, state_folder=home)
    stores["s"].delete("b")
    run = failed(apply, made, stores=stores, state_folder=home).run
    assert failed(verify, stores=stores, state_folder=home).run == run


class Failing(MemoryStore):
    """Refuses some paths; once `out_at` writes were made, it is out."""

    def __init__(self, denied=(), out_at=None):
        super().__init__()
        self.denied, self.out_at, self.count = set(denied), out_at, 0

    def write(self, path, data):
        if self.out_at is not None and self.count >= self.out_at:
            raise StoreUnavailableError(path, "refused")
        if path in self.denied:
            raise PermissionDeniedError(path)
        self.count += 1
        return super().write(path, data)


def test_a_step_that_adds_nothing_to_the_journal_does_not_read_it_to_record_progress(home, monkeypatch):
    stores = {"s": MemoryStore(), "t": MemoryStore()}
    stores["s"].write("a", {"k": 1})
    apply(plan("s", "t", stores=stores, state_folder=home), stores=stores, state_folder=home)
    monkeypatch.setattr("strongroom.migrate._ledger.runs.progress_in", None)
    verify(stores=stores, state_folder=home)
    assert [run.progress().done for run in runs(home)] == [1]


def test_a_secret_that_is_new_to_the_target_is_not_compared_with_it(monkeypatch):
    monkeypatch.setattr("strongroom.migrate._plans.comparison.changes", None)
    secret = Secret("a", {"k": 1})
    assert decide(secret, None, OnConflict.FAIL, changed=False).data is secret.data


@pytest.mark.parametrize("k", [0, 1, 7, 49])
def test_a_target_that_goes_out_at_item_k_is_left_alone_and_resuming_does_the_rest(home, k):
    stores = {"s": MemoryStore(), "t": Failing(out_at=k)}
    for number in range(50):
        stores["s"].write(f"s{number:02}", {"n": number})
    report = failed(apply, plan("s", "t", stores=stores, state_folder=home), stores=stores, state_folder=home)
    assert report.count(ItemState.DONE) == k
    assert bool(report.stopped) is (k < 20)
    stores["t"].out_at = None
    assert resume(stores=stores, state_folder=home).count(ItemState.DONE) == 50
    assert {len(stores["t"].versions(f"s{number:02}")) for number in range(50)} == {1}
    assert [run.finished for run in runs(home)] == [True]
    with pytest.raises(MigrationError, match="no migration to resume"):
        resume(stores=stores, state_folder=home)


@pytest.mark.parametrize("kind", [MemoryStore, Bare])
def test_at_each_write_the_journal_has_its_intent_and_the_results_of_earlier_batches(home, monkeypatch, kind):
    """A process that is killed at any write leaves its intent, and the results of the batches before."""
    for size in ("_BATCH", "_BATCH_UNCHECKED", "_BATCH_LOCAL"):
        monkeypatch.setattr(parallel, size, 2)
    stores, paths = {"s": MemoryStore(), "t": kind()}, [f"s{number}" for number in range(6)]
    for path in paths:
        stores["s"].write(path, {"k": path})
        stores["t"].write(path, {"k": "other"})
    method = "write_if" if kind is MemoryStore else "write"
    write, found = getattr(stores["t"], method), {}

    def looking(path, *given):
        run = runs(home)[-1]
        found[path] = [(step, paths[index]) for step, index in steps_in(run.journal)]
        backup = json.loads(run.journal.read_text().splitlines()[1 + found[path].index(("intent", path))])["k"]
        assert dict(Backup(run.folder, run.name).get(backup, path)) == {"k": "other"}
        return write(path, *given)

    monkeypatch.setattr(stores["t"], method, looking)
    made = plan("s", "t", on_conflict=OnConflict.OVERWRITE, stores=stores, state_folder=home)
    assert apply(made, stores=stores, state_folder=home).ok
    for number, path in enumerate(paths):
        begun = number // 2 * 2
        expected = [("intent", each) for each in paths[: begun + 2]] + [("done", each) for each in paths[:begun]]
        assert sorted(found[path]) == sorted(expected)


class Piecewise(Bare):
    """Writes key by key; of a write that is refused, every second key was written."""

    traits = Traits(piecewise=True)
    refuses = False

    def write(self, path, data):
        held = dict(self.inner.read(path).data) if path in self.inner.list_entries("") else {}
        wanted = {key: data.get(key) for key in {**held, **data}}
        for number, key in enumerate(sorted(wanted)):
            if not (self.refuses and number % 2):
                held = {name: value for name, value in held.items() if name != key}
                held |= {key: data[key]} if key in data else {}
        self.inner.write(path, held)
        if self.refuses:
            raise PermissionDeniedError(path)


@pytest.mark.parametrize("policy", [OnConflict.OVERWRITE, OnConflict.MERGE])
@pytest.mark.parametrize("goes_on", [True, False])
def test_what_is_half_written_is_resumed_and_undone(home, policy, goes_on):
    """Of a secret that is written key by key, whatever keys it has by then; undoing may break off there, too."""
    stores = {"s": MemoryStore(), "t": Piecewise()}
    data = {"a": 1, "b": 2, "c": 3, "d": 4}
    before = {"more": {"a": 0, "c": 3, "own": 5}}
    for path in ("new", "more"):
        stores["s"].write(path, data)
    stores["t"].write("more", before["more"])
    made = plan("s", "t", on_conflict=policy, stores=stores, state_folder=home)
    stores["t"].refuses = True
    report = failed(apply, made, stores=stores, state_folder=home)
    assert set(states(report).values()) == {ItemState.FAILED}
    assert held(stores["t"])["new"] not in ({}, data)
    stores["t"].refuses = False
    if goes_on:
        assert states(resume(stores=stores, state_folder=home)) == {"new": ItemState.DONE, "more": ItemState.DONE}
        assert verify(stores=stores, state_folder=home).ok
        kept = {"a": 0} if policy is OnConflict.MERGE else {}
        assert held(stores["t"]) == {"new": data, "more": {**data, "own": 5, **kept}}
        stores["t"].refuses = True
        failed(undo, stores=stores, state_folder=home)
        stores["t"].refuses = False
    assert undo(stores=stores, state_folder=home).ok
    assert held(stores["t"]) == before


def test_what_another_wrote_into_what_is_half_written_stays(home):
    """A key of which the run knows nothing, or another value of one."""
    stores = {"s": MemoryStore(), "t": Piecewise()}
    for path in ("key", "value"):
        stores["s"].write(path, {"a": 1, "b": 2, "c": 3})
    made = plan("s", "t", stores=stores, state_folder=home)
    stores["t"].refuses = True
    failed(apply, made, stores=stores, state_folder=home)
    stores["t"].refuses = False
    theirs = {"key": {"a": 1, "theirs": 9}, "value": {"a": 9}}
    for path, data in theirs.items():
        stores["t"].write(path, data)
    for step in (resume, undo):
        assert set(states(failed(step, stores=stores, state_folder=home)).values()) == {ItemState.CONFLICT}
    assert held(stores["t"]) == theirs


def test_one_that_is_denied_ends_nothing(home):
    stores = {"s": MemoryStore(), "t": Failing(denied=["b"])}
    for path in "abc":
        stores["s"].write(path, {"k": 1})
    report = failed(apply, plan("s", "t", stores=stores, state_folder=home), stores=stores, state_folder=home)
    assert states(report) == {"a": ItemState.DONE, "b": ItemState.FAILED, "c": ItemState.DONE}
    assert states(failed(verify, stores=stores, state_folder=home))["b"] is ItemState.FAILED


class Small(Failing):
    """Holds no secret of the path `large`."""

    def vet(self, path, data):
        if path == "large":
            raise SecretTooLargeError(path, "5 bytes, the most is 4")


def test_what_is_impossible_keeps_no_run_unfinished(home):
    """Nothing that resuming could write is left: it goes on with the run before, or says that there is none."""
    stores = {"s": MemoryStore(), "t": Small(denied=["b"])}
    for path in ("a", "large"):
        stores["s"].write(path, {"k": 1})
    report = failed(apply, plan("s", "t", stores=stores, state_folder=home), stores=stores, state_folder=home)
    assert states(report) == {"a": ItemState.DONE, "large": ItemState.FAILED}
    assert [run.finished for run in runs(home)] == [True]
    with pytest.raises(MigrationError, match="no migration to resume"):
        resume(stores=stores, state_folder=home)
    stores["s"].write("b", {"k": 1})
    denied = failed(apply, plan("s", "t", stores=stores, state_folder=home), stores=stores, state_folder=home)
    stores["s"].write("c", {"k": 1})
    without = plan("s", "t", selection=Selection(exclude=("b",)), stores=stores, state_folder=home)
    failed(apply, without, stores=stores, state_folder=home)
    assert [run.finished for run in runs(home)] == [True, False, True]
    stores["t"].denied.clear()
    resumed = failed(resume, stores=stores, state_folder=home)
    assert resumed.run == denied.run
    assert states(resumed) == {"a": ItemState.SKIPPED, "b": ItemState.DONE, "large": ItemState.FAILED}
    assert [run.finished for run in runs(home)] == [True] * 3


def test_a_run_with_a_conflict_is_resumed(home):
    """What was in the way of one secret may be mended."""
    stores = {"s": MemoryStore(), "t": MemoryStore()}
    stores["s"].write("a", {"k": 1})
    made = plan("s", "t", stores=stores, state_folder=home)
    stores["t"].write("a", {"k": 2})
    failed(apply, made, stores=stores, state_folder=home)
    stores["t"].delete("a")
    assert [run.finished for run in runs(home)] == [False]
    assert resume(stores=stores, state_folder=home).ok


def test_a_second_run_at_the_same_time_is_refused(home):
    """For the same target; and when the first is through, it may."""
    stores = {"s": MemoryStore(), "t": MemoryStore(), "u": MemoryStore()}
    stores["s"].write("a", {"k": 1})
    made = {name: plan("s", name, stores=stores, state_folder=home) for name in ("t", "u")}
    entered, leave, answers = threading.Event(), threading.Event(), []

    def progress(_):
        entered.set()
        assert leave.wait(LONG)

    first = threading.Thread(
        target=lambda: answers.append(apply(made["t"], stores=stores, state_folder=home, progress=progress))
    )
    first.start()
    assert entered.wait(LONG)
    try:
        for function in (apply, lambda _, **options: resume(**options), lambda _, **options: undo(**options)):
            with pytest.raises(MigrationError, match="Another migration is writing to t"):
                function(made["t"], stores=stores, state_folder=home)
        assert apply(made["u"], stores=stores, state_folder=home).ok
    finally:
        leave.set()
        first.join(LONG)
    assert answers[0].ok


def test_a_stranger_that_breaks_is_an_error_of_its_store(home):
    class Broken:
        def items(self):
            raise RuntimeError("canary-77")

        def close(self):
            pass

    with pytest.raises(Exception, match="it raised RuntimeError") as caught:
        plan("s", "t", stores={"s": Broken(), "t": MemoryStore()}, state_folder=home)
    assert "canary-77" not in str(caught.value)


# --- verifying --------------------------------------------------------------------------------------------------------


def test_verifying_names_what_is_not_as_it_should_be(stores, home):
    apply(
        plan("s", "t", on_conflict=OnConflict.OVERWRITE, stores=stores, state_folder=home),
        stores=stores,
        state_folder=home,
    )
    stores["t"].write("new", {"k": "changed"})
    stores["t"].delete("less")
    stores["s"].write("other", {"k": 7})
    stores["t"].write("equal", {"k": 1, "own": "later"})
    reasons = {result.path: result.reason for result in failed(verify, stores=stores, state_folder=home).faults}
    assert reasons.keys() == {"new", "less", "other"}
    assert reasons["new"] == "the target differs from the source: k"
    assert reasons["less"].startswith("not found at the target")
    assert reasons["other"] == "the source was changed since: k"


def test_what_the_source_has_no_more_is_verified_by_what_was_written(stores, home):
    apply(
        plan("s", "t", on_conflict=OnConflict.OVERWRITE, stores=stores, state_folder=home),
        stores=stores,
        state_folder=home,
    )
    stores["s"].delete("new")
    stores["s"].delete("less")
    stores["t"].write("less", {"k": 1, "more": 3, "own": 3})
    assert {result.path for result in failed(verify, stores=stores, state_folder=home).faults} == {"less"}


# --- an exporter ------------------------------------------------------------------------------------------------------


def test_an_exporter_is_a_target(home):
    class Exporter:
        def __init__(self):
            self.written = {}

        def write(self, secrets):
            for secret in secrets:
                if secret.path == "bad":
                    yield MigrationOutcome(secret.path, error=PermissionDeniedError(secret.path))
                else:
                    self.written[secret.path] = dict(secret.data)
                    yield MigrationOutcome(secret.path)

        def close(self):
            pass

    stores = {"s": MemoryStore(), "e": Exporter()}
    for path in ("a", "bad", "c"):
        stores["s"].write(path, {"k": 1})
    report = failed(apply, plan("s", "e", stores=stores, state_folder=home), stores=stores, state_folder=home)
    assert states(report) == {"a": ItemState.DONE, "bad": ItemState.FAILED, "c": ItemState.DONE}
    assert stores["e"].written == {"a": {"k": 1}, "c": {"k": 1}}
    assert "cannot be read back" in failed(verify, stores=stores, state_folder=home).faults[0].reason
    with Migrator(stores=stores, state_folder=home) as migrator:
        for step in (migrator.check_undoable, migrator.undo):
            with pytest.raises(UnsupportedOperationError, match="so its writes cannot be undone"):
                step()
    assert stores["e"].written == {"a": {"k": 1}, "c": {"k": 1}}


# --- speed and progress -----------------------------------------------------------------------------------------------


def test_progress_says_how_much_is_done_and_how_long_the_rest_takes():
    clock, said = Clock(), []
    advance = progress_counter("apply", 4, said.append, clock)
    for _ in range(4):
        clock.now += 2
        advance()
    assert [(progress.done, progress.total, progress.seconds_left) for progress in said] == [
        (1, 4, 6.0),
        (2, 4, 4.0),
        (3, 4, 2.0),
        (4, 4, 0.0),
    ]


@pytest.mark.parametrize(("rate", "most"), [(5, 5), (0.5, 1)])
def test_a_rate_is_held_on_the_average(home, monkeypatch, rate, most):
    """No more writes are sent together than the rate allows in a second."""
    clock, sent = Clock(), []
    started = clock.now

    class Target(MemoryStore):
        def write_if(self, path, data, expected):
            sent.append(clock.now - started)
            return super().write_if(path, data, expected)

    def sleep(seconds):
        clock.now += seconds

    monkeypatch.setattr(transfer, "time", SimpleNamespace(monotonic=clock, sleep=sleep))
    stores = {"s": MemoryStore(), "t": Target()}
    for number in range(20):
        stores["s"].write(f"s{number}", {"k": number})
    apply(plan("s", "t", stores=stores, state_folder=home), rate=rate, stores=stores, state_folder=home)
    assert sent == [pytest.approx(number // most * most / rate) for number in range(20)]


def test_a_target_without_check_and_set_is_read_after_the_rate_has_waited(home, monkeypatch):
    """A change by somebody else during the wait is a conflict, and is not overwritten."""
    clock, stores = Clock(), {"s": MemoryStore(), "t": Bare()}
    for path in ("a", "b"):
        stores["s"].write(path, {"k": 1})

    def sleep(seconds):
        clock.now += seconds
        stores["t"].write("b", {"k": "theirs"})

    monkeypatch.setattr(transfer, "time", SimpleNamespace(monotonic=clock, sleep=sleep))
    made = plan("s", "t", stores=stores, state_folder=home)
    report = failed(apply, made, rate=0.01, stores=stores, state_folder=home)
    assert states(report) == {"a": ItemState.DONE, "b": ItemState.CONFLICT}
    assert held(stores["t"]) == {"a": {"k": 1}, "b": {"k": "theirs"}}


@pytest.mark.parametrize("rate", [0, -1, 1e-300, float("nan"), float("inf")])
def test_a_rate_that_no_run_can_be_held_to_is_refused_before_one_is_begun(stores, home, rate):
    made = plan("s", "t", on_conflict=OnConflict.SKIP, stores=stores, state_folder=home)
    with pytest.raises(ValueError, match="the rate must be a number of writes a second, at least one a day"):
        apply(made, rate=rate, stores=stores, state_folder=home)
    assert not runs(home)


def test_progress_comes_to_its_end_with_each_action(stores, home):
    said = []
    made = plan("s", "t", on_conflict=OnConflict.SKIP, stores=stores, state_folder=home, progress=said.append)
    apply(made, stores=stores, state_folder=home, progress=said.append)
    verify(stores=stores, state_folder=home, progress=said.append)
    undo(stores=stores, state_folder=home, progress=said.append)
    last = {progress.action: (progress.done, progress.total) for progress in said}
    assert last["apply"] == (2, 2)
    assert last["verify"] == (3, 3)
    assert last["undo"] == (2, 2)


# --- reports ----------------------------------------------------------------------------------------------------------


def test_a_report_as_json(stores, home):
    made = plan("s", "t", on_conflict=OnConflict.SKIP, stores=stores, state_folder=home)
    document = json.loads(json.dumps(apply(made, stores=stores, state_folder=home).to_json()))
    assert document["counts"] == {"done": 2, "skipped": 2, "conflict": 0, "failed": 0, "pending": 0}
    assert (document["format"], document["version"], document["ok"]) == ("strongroom-migration-report", 1, True)
    assert [item["path"] for item in document["items"]] == [item.path for item in made.items]


def test_states_are_counted(stores, home):
    made = plan("s", "t", stores=stores, state_folder=home)
    assert {state: made.count(state) for state in PlannedState if made.count(state)} == {
        PlannedState.CREATE: 1,
        PlannedState.CHANGE: 1,
        PlannedState.EQUAL: 1,
        PlannedState.CONFLICT: 1,
    }
    assert [item.path for item in made.pending] == ["less", "new"]


def _filled(secrets):
    store = MemoryStore()
    for path, data in secrets.items():
        store.write(path, data)
    return store


class Flaky(Bare):
    """A store whose first `failures` calls of one operation on one secret fail, before or after they take effect."""

    def __init__(self, operation, failures, *, late=False):
        super().__init__()
        self.operation, self.failures, self.late = operation, failures, late

    def _call(self, operation, path, *arguments):
        fails = operation == self.operation and path == "flaky" and self.failures > 0
        self.failures -= fails
        if fails and not self.late:
            raise StoreUnavailableError(path, "HTTP 500")
        result = getattr(super(), operation)(path, *arguments)
        if fails:
            raise StoreUnavailableError(path, "no answer, the change may have been made")
        return result

    def read(self, path):
        return self._call("read", path)

    def write(self, path, data):
        return self._call("write", path, data)

    def delete(self, path):
        return self._call("delete", path)


@pytest.mark.parametrize("late", [False, True], ids=["refused", "answer lost"])
@pytest.mark.parametrize("operation", ["read", "write"])
def test_a_transient_failure_of_one_secret_is_retried_within_the_run(operation, late, home):
    """It is written exactly once, and the report says no more of it than of the others."""
    target = Flaky(operation, 2, late=late)
    stores = {"source": _filled({f"p{n}": {"k": n} for n in range(4)} | {"flaky": {"k": 9}}), "target": target}
    planned = plan("source", "target", stores=stores, state_folder=home)
    assert planned.count(PlannedState.CREATE) == 5
    report = apply(planned, stores=stores, state_folder=home)
    assert report.count(ItemState.DONE) == 5
    assert target.read("flaky").data == {"k": 9}
    assert undo(stores=stores, state_folder=home).ok


def test_a_failure_that_lasts_is_reported_after_a_bounded_number_of_retries(home):
    """The other secrets are written, and `resume` continues with the failed one."""
    target = Flaky("write", 10**6)
    stores = {"source": _filled({f"p{n}": {"k": n} for n in range(4)} | {"flaky": {"k": 9}}), "target": target}
    planned = plan("source", "target", stores=stores, state_folder=home)
    report = failed(apply, planned, stores=stores, state_folder=home)
    assert (report.count(ItemState.DONE), report.count(ItemState.FAILED)) == (4, 1)
    assert 10**6 - target.failures == 4
    target.failures = 0
    assert resume(stores=stores, state_folder=home).ok


def test_a_source_that_fails_once_for_a_secret_is_read_again_for_the_plan(home):
    """A transient failure makes no secret impossible."""
    source = Flaky("read", 1)
    source.write("flaky", {"k": 1})
    source.list_entries = lambda prefix: iter(() if prefix else ("flaky",))
    planned = plan("source", "target", stores={"source": source, "target": MemoryStore()}, state_folder=home)
    assert [item.state for item in planned.items] == [PlannedState.CREATE]


def test_the_last_run_is_the_last_one_after_the_clock_was_set_back(stores, home, monkeypatch):
    """Undo without a name takes the newest run, whatever the clock says."""
    stores["t"] = MemoryStore()
    first = apply(plan("s", "t", stores=stores, state_folder=home), stores=stores, state_folder=home).run
    stores["s"].write("later", {"k": 1})

    class Earlier(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime(2001, 1, 1, tzinfo=tz)

    monkeypatch.setattr(ledger_runs, "datetime", Earlier)
    second = apply(plan("s", "t", stores=stores, state_folder=home), stores=stores, state_folder=home).run
    assert [run.name for run in runs(home)] == [first, second]
    assert undo(stores=stores, state_folder=home).run == second


def test_rejected_credentials_end_the_run_early(home):
    """The same failure is not repeated for each of 150 secrets."""

    class Expired(Bare):
        def write(self, path, data):
            raise AuthenticationError(path, "the token has expired")

    stores = {"s": _filled({f"p{n:03}": {"k": n} for n in range(150)}), "t": Expired()}
    report = failed(apply, plan("s", "t", stores=stores, state_folder=home), stores=stores, state_folder=home)
    assert "the token has expired" in report.stopped
    assert (report.count(ItemState.FAILED), report.count(ItemState.PENDING)) == (8, 142)


@pytest.mark.parametrize("late", [False, True], ids=["refused", "answer lost"])
def test_a_transient_failure_of_one_secret_is_retried_within_an_undo(late, home):
    """All of it is undone at the first try."""
    target = Flaky("delete", 2, late=late)
    stores = {"s": _filled({f"p{n}": {"k": n} for n in range(4)} | {"flaky": {"k": 9}}), "t": target}
    assert apply(plan("s", "t", stores=stores, state_folder=home), stores=stores, state_folder=home).ok
    assert undo(stores=stores, state_folder=home).ok
    assert list(target.list_entries("")) == []
