"""Labels go along in a migration: planned, written, resumed, verified and undone, and never in the secret's way."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.errors import InvalidDataError, PermissionDeniedError, StoreUnavailableError
from strongroom.migrate import ItemState, OnConflict, PlannedState, Selection, dump_plan, parse_plan, runs
from strongroom.migrate._execution import parallel
from strongroom.migrate._ledger.journal import Journal
from strongroom.migrate._plans.labels import LabelChange, after, kept, record_of, restored, to_write
from strongroom.secret import Secret
from strongroom.store.memory import MemoryStore
from support.scenarios.migrations import apply, delete_source, failed, plan, resume, states, undo, verify

CANARY = "canary-4c1f"
LABELS = {"owner": f"{CANARY}-billing", "tier": "1"}


class Labelled(MemoryStore):
    """A store of labels that counts what is asked about them, and fails or denies it when it is told to."""

    def __init__(self):
        super().__init__()
        self.asked = []
        self.faults = {}

    def read_metadata(self, path):
        return self._answer("read", path) or super().read_metadata(path)

    def write_metadata(self, path, metadata):
        self._answer("write", path)
        super().write_metadata(path, metadata)

    def _answer(self, what, path):
        self.asked.append((what, path))
        if (fault := self.faults.get(what)) is not None:
            raise fault(path)


class Apart(Labelled):
    """One whose reads bring no labels: its listing has them. It has forms, too."""

    def read(self, path):
        return replace(super().read(path), metadata={"strongroom:fold": "text"})

    def write_formed(self, path, data, form):
        return self.write(path, data)

    def walk_labels(self, prefix):
        for path in self.list_entries(prefix):
            yield path, MemoryStore.read_metadata(self, path)


class Bare:
    """A store without labels."""

    def __init__(self):
        self.inner = MemoryStore()
        self.list_entries, self.delete, self.write = self.inner.list_entries, self.inner.delete, self.inner.write

    def read(self, path):
        return Secret(path, self.inner.read(path).data)

    def close(self):
        pass


@pytest.fixture
def no_retries(monkeypatch):
    """A transient failure ends the item, so that `resume` has something to do."""
    monkeypatch.setattr(parallel, "RETRY_DELAYS", ())


@pytest.fixture
def home(tmp_path):
    return tmp_path / "migrations"


@pytest.fixture(params=[Labelled, Apart])
def stores(request):
    """Three secrets to be carried: the target has none, less, and all of their data; and one without labels."""
    made = {"s": request.param(), "t": request.param()}
    for path in ("equal", "less", "new", "plain"):
        made["s"].write(path, {"k": 1, "more": 2})
    for path in ("equal", "less", "new"):
        MemoryStore.write_metadata(made["s"], path, LABELS)
    made["t"].write("less", {"k": 1})
    made["t"].write("equal", {"k": 1, "more": 2})
    for path in ("equal", "less"):
        MemoryStore.write_metadata(made["t"], path, {"own": "kept"})
    return made


def labels(store, path):
    return dict(MemoryStore.read_metadata(store, path))


# --- there and back ---------------------------------------------------------------------------------------------------


def test_labels_are_carried_beside_those_of_the_target_and_taken_back(stores, home):
    """Twice, since what was undone is as it was. Nothing gets a version for its labels."""
    made = plan("s", "t", stores=stores, state_folder=home)
    for count in (1, 2):
        assert states(apply(made, stores=stores, state_folder=home)) == dict.fromkeys(
            ("equal", "less", "new", "plain"), ItemState.DONE
        )
        assert {path: labels(stores["t"], path) for path in ("equal", "less", "new", "plain")} == {
            "equal": {**LABELS, "own": "kept"},
            "less": {**LABELS, "own": "kept"},
            "new": LABELS,
            "plain": {},
        }
        assert [len(stores["t"].versions(path)) for path in ("equal", "less", "new")] == [1, 2 * count, count]
        assert verify(stores=stores, state_folder=home).count(ItemState.DONE) == 4
        assert states(undo(stores=stores, state_folder=home)) == dict.fromkeys(
            ("equal", "less", "new", "plain"), ItemState.DONE
        )
        assert labels(stores["t"], "equal") == labels(stores["t"], "less") == {"own": "kept"}
        assert labels(stores["t"], "new") == {}
        assert list(stores["t"].list_entries("")) == ["equal", "less"]


def test_a_plan_names_the_labels_and_survives_its_document(stores, home):
    """Their names alone; a secret of which only labels are missing is changed by them."""
    made = plan("s", "t", stores=stores, state_folder=home)
    assert {item.path: (item.state, item.labels) for item in made.items} == {
        "equal": (PlannedState.CHANGE, ("owner", "tier")),
        "less": (PlannedState.CHANGE, ("owner", "tier")),
        "new": (PlannedState.CREATE, ("owner", "tier")),
        "plain": (PlannedState.CREATE, ()),
    }
    assert CANARY not in dump_plan(made)
    assert parse_plan(dump_plan(made)) == made
    apply(made, stores=stores, state_folder=home)
    assert plan("s", "t", stores=stores, state_folder=home).count(PlannedState.EQUAL) == 4


def test_nothing_is_asked_where_there_are_no_labels(stores, home):
    """And of those that have some, only when it is needed."""
    for path in ("equal", "less", "new"):
        MemoryStore.write_metadata(stores["s"], path, {})
    made = plan("s", "t", stores=stores, state_folder=home)
    apply(made, stores=stores, state_folder=home)
    verify(stores=stores, state_folder=home)
    undo(stores=stores, state_folder=home)
    assert stores["s"].asked == stores["t"].asked == []


FORM = {"strongroom:fold": "text"}


class Formed(Bare):
    """A store with two forms, which is told and tells which."""

    def __init__(self):
        super().__init__()
        self.forms = {}
        del self.write

    def read(self, path):
        return Secret(path, self.inner.read(path).data, metadata=self.forms.get(path, {}))

    def write(self, path, data):
        self.write_formed(path, data, self.forms.get(path, {}) if path in self.inner.list_entries("") else {})

    def write_formed(self, path, data, form):
        self.inner.write(path, data)
        self.forms[path] = dict(form)


def test_a_form_is_kept_as_a_label_where_the_target_has_none_of_its_own(home):
    """And given back to a store that has."""
    stores = {"first": Formed(), "between": MemoryStore(), "last": Formed()}
    stores["first"].write_formed("text", {"value": CANARY}, FORM)
    stores["first"].write_formed("keys", {"value": CANARY}, {})
    made = plan("first", "between", stores=stores, state_folder=home / "there")
    assert {item.path: item.labels for item in made.items} == {"text": tuple(FORM), "keys": ()}
    assert apply(made, stores=stores, state_folder=home / "there").ok
    assert verify(stores=stores, state_folder=home / "there").ok
    assert labels(stores["between"], "text") == FORM
    made = plan("between", "last", stores=stores, state_folder=home / "back")
    assert {item.path: (item.labels, item.cautions) for item in made.items} == {"text": ((), ()), "keys": ((), ())}
    assert apply(made, stores=stores, state_folder=home / "back").ok
    assert stores["last"].forms == {"text": FORM, "keys": {}}


@pytest.mark.parametrize(("before", "after"), [(FORM, {}), ({}, FORM)])
def test_undoing_gives_the_form_back(home, before, after):
    """Also where somebody else's write changed it in between, as long as the data are what was written."""
    stores = {"s": MemoryStore(), "t": Formed()}
    stores["s"].write("a", {"value": "new"})
    stores["t"].write_formed("a", {"value": "old"}, before)
    made = plan("s", "t", on_conflict=OnConflict.OVERWRITE, stores=stores, state_folder=home)
    assert apply(made, stores=stores, state_folder=home).ok
    assert stores["t"].forms["a"] == before  # a secret keeps the form that it has
    stores["t"].forms["a"] = after
    assert undo(stores=stores, state_folder=home).ok
    assert (dict(stores["t"].read("a").data), stores["t"].forms["a"]) == ({"value": "old"}, before)


