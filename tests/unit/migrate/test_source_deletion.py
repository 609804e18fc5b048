"""Deleting at the source: what it leaves alone, and what undoing leaves alone after it."""

from __future__ import annotations

import pytest

from strongroom._files.plugin import open_json
from strongroom.errors import MigrationError, PermissionDeniedError, StoreUnavailableError
from strongroom.files.private import FolderLock
from strongroom.migrate import ItemState, OnConflict
from strongroom.secret import Secret
from strongroom.store.memory import MemoryStore
from support.scenarios.migrations import apply, delete_source, failed, plan, states, undo


@pytest.fixture
def home(tmp_path):
    return tmp_path / "migrations"


# --- undoing after it -------------------------------------------------------------------------------------------------


class Failing(MemoryStore):
    """A store in which one path cannot be deleted, for this reason."""

    error = None

    def delete(self, path):
        if path == "b" and self.error is not None:
            raise self.error
        super().delete(path)


def test_the_only_copy_is_never_undone(home):
    """Neither deleted, where the run made it, nor replaced, where the run changed it."""
    stores = {"s": MemoryStore(), "t": MemoryStore()}
    stores["s"].write("made", {"k": 1})
    stores["s"].write("changed", {"k": 1})
    stores["t"].write("changed", {"k": 2})
    apply(
        plan("s", "t", on_conflict=OnConflict.OVERWRITE, stores=stores, state_folder=home),
        stores=stores,
        state_folder=home,
    )
    assert delete_source(stores=stores, state_folder=home).ok
    for _ in range(2):
        report = failed(undo, stores=stores, state_folder=home)
        assert states(report) == {"made": ItemState.CONFLICT, "changed": ItemState.CONFLICT}
        assert all("source was deleted" in result.reason for result in report.results)
    assert [stores["t"].read(path).data for path in ("made", "changed")] == [{"k": 1}] * 2


@pytest.mark.parametrize(
    ("error", "state"),
    [(PermissionDeniedError("b"), ItemState.DONE), (StoreUnavailableError("b"), ItemState.CONFLICT)],
)
def test_what_was_not_deleted_is_undone(home, error, state):
    """Of a deletion whose end nobody saw, the secret may be gone."""
    stores = {"s": Failing(), "t": MemoryStore()}
    for path in ("a", "b"):
        stores["s"].write(path, {"k": 1})
    apply(plan("s", "t", stores=stores, state_folder=home), stores=stores, state_folder=home)
    stores["s"].error = error
    assert states(failed(delete_source, stores=stores, state_folder=home)) == {
        "a": ItemState.DONE,
        "b": ItemState.FAILED,
    }
    assert states(failed(undo, stores=stores, state_folder=home)) == {"a": ItemState.CONFLICT, "b": state}


def test_a_deletion_is_in_the_journal_before_it_is_sent(home):
    """Whoever is killed right after it has not forgotten it."""
    stores = {"s": MemoryStore(), "t": MemoryStore()}
    stores["s"].write("a", {"k": 1})
    apply(plan("s", "t", stores=stores, state_folder=home), stores=stores, state_folder=home)
    seen = []

    def delete(path):
        seen.extend(line for file in home.glob("*/journal") for line in file.read_text().splitlines()[-1:])
        MemoryStore.delete(stores["s"], path)

    stores["s"].delete = delete
    delete_source(stores=stores, state_folder=home)
    assert seen == ['{"t": "source-deleted", "i": 0}']


# --- where source and target are one place ----------------------------------------------------------------------------


class Final(MemoryStore):
    """A store that keeps no versions; two of them may be one place."""

    read_version = undelete = destroy = versions = kept_versions = read_metadata = write_metadata = None

    def __init__(self, place=None):
        super().__init__()
        if place is not None:
            vars(self).update(vars(place))


@pytest.mark.parametrize("gone", ["deleted", "changed"])
def test_one_place_is_noticed_by_the_first_that_is_deleted(home, gone):
    """Also where those before it were not: of all that is there, nothing is lost."""
    target = Final()
    stores = {"s": Final(target), "more": Final(), "t": target}
    for path in ("a", "b", "c", "d"):
        target.write(path, {"k": 1})
    stores["more"].write("z", {"k": 1})
    apply(plan(["s", "more"], "t", stores=stores, state_folder=home), stores=stores, state_folder=home)
    if gone == "deleted":
        target.delete("a")
    else:
        stores["s"].read = lambda path: Final.read(target, path) if path != "a" else Secret("a", {"k": 2})
    report = failed(delete_source, stores=stores, state_folder=home)
    assert states(report)["b"] is ItemState.FAILED
    assert {path: state for path, state in states(report).items() if path in "cd"} == dict.fromkeys("cd", "pending")
    assert [target.read(path).data for path in "bcd"] == [{"k": 1}] * 3
    assert stores["more"].read("z").data == {"k": 1}


