"""A migration that is killed at any point: resuming makes the target what an unbroken run makes it, to the version."""

from __future__ import annotations

import json
import os
import random

import pytest

from migrating import Killable
from strongroom.front import Front
from strongroom.migrate import ItemState, OnConflict, dump_plan, plan, resume, runs, undo, verify
from strongroom.model import Secret
from strongroom_vault.opening import open_vault

COUNT = 20
BOUNDARIES = 18
SECRETS = {f"app/s{number:02}": {"user": f"u{number}", "port": number} for number in range(COUNT)}
RANDOM_KILLS = int(os.environ.get("TEST_MIGRATION_KILLS", "10"))


@pytest.fixture(params=["kv2", "kv1"])
def target(request, openbao, tmp_path, monkeypatch):
    """The front of a mount in which a part of what is to come is there already."""
    mount = request.getfixturevalue(request.param)
    monkeypatch.setenv("VAULT_ADDR", openbao.url)
    monkeypatch.setenv("VAULT_TOKEN", openbao.token)
    front = Front(open_vault(url=openbao.url, token=openbao.token, mount=mount), f"vault:{mount}")
    for path in ("app/s03", "app/s04", "app/s17"):
        front.write(path, {"user": SECRETS[path]["user"], "own": "kept"})
    front.write("app/s05", SECRETS["app/s05"])
    front.write("app/s06", {"user": "another"})
    yield front
    front.close()


@pytest.fixture
def planned(target, tmp_path):
    """The file of a plan that overwrites, and the folder of migrations."""
    source = tmp_path / "source.json"
    source.write_text(json.dumps(SECRETS))
    made = plan(f"json:{source}", target.name, on_conflict=OnConflict.OVERWRITE, home=tmp_path / "home")
    file = tmp_path / "plan.json"
    file.write_text(dump_plan(made))
    return file


def check_target(target):
    """The target is what an unbroken run makes it: no secret more or less, and no version more."""
    assert sorted(target.walk()) == sorted(SECRETS)
    for path, data in SECRETS.items():
        changed = path in {"app/s03", "app/s04", "app/s17"}
        assert target.read(path).data == ({**data, "own": "kept"} if changed else data)
        if "versioned" in target.capabilities:
            assert len(target.versions(path)) == (2 if changed or path == "app/s06" else 1), path


def check_undone(target):
    there = sorted(path for path, outcome in target.read_many(list(target.walk())) if isinstance(outcome, Secret))
    assert there == ["app/s03", "app/s04", "app/s05", "app/s06", "app/s17"]
    assert target.read("app/s06").data == {"user": "another"}
    assert target.read("app/s17").data == {"user": "u17", "own": "kept"}


def go_on(home):
    """Resumes what was begun, if anything was."""
    if not runs(home):
        return False
    report = resume(runs(home)[-1].name, home=home)
    assert report.ok
    assert report.count(ItemState.DONE) == COUNT - 1  # one is equal from the beginning
    return True


@pytest.mark.parametrize("boundary", range(1, BOUNDARIES + 1))
def test_killed_at_a_boundary_of_the_journal(target, planned, tmp_path, boundary):
    """Before a group of lines is written, with half of it written, and once it is on disk."""
    home = tmp_path / "home"
    assert Killable(planned, home, boundary).wait() == -9
    assert go_on(home)
    check_target(target)
    assert verify(home=home).ok
    assert undo(home=home).ok
    check_undone(target)


def test_there_is_no_other_boundary(target, planned, tmp_path):
    """The numbers above are all that there are, so that none is left out."""
    assert Killable(planned, tmp_path / "home", BOUNDARIES + 1).wait() == 0
    check_target(target)


@pytest.mark.parametrize("seed", range(RANDOM_KILLS))
def test_killed_at_a_random_point(target, planned, tmp_path, seed):
    home = tmp_path / "home"
    Killable(planned, home, 0).kill_after(random.Random(seed).uniform(0.0, 0.15))
    if go_on(home):
        check_target(target)


def test_killed_again_while_resuming_is_no_different(target, planned, tmp_path):
    """Each kill leaves what the next resume needs: here none of four comes to its end."""
    home = tmp_path / "home"
    assert Killable(planned, home, 8).wait() == -9
    for boundary in (2, 3, 5):
        assert Killable(None, home, boundary).wait() == -9
    assert go_on(home)
    check_target(target)