def test_one_secret_that_is_copied_has_its_form_there_and_back(home):
    """As a label in between; a secret that is there keeps its own."""
    stores = {"first": Formed(), "between": MemoryStore(), "last": Formed()}
    first, last = stores["first"], stores["last"]
    first.write_formed("text", {"value": CANARY}, FORM)
    last.write_formed("there", {"value": "old"}, {})
    labels = []
    for source, target, to in (("first", "between", "text"), ("between", "last", "new"), ("between", "last", "there")):
        selection = Selection(rename={"text": to}, paths=("text",))
        options = {"stores": stores, "state_folder": home}
        made = plan(source, target, selection=selection, on_conflict=OnConflict.OVERWRITE, **options)
        assert apply(made, **options).ok
        labels.append(made.items[0].labels)
    assert labels == [tuple(FORM), (), ()]
    assert last.forms == {"new": FORM, "there": {}}
    assert last.read("there").data == {"value": CANARY}


def test_a_form_that_no_label_keeps_is_in_the_journal(home):
    """Where the target has no labels, which is said, or denies them."""
    stores = {"s": Formed(), "t": Bare()}
    stores["s"].write_formed("a", {"value": CANARY}, FORM)
    made = plan("s", "t", stores=stores, state_folder=home)
    assert made.items[0].cautions == ("labels, which the target does not support: strongroom:fold",)
    assert apply(made, stores=stores, state_folder=home).ok
    run = runs(home)[-1]
    with closing(Journal(run.journal, run.name)) as journal:
        assert journal.entries[0].form == FORM


