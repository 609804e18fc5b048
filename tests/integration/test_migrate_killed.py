"""Migrations and undos that are killed at any point: resuming leaves the target exactly as an unbroken run does."""

from __future__ import annotations

import os
import random

import pytest

from programs.migration_process import Killable
from strongroom._boundary.guard import GuardedStore
from strongroom.migrate import ItemState, OnConflict, dump_plan, parse_plan, runs
from strongroom.migrate.endpoints import Endpoints
from strongroom.secret import Secret
from strongroom_vault.plugin import open_vault
from support.scenarios.migrations import apply, delete_source, plan, resume, undo, verify

pytestmark = pytest.mark.long

COUNT = 20
BOUNDARIES = {"kv2": 27, "kv1": 15}
"""Labels take journal lines too, and KV version 1 has no labels."""
UNDO_BOUNDARIES = 12
SECRETS = {f"app/s{number:02}": {"user": f"u{number}", "port": number} for number in range(COUNT)}
LABELS = {path: {"owner": f"team-{path}", "tier": "1"} for path in SECRETS if path not in {"app/s01", "app/s08"}}
"""On created, changed and unchanged secrets, enough for each group of writes to have some."""
LABELLED_BEFORE = {"app/s03": {"own": "kept"}, "app/s06": {"owner": "another"}}
RANDOM_KILLS = int(os.environ.get("TEST_MIGRATION_KILLS", "1"))
STEP = 1 if "TEST_MIGRATION_KILLS" in os.environ else 5
"""`nox -s kills` kills at every boundary. The suite takes each fifth: three in a row belong to one group of lines."""


@pytest.fixture(params=["kv2", "kv1"])
def target(request, openbao, tmp_path, monkeypatch):
    """A mount that holds a part of the migrated secrets already."""
    mount = request.getfixturevalue(request.param)
    monkeypatch.setenv("VAULT_ADDR", openbao.url)
    monkeypatch.setenv("VAULT_TOKEN", openbao.token)
    front = GuardedStore(open_vault(url=openbao.url, token=openbao.token, mount=mount), f"vault:{mount}")
    for path in ("app/s03", "app/s04", "app/s17"):
        front.write(path, {"user": SECRETS[path]["user"], "own": "kept"})
    front.write("app/s05", SECRETS["app/s05"])
    front.write("app/s06", {"user": "another"})
    if "versioned" in front.capabilities:
        for path, labels in LABELLED_BEFORE.items():
            front.write_metadata(path, labels)
    yield front
    front.close()


@pytest.fixture
def planned(openbao, target, tmp_path):
    """A plan that overwrites, from a source with labels, as a file."""
    mount = openbao.fresh_mount(version=2)
    source = GuardedStore(open_vault(url=openbao.url, token=openbao.token, mount=mount), "source")
    for path, data in SECRETS.items():
        source.write(path, data)
    for path, labels in LABELS.items():
        source.write_metadata(path, labels)
    source.close()
    made = plan(f"vault:{mount}", target.name, on_conflict=OnConflict.OVERWRITE, state_folder=tmp_path / "home")
    file = tmp_path / "plan.json"
    file.write_text(dump_plan(made))
    return file


def check_target(target):
    """Check that the target holds the same secrets, versions and labels as after an unbroken run."""
    assert sorted(target.walk()) == sorted(SECRETS)
    for path, data in SECRETS.items():
        changed = path in {"app/s03", "app/s04", "app/s17"}
        assert target.read(path).data == ({**data, "own": "kept"} if changed else data)
        if "versioned" in target.capabilities:
            assert len(target.versions(path)) == (2 if changed or path == "app/s06" else 1), path
            assert target.read_metadata(path) == {**LABELLED_BEFORE.get(path, {}), **LABELS.get(path, {})}, path


@pytest.fixture
def applied(planned, tmp_path):
    """The folder of migrations after the plan was applied."""
    assert apply(parse_plan(planned.read_bytes()), state_folder=tmp_path / "home").ok
    return tmp_path / "home"


