"""`strongroom status`: the chain, rotations and migrations, without values and paths."""

import json
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from strongroom._cli.diagnose.chain_status import Agents, Migrations
from strongroom._cli.diagnose.status import next_event
from strongroom._config import discovery
from strongroom.agents.session_log import SessionLog
from strongroom.events import Event, EventKind, Use, emit
from strongroom.migrate import Migrator
from strongroom.rotate.rotations import RotationStatus

CANARY = "canary-7f3a"
CONFIGURATION = f"""
chain = ["memory", "files"]

[rotation."database/connection"]
rotator = "password"
every = "30d"

[stores.memory.secrets."database/connection"]
password = "{CANARY}"

[stores.files]
root = "absent"
"""


@pytest.fixture(autouse=True)
def state(monkeypatch, tmp_path) -> Path:
    """An empty state folder."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "strongroom"


@pytest.fixture
def configuration():
    Path("strongroom.toml").write_text(CONFIGURATION, "utf-8")


def rows(done):
    return [line.split("\t") for line in done.out.decode().splitlines()]


@pytest.mark.usefixtures("configuration")
def test_it_shows_the_chain_and_the_rotations(command):
    """The exit code is that of the gravest fault. No value is shown, and a path only with `--paths`."""
    done = command("status")
    assert done.code == 5
    found = rows(done)
    assert found[0][:3] == ["chain", "1 memory", "ok"]
    assert found[1][:3] == ["chain", "2 files", "unavailable"]
    assert found[-1][:3] == ["rotation", "rotation 1", "never"]
    assert CANARY not in done.out.decode() + done.err
    assert "database/connection" not in done.out.decode() + done.err
    assert "database/connection" in command("status", "--paths").out.decode()


@pytest.mark.usefixtures("configuration")
def test_the_document_has_no_path_and_no_value(command):
    done = command("status", "--json")
    document = json.loads(done.out)
    assert (document["version"], document["ok"]) == (2, False)
    assert [link["state"] for link in document["chain"]] == ["ok", "unavailable"]
    assert [rotation["path"] for rotation in document["rotations"]] == [None]
    assert CANARY not in done.out.decode()
    assert "database/connection" not in done.out.decode()


def test_the_cache_on_disk_is_a_row(command):
    """With the number of its entries and their size, if it is enabled."""
    Path("strongroom.toml").write_text('chain = ["env"]\n[cache]\ndisk = true\n', "utf-8")
    assert ["cache", "disk", "0 entries, 0 bytes"] in rows(command("status"))


def test_the_progress_of_a_migration_is_that_of_its_journal(monkeypatch):
    """A run that was killed half-way is running while its journal is young, and unfinished later."""
    Path("strongroom.toml").write_text(
        'chain = ["memory"]\n[stores.target]\nplugin = "json"\nfile = "target.json"\n'
        "[stores.memory.secrets]\n" + "".join(f'"a/{number}" = {{ key = "{CANARY}" }}\n' for number in range(4)),
        "utf-8",
    )
    with Migrator(discovery.load()) as migrator:
        report = migrator.apply(migrator.plan("memory", "target"))
    (found,) = Migrations().status()
    assert (found.state, found.done, found.total) == ("finished", 4, 4)
    assert (found.sources, found.target, found.run) == (("memory",), "target", report.run)
    folder = Path(os.environ["XDG_STATE_HOME"], "strongroom", "migrations", found.run)
    header, *items = (folder / "plan").read_bytes().splitlines(keepends=True)
    (folder / "plan").write_bytes(header + b"x" * sum(map(len, items)))
    assert Migrations().status() == [found], "the items of a plan are read"
    for name in ("finished", "progress"):  # neither is written before a kill
        (folder / name).unlink()
    journal = folder / "journal"
    lines = journal.read_bytes().splitlines(keepends=True)
    done = [number for number, line in enumerate(lines) if json.loads(line)["t"] == "done"]
    journal.write_bytes(b"".join(lines[: done[1] + 1]))
    migrations = Migrations()
    (found,) = migrations.status()
    assert (found.state, found.done, found.total) == ("running", 2, 4)
    os.utime(journal, (1, 1))
    (found,) = Migrations().status()
    assert found.state == "unfinished"
    journal.rename(folder / "moved")
    assert [found.state for found in Migrations().status()] == ["unreadable"]
    (folder / "moved").rename(journal)
    (folder / "plan").write_bytes(b"damaged")
    (found,) = Migrations().status()
    assert found.state == "unreadable"


def test_a_rotation_in_its_grace_time_is_revoked_next():
    """The next due date comes later. A secret that does not exist has nothing next."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    week = now + timedelta(days=7)
    found = RotationStatus("app", "password", "vault", "promoted", unfinished=True, due=week)
    assert next_event(replace(found, grace_end=now + timedelta(hours=2)), now) == "revokes in 2 h"
    assert next_event(replace(found, grace_end=now), now) == "revocation is due"
    assert next_event(replace(found, state="done", unfinished=False), now) == "due in 7 d"
    assert next_event(replace(found, state="absent", unfinished=False, due=None), now) == ""


@pytest.mark.usefixtures("configuration")
def test_it_shows_the_agents_that_run(command):
    """An ended session and a log that cannot be read are no fault of the status."""
    with SessionLog("ended", [], None, lambda _: None):
        pass
    with SessionLog("claude\x1b", ["openai"], datetime(2030, 1, 2, tzinfo=UTC), lambda _: None) as log:
        use = Use("openai", "api.example.com", "POST", "/v1", 200)
        for outcome in ("200", "200", "refused"):
            emit(Event(EventKind.USE, "", outcome=outcome, use=use))
        (agent,) = json.loads(command("status", "--json").out)["agents"]
        (row,) = [row for row in rows(command("status")) if row[0] == "agent"]
    assert (agent["session"], agent["command"], agent["pid"]) == (log.name, "claude\x1b", os.getpid())
    assert (agent["uses"], agent["refusals"], agent["end"]) == ({"openai": 2}, 1, "2030-01-02T00:00:00+00:00")
    assert row[1:4] == [f"'claude\\x1b' {log.name}", "openai 2", "1"]
    assert json.loads(command("status", "--json").out)["agents"] == []


def test_an_agent_whose_log_has_a_damaged_line_is_shown_with_a_warning(state, caplog):
    with SessionLog("claude", ["openai"], None, lambda _: None) as log:
        with (state / "agents" / f"{log.name}.jsonl").open("a") as stream:
            stream.write("x\n")
        known = Agents()
        assert [agent.session for agent in (*known.status(), *known.status())] == [log.name] * 2
    assert [record.getMessage() for record in caplog.records] == [
        f"The log of the session {log.name} has damaged lines: 1"
    ]


def test_agents_are_read_as_they_go_on():
    known = Agents()
    with SessionLog("claude", ["openai"], None, lambda _: None):
        for number in range(3):
            (agent,) = known.status()
            assert agent.uses == ({"openai": number} if number else {})
            emit(Event(EventKind.USE, "", outcome="200", use=Use("openai", "api.example.com", "GET", "/", 200)))
    assert known.status() == []