@pytest.mark.parametrize(
    ("policy", "ends", "named"),
    [
        (OnConflict.FAIL, {"owner": "theirs", "tier": "1"}, ("tier",)),
        (OnConflict.SKIP, {"owner": "theirs", "tier": "1"}, ("tier",)),
        (OnConflict.MERGE, {"owner": "theirs", "tier": "1"}, ("tier",)),
        (OnConflict.OVERWRITE, LABELS, ("owner", "tier")),
    ],
)
def test_a_label_with_another_text_stays_unless_conflicts_are_overwritten(stores, home, policy, ends, named):
    """What stays is said. A label is no conflict of its secret."""
    MemoryStore.write_metadata(stores["t"], "equal", {"owner": "theirs"})
    made = plan("s", "t", on_conflict=policy, stores=stores, state_folder=home)
    (item,) = (item for item in made.items if item.path == "equal")
    assert (item.state, item.labels) == (PlannedState.CHANGE, named)
    said = ("labels, for which the target keeps its own text: owner",)
    assert item.cautions == (() if policy is OnConflict.OVERWRITE else said)
    apply(made, stores=stores, state_folder=home)
    assert labels(stores["t"], "equal") == ends
    assert verify(stores=stores, state_folder=home).ok
    assert undo(stores=stores, state_folder=home).ok
    assert labels(stores["t"], "equal") == {"owner": "theirs"}


@pytest.mark.parametrize("policy", [OnConflict.SKIP, OnConflict.MERGE])
def test_a_conflict_that_is_skipped_gets_no_labels_and_one_that_is_merged_does(stores, home, policy):
    stores["t"].write("equal", {"k": 9, "more": 9})
    made = plan("s", "t", on_conflict=policy, stores=stores, state_folder=home)
    apply(made, stores=stores, state_folder=home)
    carried = {} if policy is OnConflict.SKIP else LABELS
    (item,) = (item for item in made.items if item.path == "equal")
    assert item.labels == tuple(carried)
    assert labels(stores["t"], "equal") == {**carried, "own": "kept"}
    assert stores["t"].read("equal").data == {"k": 9, "more": 9}
    assert verify(stores=stores, state_folder=home).ok


def test_the_labels_of_each_secret_are_read_and_written_once(home, monkeypatch):
    """Also where the secrets are more than the transfer writes at once."""
    monkeypatch.setattr(parallel, "_BATCH_UNCHECKED", 4)
    stores = {"s": Labelled(), "t": Labelled()}
    paths = [f"app/{number:03}" for number in range(10)]
    for path in paths:
        stores["s"].write(path, {"k": path})
        MemoryStore.write_metadata(stores["s"], path, LABELS)
    made = plan("s", "t", stores=stores, state_folder=home)
    stores["t"].asked.clear()
    assert apply(made, stores=stores, state_folder=home).ok
    asked = stores["t"].asked
    assert sorted(path for what, path in asked if what == "write") == paths
    assert sorted(path for what, path in asked if what == "read") == paths


def test_a_target_without_labels_is_said_and_nothing_is_tried(home):
    stores = {"s": Labelled(), "t": Bare()}
    stores["s"].write("a", {"k": 1})
    MemoryStore.write_metadata(stores["s"], "a", LABELS)
    made = plan("s", "t", stores=stores, state_folder=home)
    assert made.items[0].cautions == ("labels, which the target does not support: owner, tier",)
    assert made.items[0].labels == ()
    assert apply(made, stores=stores, state_folder=home).ok
    assert plan("s", "t", stores=stores, state_folder=home).items[0].state is PlannedState.EQUAL


class Choosy(Labelled):
    """A target that takes two labels, of which none is called `tier`."""

    def vet_labels(self, path, labels):
        if len(labels) > 2 or "tier" in labels:
            raise InvalidDataError(path, "no")

    def write_metadata(self, path, metadata):
        self.vet_labels(path, metadata)
        super().write_metadata(path, metadata)