def check_undone(target):
    """Check that the target has its former data again, and one more version of each changed secret."""
    there = sorted(path for path, outcome in target.read_many(list(target.walk())) if isinstance(outcome, Secret))
    assert there == ["app/s03", "app/s04", "app/s05", "app/s06", "app/s17"]
    assert target.read("app/s06").data == {"user": "another"}
    for path in ("app/s03", "app/s04", "app/s17"):
        assert target.read(path).data == {"user": SECRETS[path]["user"], "own": "kept"}
    assert target.read("app/s05").data == SECRETS["app/s05"]
    if "versioned" in target.capabilities:  # a deleted secret keeps its labels
        labels = {path: target.read_metadata(path) for path in SECRETS}
        assert {path: found for path, found in labels.items() if found} == LABELLED_BEFORE
        changed = {"app/s03", "app/s04", "app/s06", "app/s17"}
        versions = {path: len(target.versions(path)) for path in SECRETS}
        assert versions == {path: 3 if path in changed else 1 for path in SECRETS}


def undo_again(target, home):
    """Undo the rest, and check that a further undo has nothing to do."""
    assert undo(state_folder=home).ok
    check_undone(target)
    assert undo(state_folder=home).count(ItemState.SKIPPED) == COUNT
    check_undone(target)


def go_on(target, home):
    """Resume the migration and return True, or return False if none was begun."""
    if not runs(home):
        return False
    report = resume(runs(home)[-1].name, state_folder=home)
    assert report.ok
    equal = "versioned" not in target.capabilities  # one secret is equal from the beginning and gets labels only
    assert report.count(ItemState.DONE) == COUNT - equal
    return True


@pytest.mark.parametrize(
    ("target", "boundary"),
    [(kind, boundary) for kind, count in BOUNDARIES.items() for boundary in range(1, count + 1, STEP)],
    indirect=["target"],
)
def test_killed_at_a_boundary_of_the_journal(target, planned, tmp_path, boundary):
    """Kills before a group of lines is written, after half of it, and once it is on disk."""
    home = tmp_path / "home"
    assert Killable("apply", home, boundary, planned).wait() == -9
    assert go_on(target, home)
    check_target(target)
    assert verify(state_folder=home).ok
    assert undo(state_folder=home).ok
    check_undone(target)


@pytest.mark.parametrize(("target", "count"), BOUNDARIES.items(), indirect=["target"])
def test_there_is_no_other_boundary(target, planned, tmp_path, count):
    """The counts above are complete."""
    assert Killable("apply", tmp_path / "home", count + 1, planned).wait() == 0
    check_target(target)


@pytest.mark.parametrize("seed", range(RANDOM_KILLS))
def test_killed_at_a_random_point(target, planned, tmp_path, seed):
    home = tmp_path / "home"
    Killable("apply", home, plan=planned).kill_after(random.Random(seed).uniform(0.0, 0.15))
    if go_on(target, home):
        check_target(target)


def test_killed_again_while_resuming_is_no_different(target, planned, tmp_path):
    """After four interrupted runs, the next resume still completes the migration."""
    home = tmp_path / "home"
    assert Killable("apply", home, 8, planned).wait() == -9
    for boundary in (2, 3, 5):
        assert Killable("resume", home, boundary).wait() == -9
    assert go_on(target, home)
    check_target(target)


@pytest.mark.parametrize("boundary", range(1, UNDO_BOUNDARIES + 1, STEP))
def test_undoing_killed_at_a_boundary_of_the_journal(target, applied, boundary):
    """A second undo reverts only the secrets that the first one did not."""
    assert Killable("undo", applied, boundary).wait() == -9
    undo_again(target, applied)


def test_undoing_has_no_other_boundary(target, applied):
    """The counts above are complete."""
    assert Killable("undo", applied, UNDO_BOUNDARIES + 1).wait() == 0
    check_undone(target)


