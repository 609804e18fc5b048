"""A migration, or undoing it, killed at any point: going on makes the target what an unbroken run makes it, exactly."""

from __future__ import annotations

import os
import random

import pytest

from migrations import Killable
from strongroom.migrate import ItemState, OnConflict, apply, dump_plan, parse_plan, plan, resume, runs, undo, verify
from strongroom.secret import Secret
from strongroom.store.guard import GuardedStore
from strongroom_vault.plugin import open_vault

COUNT = 20
BOUNDARIES = {"kv2": 30, "kv1": 18}
"""Labels have lines of their own in the journal, and version 1 has no labels."""
UNDO_BOUNDARIES = 12
SECRETS = {f"app/s{number:02}": {"user": f"u{number}", "port": number} for number in range(COUNT)}
LABELS = {path: {"owner": f"team-{path}", "tier": "1"} for path in SECRETS if path not in {"app/s01", "app/s08"}}
"""Of what is made, of what is changed, and of what gets nothing else; so many that each group of writes has some."""
LABELLED_BEFORE = {"app/s03": {"own": "kept"}, "app/s06": {"owner": "another"}}
RANDOM_KILLS = int(os.environ.get("TEST_MIGRATION_KILLS", "1"))
STEP = 1 if "TEST_MIGRATION_KILLS" in os.environ else 5
"""`nox -s kills` kills at every boundary. The suite takes each fifth: three in a row belong to one group of lines."""


@pytest.fixture(params=["kv2", "kv1"])
def target(request, openbao, tmp_path, monkeypatch):
    """The front of a mount in which a part of what is to come is there already."""
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
    """The file of a plan that overwrites, from a mount with labels; and the folder of migrations."""
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
    """The target is what an unbroken run makes it: no secret more or less, no version more, and the labels."""
    assert sorted(target.walk()) == sorted(SECRETS)
    for path, data in SECRETS.items():
        changed = path in {"app/s03", "app/s04", "app/s17"}
        assert target.read(path).data == ({**data, "own": "kept"} if changed else data)
        if "versioned" in target.capabilities:
            assert len(target.versions(path)) == (2 if changed or path == "app/s06" else 1), path
            assert target.read_metadata(path) == {**LABELLED_BEFORE.get(path, {}), **LABELS.get(path, {})}, path


@pytest.fixture
def applied(planned, tmp_path):
    """The folder of migrations, after the plan was carried out."""
    assert apply(parse_plan(planned.read_bytes()), state_folder=tmp_path / "home").ok
    return tmp_path / "home"


def check_undone(target):
    """The target holds what it held before, each secret that was changed as one version more, and none twice."""
    there = sorted(path for path, outcome in target.read_many(list(target.walk())) if isinstance(outcome, Secret))
    assert there == ["app/s03", "app/s04", "app/s05", "app/s06", "app/s17"]
    assert target.read("app/s06").data == {"user": "another"}
    for path in ("app/s03", "app/s04", "app/s17"):
        assert target.read(path).data == {"user": SECRETS[path]["user"], "own": "kept"}
    assert target.read("app/s05").data == SECRETS["app/s05"]
    if "versioned" in target.capabilities:  # what is deleted has its labels still, where there are any
        labels = {path: target.read_metadata(path) for path in SECRETS}
        assert {path: found for path, found in labels.items() if found} == LABELLED_BEFORE
        changed = {"app/s03", "app/s04", "app/s06", "app/s17"}
        versions = {path: len(target.versions(path)) for path in SECRETS}
        assert versions == {path: 3 if path in changed else 1 for path in SECRETS}


def undo_again(target, home):
    """Undoes what is left, and finds nothing to undo after that."""
    assert undo(state_folder=home).ok
    check_undone(target)
    assert undo(state_folder=home).count(ItemState.SKIPPED) == COUNT
    check_undone(target)


def go_on(target, home):
    """Resumes what was begun, if anything was."""
    if not runs(home):
        return False
    report = resume(runs(home)[-1].name, state_folder=home)
    assert report.ok
    equal = "versioned" not in target.capabilities  # one has all data from the beginning, and gets labels alone
    assert report.count(ItemState.DONE) == COUNT - equal
    return True


@pytest.mark.parametrize(
    ("target", "boundary"),
    [(kind, boundary) for kind, count in BOUNDARIES.items() for boundary in range(1, count + 1, STEP)],
    indirect=["target"],
)
def test_killed_at_a_boundary_of_the_journal(target, planned, tmp_path, boundary):
    """Before a group of lines is written, with half of it written, and once it is on disk."""
    home = tmp_path / "home"
    assert Killable("apply", home, boundary, planned).wait() == -9
    assert go_on(target, home)
    check_target(target)
    assert verify(state_folder=home).ok
    assert undo(state_folder=home).ok
    check_undone(target)


@pytest.mark.parametrize(("target", "count"), BOUNDARIES.items(), indirect=["target"])
def test_there_is_no_other_boundary(target, planned, tmp_path, count):
    """The numbers above are all that there are, so that none is left out."""
    assert Killable("apply", tmp_path / "home", count + 1, planned).wait() == 0
    check_target(target)


@pytest.mark.parametrize("seed", range(RANDOM_KILLS))
def test_killed_at_a_random_point(target, planned, tmp_path, seed):
    home = tmp_path / "home"
    Killable("apply", home, plan=planned).kill_after(random.Random(seed).uniform(0.0, 0.15))
    if go_on(target, home):
        check_target(target)


def test_killed_again_while_resuming_is_no_different(target, planned, tmp_path):
    """Each kill leaves what the next resume needs: here none of four comes to its end."""
    home = tmp_path / "home"
    assert Killable("apply", home, 8, planned).wait() == -9
    for boundary in (2, 3, 5):
        assert Killable("resume", home, boundary).wait() == -9
    assert go_on(target, home)
    check_target(target)


@pytest.mark.parametrize("boundary", range(1, UNDO_BOUNDARIES + 1, STEP))
def test_undoing_killed_at_a_boundary_of_the_journal(target, applied, boundary):
    """What it gave back is in the journal or is seen at the target: undoing again does the rest, and only that."""
    assert Killable("undo", applied, boundary).wait() == -9
    undo_again(target, applied)


def test_undoing_has_no_other_boundary(target, applied):
    """The numbers above are all that there are, so that none is left out."""
    assert Killable("undo", applied, UNDO_BOUNDARIES + 1).wait() == 0
    check_undone(target)


@pytest.mark.parametrize("seed", range(RANDOM_KILLS))
def test_undoing_killed_at_a_random_point(target, applied, seed):
    Killable("undo", applied).kill_after(random.Random(seed).uniform(0.0, 0.15))
    undo_again(target, applied)


def test_undoing_killed_again_and_again_is_no_different(target, applied):
    """And the plan can be carried out once more, as after an unbroken undo."""
    for boundary in (1, 2, 3, 5, 1):
        assert Killable("undo", applied, boundary).wait() == -9
    undo_again(target, applied)
    assert resume(runs(applied)[-1].name, state_folder=applied).ok
    assert {path: target.read(path).data for path in ("app/s00", "app/s06")} == {
        path: SECRETS[path] for path in ("app/s00", "app/s06")
    }