def test_labels_that_the_target_would_refuse_are_said_and_stay_behind(home):
    """The data and the other labels go along, in one go that is done whole."""
    stores = {"s": Labelled(), "t": Choosy()}
    stores["t"].write("kept", {"k": 0})
    MemoryStore.write_metadata(stores["t"], "kept", {"own": "kept"})
    for path in ("new", "kept"):
        stores["s"].write(path, {"k": 0})
        MemoryStore.write_metadata(stores["s"], path, {"owner": "billing", "team": "a", **LABELS})
    made = plan("s", "t", stores=stores, state_folder=home)
    assert {item.path: (item.labels, item.cautions) for item in made.items} == {
        "new": (("owner", "team"), ("labels, which the target refuses: tier",)),
        "kept": (("owner",), ("labels, which the target refuses: team, tier",)),
    }
    assert apply(made, stores=stores, state_folder=home).ok
    assert verify(stores=stores, state_folder=home).ok
    assert (labels(stores["t"], "new"), labels(stores["t"], "kept")) == (
        {"owner": LABELS["owner"], "team": "a"},
        {"own": "kept", "owner": LABELS["owner"]},
    )


def test_what_the_plan_does_not_name_is_not_carried(stores, home):
    """A label that the source got since waits for the next plan; one that it lost is not to be had."""
    made = plan("s", "t", stores=stores, state_folder=home)
    MemoryStore.write_metadata(stores["s"], "new", {"tier": "2", "later": "x"})
    apply(made, stores=stores, state_folder=home)
    assert labels(stores["t"], "new") == {"tier": "2"}
    assert verify(stores=stores, state_folder=home).ok


def test_labels_follow_each_group_of_writes(home):
    """They do not wait for the last secret: what a run that breaks off has done is done whole."""
    stores = {"s": MemoryStore(), "t": Labelled()}
    for number in range(100):
        stores["s"].write(f"s{number:02}", {"k": number})
        stores["s"].write_metadata(f"s{number:02}", LABELS)
    made = plan("s", "t", stores=stores, state_folder=home)
    written = []
    stores["t"].write_if = lambda path, data, expected: (
        written.append(len(stores["t"].asked)) or MemoryStore.write_if(stores["t"], path, data, expected)
    )
    assert apply(made, stores=stores, state_folder=home).ok
    assert written[0] == 0
    assert written[-1] > 100


def test_an_importers_labels_go_along(home):
    class Importer:
        def items(self):
            yield Secret("a", {"k": 1}, metadata=LABELS)
            yield Secret("odd", {"k": 1}, metadata={"owner": 5})  # type: ignore[dict-item]  # a stranger's

        def close(self):
            pass

    stores = {"i": Importer(), "t": MemoryStore()}
    made = plan("i", "t", stores=stores, state_folder=home)
    assert {item.path or item.source_path: item.state for item in made.items} == {
        "a": PlannedState.CREATE,
        "odd": PlannedState.IMPOSSIBLE,
    }
    failed(apply, made, stores=stores, state_folder=home)
    assert labels(stores["t"], "a") == LABELS


# --- failures ---------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_retries")
@pytest.mark.parametrize("fault", ["read", "write"])
def test_labels_that_cannot_be_written_fail_for_themselves_and_resuming_writes_them_alone(stores, home, fault):
    """The data are not written a second time."""
    made = plan("s", "t", stores=stores, state_folder=home)
    stores["t"].faults[fault] = StoreUnavailableError
    report = failed(apply, made, stores=stores, state_folder=home)
    assert states(report) == {
        "equal": ItemState.FAILED,
        "less": ItemState.FAILED,
        "new": ItemState.FAILED,
        "plain": ItemState.DONE,
    }
    assert "data written, labels not: " in report.faults[0].reason
    stores["t"].faults.clear()
    assert resume(stores=stores, state_folder=home).count(ItemState.DONE) == 4
    assert labels(stores["t"], "new") == LABELS
    assert [len(stores["t"].versions(path)) for path in ("equal", "less", "new")] == [1, 2, 1]
    assert verify(stores=stores, state_folder=home).ok
    assert undo(stores=stores, state_folder=home).ok
    assert (labels(stores["t"], "new"), labels(stores["t"], "less")) == ({}, {"own": "kept"})