@pytest.mark.parametrize("seed", range(RANDOM_KILLS))
def test_undoing_killed_at_a_random_point(target, applied, seed):
    Killable("undo", applied).kill_after(random.Random(seed).uniform(0.0, 0.15))
    undo_again(target, applied)


def test_undoing_killed_again_and_again_is_no_different(target, applied):
    """The plan can be applied again, as after an unbroken undo."""
    for boundary in (1, 2, 3, 5, 1):
        assert Killable("undo", applied, boundary).wait() == -9
    undo_again(target, applied)
    assert resume(runs(applied)[-1].name, state_folder=applied).ok
    assert {path: target.read(path).data for path in ("app/s00", "app/s06")} == {
        path: SECRETS[path] for path in ("app/s00", "app/s06")
    }


# --- files, which are rewritten once for each group -------------------------------------------------------------------

FILE_BOUNDARIES = 12
"""Of an undo or a deletion of twenty secrets in groups of five."""
FILE_APPLY_BOUNDARIES = 15
"""The first line of the journal, four groups of five secrets, and the results of the last one."""


@pytest.fixture
def planned_files(tmp_path, monkeypatch):
    """The source, the target, the folder of migrations, and a plan between two files."""
    monkeypatch.chdir(tmp_path)
    source = Endpoints(None, None).target("json:source.json")
    target = Endpoints(None, None).target("yaml:target.yaml")
    list(source.write_many(SECRETS.items()))
    target.write("app/s03", {"user": "another"})
    home = tmp_path / "home"
    made = plan("json:source.json", "yaml:target.yaml", on_conflict=OnConflict.OVERWRITE, state_folder=home)
    return source, target, home, made


@pytest.fixture
def files(planned_files):
    """The source and the target after the migration, and the folder of migrations."""
    source, target, home, made = planned_files
    assert apply(made, state_folder=home).ok
    return source, target, home


def contents(store):
    return {path: dict(outcome.data) for path, outcome in store.read_many(list(store.walk()))}


@pytest.mark.parametrize("boundary", range(1, FILE_APPLY_BOUNDARIES + 2, STEP))
def test_writing_a_file_killed_at_a_boundary_of_the_journal(planned_files, tmp_path, boundary):
    """Resuming writes the rest, and undoing it all leaves the file as it was."""
    source, target, home, made = planned_files
    file = tmp_path / "plan.json"
    file.write_text(dump_plan(made))
    is_complete = boundary > FILE_APPLY_BOUNDARIES
    assert Killable("apply", home, boundary, file).wait() == (0 if is_complete else -9)
    run = runs(home)[-1].name
    if not is_complete:
        assert resume(run, state_folder=home).ok
    assert contents(target) == SECRETS
    assert undo(run, state_folder=home).ok
    assert contents(target) == {"app/s03": {"user": "another"}}
    assert contents(source) == SECRETS


@pytest.mark.parametrize("boundary", range(1, FILE_BOUNDARIES + 1))
def test_undoing_a_file_killed_at_a_boundary_of_the_journal(files, boundary):
    """A second undo reverts the rest, and nothing twice."""
    source, target, home = files
    assert Killable("undo", home, boundary).wait() == -9
    assert undo(state_folder=home).ok
    assert contents(target) == {"app/s03": {"user": "another"}}
    assert contents(source) == SECRETS


@pytest.mark.parametrize("boundary", range(1, FILE_BOUNDARIES + 1))
def test_deleting_in_a_file_killed_at_a_boundary_of_the_journal(files, boundary):
    """A second deletion deletes the rest, and the target keeps all of them."""
    source, target, home = files
    assert Killable("delete-source", home, boundary).wait() == -9
    assert {**contents(source), **contents(target)} == SECRETS
    assert delete_source(state_folder=home).ok
    assert contents(source) == {}
    assert contents(target) == SECRETS