def test_each_source_is_looked_at_for_itself(home):
    """That the first one is another place says nothing of the second."""
    target = Final()
    stores = {"s": Final(), "t": target, "same": Final(target)}
    for path in ("a", "b"):
        target.write(path, {"k": 1})
        stores["s"].write(f"s-{path}", {"k": 1})
    apply(plan(["s", "same"], "t", stores=stores, state_folder=home), stores=stores, state_folder=home)
    report = failed(delete_source, stores=stores, state_folder=home)
    assert [target.read(path).data for path in ("a", "b", "s-a", "s-b")] == [{"k": 1}] * 4
    assert {path: str(state) for path, state in states(report).items()} == {
        "s-a": "done",
        "s-b": "done",
        "a": "failed",
        "b": "pending",
    }


def test_one_place_by_its_options_is_refused_before_anything_is_deleted(home, tmp_path, monkeypatch):
    """Whatever it is called."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "one.json").touch(0o600)
    (tmp_path / "one.json").write_text('{"a": {"k": 1}, "b": {"k": 1}}')
    stores = {"more": MemoryStore()}
    stores["more"].write("z", {"k": 1})
    apply(
        plan(["json:./one.json", "more"], "json:one.json", stores=stores, state_folder=home),
        stores=stores,
        state_folder=home,
    )
    with pytest.raises(MigrationError, match=r"json:\./one.json and json:one.json are one place: nothing was deleted"):
        delete_source(stores=stores, state_folder=home)
    assert stores["more"].read("z").data == {"k": 1}


def test_one_store_under_two_names_is_refused_before_anything_is_deleted(home):
    store, more = MemoryStore(), MemoryStore()
    stores = {"s": store, "t": store, "more": more}
    store.write("a", {"k": 1})
    more.write("z", {"k": 1})
    apply(plan(["s", "more"], "t", stores=stores, state_folder=home), stores=stores, state_folder=home)
    with pytest.raises(MigrationError, match="s and t are one place: nothing was deleted"):
        delete_source(stores=stores, state_folder=home)
    assert len(store.versions("a")) == 1


class Same(MemoryStore):
    """A second store of one place."""

    def __init__(self, place):
        super().__init__()
        vars(self).update(vars(place))


def test_what_is_given_back_is_the_version_that_was_deleted(home):
    """Where the target has versions, none is made: its history is as it was."""
    target = MemoryStore()
    stores = {"s": Same(target), "t": target}
    for number in (1, 2):
        target.write("a", {"k": number})
    apply(plan("s", "t", stores=stores, state_folder=home), stores=stores, state_folder=home)
    report = failed(delete_source, stores=stores, state_folder=home)
    assert "it was restored" in report.results[0].reason
    assert [version.deleted for version in target.versions("a")] == [False, False]
    assert target.read("a").data == {"k": 2}


def test_what_cannot_be_given_back_is_never_told_as_done(home):
    """The report says that it is lost, and why."""
    target = Final()
    stores = {"s": Final(target), "t": target}
    target.write("a", {"k": 1})
    apply(plan("s", "t", stores=stores, state_folder=home), stores=stores, state_folder=home)
    target.write = lambda *_: (_ for _ in ()).throw(PermissionDeniedError("a"))
    report = failed(delete_source, stores=stores, state_folder=home)
    assert states(report) == {"a": ItemState.FAILED}
    assert "it was deleted, and not restored" in report.results[0].reason
    assert "denied" in report.stopped.lower()


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("step", "rewrites"), [(undo, 1), (delete_source, 2)])
def test_a_file_is_rewritten_once_for_a_batch(home, tmp_path, monkeypatch, step, rewrites):
    """A deletion rewrites it once more, for the first secret, which shows that source and target are two places."""
    stores = {"s": open_json(file=tmp_path / "s.json"), "t": open_json(file=tmp_path / "t.json")}
    list(stores["s"].write_many((f"app/{number}", {"k": number}) for number in range(300)))
    apply(plan("s", "t", stores=stores, state_folder=home), stores=stores, state_folder=home)
    count, real = 0, FolderLock.replace

    def replace(*arguments):
        nonlocal count
        count += any(str(argument).endswith(".json") for argument in arguments)
        return real(*arguments)

    monkeypatch.setattr(FolderLock, "replace", replace)
    assert step(stores=stores, state_folder=home).count(ItemState.DONE) == 300
    assert count == rewrites
    assert list(stores["t" if step is undo else "s"].walk("")) == []