@pytest.mark.parametrize("fault", ["read", "write"])
@pytest.mark.parametrize("end", ["s", "t"])
def test_denied_labels_never_fail_a_migration(stores, home, end, fault):
    """They are a right of their own. What lacks them is said, and is not deleted at the source."""
    made = plan("s", "t", stores=stores, state_folder=home)
    stores[end].faults[fault] = PermissionDeniedError
    report = apply(made, stores=stores, state_folder=home)
    assert report.count(ItemState.DONE) == 4
    asked = fault in {what for what, _ in stores[end].asked}
    assert {result.path for result in report.results if "labels not copied" in result.reason} == (
        {"equal", "less", "new"} if asked else set()
    )
    assert labels(stores["t"], "new") == ({} if asked else LABELS)
    assert verify(stores=stores, state_folder=home).ok
    stores[end].faults.clear()
    assert verify(stores=stores, state_folder=home).ok
    if asked:
        assert states(failed(delete_source, stores=stores, state_folder=home))["new"] is ItemState.CONFLICT
        undone = failed(undo, stores=stores, state_folder=home)
        assert {result.path for result in undone.faults} == {"plain"}  # all of it was deleted at the source
    else:
        assert undo(stores=stores, state_folder=home).ok
    assert labels(stores["t"], "less") == {"own": "kept"}


@pytest.mark.parametrize("fault", [PermissionDeniedError, StoreUnavailableError])
def test_labels_that_the_target_does_not_tell_are_planned_as_if_it_had_none(stores, home, fault):
    """What it has is asked again before anything is written."""
    stores["t"].faults["read"] = fault
    made = plan("s", "t", stores=stores, state_folder=home)
    assert {item.path for item in made.items if item.labels} == {"equal", "less", "new"}


@pytest.mark.usefixtures("no_retries")
def test_what_a_run_that_broke_off_wrote_is_not_taken_for_what_was_there(stores, home, monkeypatch):
    """Its labels were written, and nobody saw it: the record of what was there before is the first one."""
    MemoryStore.write_metadata(stores["t"], "less", {"own": "kept", "owner": "before"})
    made = plan("s", "t", on_conflict=OnConflict.OVERWRITE, stores=stores, state_folder=home)
    write = Labelled.write_metadata

    def lost(self, path, metadata):
        write(self, path, metadata)
        raise StoreUnavailableError(path)

    with monkeypatch.context() as broken:
        broken.setattr(Labelled, "write_metadata", lost)
        failed(apply, made, stores=stores, state_folder=home)
    MemoryStore.write_metadata(stores["t"], "less", {"own": "kept", "owner": f"{CANARY}-billing"})
    assert resume(stores=stores, state_folder=home).ok
    assert labels(stores["t"], "less") == {**LABELS, "own": "kept"}
    assert undo(stores=stores, state_folder=home).ok
    assert labels(stores["t"], "less") == {"own": "kept", "owner": "before"}


# --- verifying and undoing --------------------------------------------------------------------------------------------


def test_verifying_names_labels_that_are_not_as_they_should_be(stores, home):
    apply(plan("s", "t", stores=stores, state_folder=home), stores=stores, state_folder=home)
    MemoryStore.write_metadata(stores["t"], "new", {"tier": "1"})
    MemoryStore.write_metadata(stores["s"], "less", {**LABELS, "tier": "2"})
    MemoryStore.write_metadata(stores["t"], "equal", {**LABELS, "own": "changed", "later": "x"})
    reasons = {result.path: result.reason for result in failed(verify, stores=stores, state_folder=home).faults}
    assert reasons == {
        "new": "labels missing at the target: owner",
        "less": "labels missing at the target: tier",
    }


def test_labels_of_a_plan_that_were_never_written_are_not_verified(stores, home):
    made = plan("s", "t", stores=stores, state_folder=home)
    stores["t"].faults["write"] = StoreUnavailableError
    failed(apply, made, stores=stores, state_folder=home)
    stores["t"].faults.clear()
    assert {result.path for result in failed(verify, stores=stores, state_folder=home).faults} == {
        "equal",
        "less",
        "new",
    }


