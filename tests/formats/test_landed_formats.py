"""Files that earlier releases wrote, which every release reads. `make.py` writes a folder of them."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from strongroom._config import discovery, trust
from strongroom._disk_cache import entry, keys
from strongroom._disk_cache.store_cache import disk_caches
from support.cli_fixtures import command

from . import make

__all__ = ["command"]

_HERE = Path(__file__).parent
RELEASES = sorted(folder.name for folder in _HERE.iterdir() if (folder / "plan.json").is_file())


@pytest.fixture(params=RELEASES)
def release(request, monkeypatch, tmp_path) -> Path:
    """The working directory with the files of a release, in the modes that git does not keep."""
    here = Path.cwd()
    shutil.copytree(_HERE / request.param, here, dirs_exist_ok=True)
    for folder, _, files in os.walk(here):
        Path(folder).chmod(0o700)
        for file in files:
            (Path(folder) / file).chmod(0o600)
    monkeypatch.setenv("XDG_STATE_HOME", str(here / "state"))
    make.install(tmp_path / "site")
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.delitem(sys.modules, "shelf", raising=False)
    return here


def held(file: str) -> dict[str, str]:
    """Return the passwords in the file of a store."""
    records = map(json.loads, Path(file).read_text("utf-8").splitlines())
    found = {record["path"]: record["data"] for record in records}
    return {path: data["password"] for path, data in found.items() if data is not None and "password" in data}


MIGRATED = dict.fromkeys(("app/one", "app/two", "app/three"), "canary-old")


def test_a_reviewed_plan_is_applied_without_a_question(release, command):
    """Without a terminal a question would be a usage error: the plan is known to be as it was made."""
    done = command("migrate", "apply", "plan.json")
    assert (done.code, held("reviewed.jsonl")) == (0, MIGRATED), done.err


def test_an_edited_plan_still_needs_confirmation(release, command):
    plan = Path("plan.json")
    plan.write_text(plan.read_text("utf-8").replace('"size": 10', '"size": 11', 1), "utf-8")
    done = command("migrate", "apply", "plan.json")
    assert (done.code, held("reviewed.jsonl")) == (2, {"app/two": "canary-reviewed"})
    assert "The plan was edited after it was made" in done.err


def test_an_interrupted_run_is_resumed_and_both_are_undone(release, command):
    interrupted, finished = json.loads(command("migrate", "report", "--list", "--json").out)["migrations"]
    assert (interrupted["finished"], finished["finished"], finished["wrote"]) == (False, True, 3)
    assert json.loads(command("migrate", "report", finished["run"], "--json").out)["counts"]["done"] == 3
    (status,) = json.loads(command("status", "--json").out)["migrations"][1:]
    assert (status["run"], status["total"]) == (interrupted["run"], 3)

    done = command("migrate", "resume")
    assert (done.code, held("interrupted.jsonl")) == (0, MIGRATED), done.err
    for run in (interrupted, finished):
        done = command("migrate", "undo", run["run"], "--yes")
        assert (done.code, held(f"{run['target']}.jsonl")) == (0, {"app/two": f"canary-{run['target']}"}), done.err


_STEPS = {path: path.rpartition("/")[2] for path in make.ROTATIONS} | {"rotated/back": "applied"}


def test_a_rotation_goes_on_from_each_step(release, command):
    found = json.loads(command("rotate", "status", "--json").out)["rotations"]
    assert {row["path"]: row["state"] for row in found} == _STEPS
    for path in (row["path"] for row in found if row["unfinished"]):
        done = command("rotate", "resume", "--take-over", path)
        assert done.code == 0, done.err
    after = held("rotations.jsonl")
    old = {"rotated/undoing", "rotated/undone", "rotated/back"}
    assert {path: after[path] for path in _STEPS} == {
        path: "canary-vaulted" if path in old else "canary-new" for path in _STEPS
    }
    assert not any(row["unfinished"] for row in json.loads(command("rotate", "status", "--json").out)["rotations"])


def test_the_cache_on_disk_is_opened_on_its_machine_and_missed_on_another(release, command, monkeypatch):
    assert json.loads(command("cache", "verify", "--json").out)["entries"] == 0
    derive = keys.derive
    monkeypatch.setattr(keys, "derive", lambda root, machine, user: derive(root, make.MACHINE.encode(), 0))
    found = json.loads(command("cache", "verify", "--json").out)
    assert (found["ok"], found["entries"], found["damaged"]) == (True, 2, 0)


def test_an_outage_after_an_upgrade_is_served_from_the_cache_on_disk(release, monkeypatch):
    """While the store answers, it is read anew: a path can be another secret in another release."""
    derive = keys.derive
    monkeypatch.setattr(keys, "derive", lambda root, machine, user: derive(root, make.MACHINE.encode(), 0))
    (database,) = Path("cache").glob("*.sqlite")
    with closing(sqlite3.connect(database)) as opened:
        ((newest,),) = opened.execute("SELECT max(asked) FROM entries")
    wall = newest / 1e6 + 60
    monkeypatch.setattr(entry.Moment, "now", lambda: entry.Moment(wall, 60.0, "another boot"))
    monkeypatch.setattr(time, "time", lambda: wall)
    cache = disk_caches(discovery.load(config_file=Path("strongroom.toml")), ())["vaulted"]
    found = cache.stale("app/cached")
    assert found is not None
    assert found.data == {"password": "canary-vaulted"}
    assert cache.current("app/cached") is None
    cache.forget_denied(["app/cached"])
    assert cache.stale("app/cached") is None


def test_the_audit_log_is_verified_up_to_its_head(release, command):
    head = Path("head").read_text("utf-8").strip()
    done = command("audit", "verify", "audit.jsonl", "--key-file", "audit.key", "--head", head, "--json")
    assert (done.code, json.loads(done.out)["records"]) == (0, int(head.partition(":")[0]))


def test_a_trusted_file_is_still_trusted(release, monkeypatch):
    """A record names the path of its file."""
    monkeypatch.setattr(trust, "_absolute", lambda file: make.WORK / file.name)
    file = release / "strongroom.toml"
    assert trust.is_file_trusted(file, file.read_bytes(), {})
    assert not trust.is_file_trusted(file, file.read_bytes() + b"#", {})


# --- later formats ----------------------------------------------------------------------------------------------------

_NEWEST = pytest.mark.parametrize("release", RELEASES[-1:], indirect=True)


def raise_version(file: Path, old: str, new: str) -> None:
    """Let the file have a later version, and a field that this release does not know."""
    text = file.read_text("utf-8")
    assert old in text
    file.write_text(text.replace(old, f'{new}, "unknown": 1'), "utf-8")


@_NEWEST
@pytest.mark.parametrize(
    ("file", "version", "later", "arguments"),
    [
        ("plan.json", '"version": 2', '"version": 3', ("migrate", "apply", "plan.json")),
        ("RUN/plan", '"version": 2', '"version": 3', ("migrate", "undo", "RUN", "--yes")),
        ("RUN/journal", '"version": 1', '"version": 2', ("migrate", "undo", "RUN", "--yes")),
        ("RUN/verify.report", '"version": 1', '"version": 2', ("migrate", "report", "RUN")),
        ("rotations.jsonl", '"format": 1', '"format": 2', ("rotate", "resume", "--take-over", "rotated/applied")),
    ],
)
def test_a_later_format_is_refused_by_its_version_and_not_by_its_fields(
    release, command, file, version, later, arguments
):
    run = next((release / "state/strongroom/migrations").glob("*/finished")).parent
    raise_version(release / file.replace("RUN", str(run)), version, later)
    before = {each: each.read_bytes() for each in sorted(release.glob("*.jsonl"))}
    done = command(*(run.name if argument == "RUN" else argument for argument in arguments))
    assert done.code == 7
    assert "it needs a later Strongroom: its format is version" in done.err
    assert {each: each.read_bytes() for each in sorted(release.glob("*.jsonl"))} == before
    assert "canary" not in done.err