def test_a_later_change_of_a_label_leaves_the_whole_secret_alone(stores, home):
    """One that the run did not write is of no concern, and stays."""
    apply(plan("s", "t", stores=stores, state_folder=home), stores=stores, state_folder=home)
    MemoryStore.write_metadata(stores["t"], "new", {**LABELS, "owner": "later"})
    MemoryStore.write_metadata(stores["t"], "less", {**LABELS, "own": "later", "more": "later"})
    MemoryStore.write_metadata(stores["t"], "equal", {"own": "kept", "tier": "later"})
    report = failed(undo, stores=stores, state_folder=home)
    assert states(report) == {
        "equal": ItemState.CONFLICT,
        "less": ItemState.DONE,
        "new": ItemState.CONFLICT,
        "plain": ItemState.DONE,
    }
    assert report.faults[0].reason == "its labels were changed after the migration"
    assert stores["t"].read("new").data == {"k": 1, "more": 2}
    assert labels(stores["t"], "new") == {**LABELS, "owner": "later"}
    assert labels(stores["t"], "less") == {"own": "later", "more": "later"}
    assert labels(stores["t"], "equal") == {"own": "kept", "tier": "later"}


def test_a_later_change_of_the_data_keeps_no_labels_that_were_written_alone(stores, home):
    """What the run did not write of it may be anything by now; of what it did write, nothing is touched."""
    apply(plan("s", "t", stores=stores, state_folder=home), stores=stores, state_folder=home)
    for path in ("equal", "less"):
        stores["t"].write(path, {"k": "later"})
    report = failed(undo, stores=stores, state_folder=home)
    assert states(report)["equal"] is ItemState.DONE
    assert states(report)["less"] is ItemState.CONFLICT
    assert labels(stores["t"], "equal") == {"own": "kept"}
    assert labels(stores["t"], "less") == {**LABELS, "own": "kept"}
    assert stores["t"].read("equal").data == {"k": "later"}


def test_an_undo_that_broke_off_between_labels_and_data_goes_on(stores, home, monkeypatch):
    apply(plan("s", "t", stores=stores, state_folder=home), stores=stores, state_folder=home)
    for name in ("write", "write_if", "delete"):
        monkeypatch.setattr(
            MemoryStore, name, lambda self, path, *_: (_ for _ in ()).throw(StoreUnavailableError(path))
        )
    assert states(failed(undo, stores=stores, state_folder=home))["less"] is ItemState.FAILED
    assert labels(stores["t"], "less") == {"own": "kept"}
    monkeypatch.undo()
    assert undo(stores=stores, state_folder=home).ok
    assert stores["t"].read("less").data == {"k": 1}


def test_deleting_at_the_source_needs_the_labels_at_the_target(stores, home):
    apply(plan("s", "t", stores=stores, state_folder=home), stores=stores, state_folder=home)
    MemoryStore.write_metadata(stores["t"], "less", {"own": "kept"})
    report = failed(delete_source, stores=stores, state_folder=home)
    assert [path for path, state in states(report).items() if state is not ItemState.DONE] == ["less"]
    assert list(stores["s"].list_entries("")) == ["less"]


def test_nothing_on_disk_shows_what_a_label_says(stores, home):
    made = plan("s", "t", stores=stores, state_folder=home)
    report = apply(made, stores=stores, state_folder=home)
    assert CANARY not in json.dumps(report.to_json()) + repr(made) + repr(report)
    files = [file for file in home.rglob("*") if file.is_file()]
    assert {"journal", "backup"} <= {file.name for file in files}
    assert not [file for file in files if CANARY.encode() in file.read_bytes()]


# --- what is written and what is given back ---------------------------------------------------------------------------

texts = st.text(max_size=3)
sets = st.dictionaries(st.sampled_from("abcd"), texts, max_size=4)


@given(sets, sets, st.sampled_from(OnConflict))
def test_what_is_written_can_be_given_back(source, target, policy):
    record = to_write(source, target, policy)
    written = after(target, record)
    assert set(written) == {*source, *target}
    assert restored(written, record) == restored(target, record) == target
    assert record_of(kept(record)) == record
    if policy is OnConflict.OVERWRITE:
        assert written == {**target, **source}
    else:
        assert written == {**source, **target}


@given(sets, sets, st.sampled_from("abcd"), texts)
def test_what_was_changed_since_is_not_given_back(source, target, name, text):
    record = to_write(source, target, OnConflict.OVERWRITE)
    written = {**after(target, record), name: text}
    expected = name not in record or text in {record[name].before, record[name].after}
    assert (restored(written, record) is not None) is expected
    if name not in record and expected:
        assert restored(written, record) == {**target, name: text}


def test_a_label_that_was_taken_away_since_is_a_change_unless_it_was_not_there_before():
    assert restored({}, {"a": LabelChange("x", "y")}) is None
    assert restored({}, {"a": LabelChange(None, "y")}) == {}
