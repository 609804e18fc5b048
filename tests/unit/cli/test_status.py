"""`strongroom status`: the chain, the reports of applications, rotations and migrations, without values and paths."""

import json
import os
import stat
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from strongroom import SecretsManager, events
from strongroom import status as reports
from strongroom._cli.operate.status.migrations import Migrations
from strongroom._cli.operate.status.model import ChainStatus, LinkStatus
from strongroom._cli.operate.status.status import screen
from strongroom._cli.operate.status.view import next_event
from strongroom._config import CacheConfig, LinkConfig, discovery
from strongroom.migrate import Migrator
from strongroom.rotate.rotations import RotationStatus
from support.stores import RemoteStore

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
    assert (document["version"], document["ok"]) == (1, False)
    assert [link["state"] for link in document["chain"]] == ["ok", "unavailable"]
    assert [rotation["path"] for rotation in document["rotations"]] == [None]
    assert CANARY not in done.out.decode()
    assert "database/connection" not in done.out.decode()


def test_an_application_publishes_its_caches_and_watches(command, state):
    """In a file that no other user can read, which is gone when the publication ends."""
    Path("strongroom.toml").write_text('chain = ["env"]\n', "utf-8")
    store = RemoteStore({"database/connection": {"key": CANARY}})
    with SecretsManager(chain=[store]) as secrets, secrets.watch(["database/connection"], print, interval=3600):
        end = reports.publish(secrets, name="billing")
        (file,) = (state / "status").iterdir()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        text = file.read_text("utf-8")
        found = rows(command("status"))
        end()
    assert CANARY not in text
    assert "database" not in text
    assert ["cache", f"billing {os.getpid()}", "remote"] in [row[:3] for row in found]
    assert ["watch", f"billing {os.getpid()}", "1", "1"] in found
    assert reports.reports() == []


def test_a_report_names_paths_only_if_the_application_wants_it(command):
    Path("strongroom.toml").write_text('chain = ["env"]\n', "utf-8")
    with SecretsManager.from_config({"chain": ["memory"]}) as secrets:
        secrets.set_secret("database/connection", {"password": CANARY})
        with secrets.watch(["database/connection"], print, interval=3600):
            end = reports.publish(secrets, name="billing", paths=True)
            hidden, shown = command("status").out.decode(), command("status", "--paths").out.decode()
            end()
    assert "database/connection" not in hidden
    assert "database/connection" in shown


def test_the_cache_is_counted():
    """The number of secrets and of reads that the cache answered, from the application's own cache."""
    with SecretsManager(chain=[RemoteStore({"a/b": {"key": CANARY}})]) as secrets:
        before = events.cache_hits().get("remote", 0)
        for _ in range(3):
            secrets.get_secret("a/b", "key")
        end = reports.publish(secrets)
        ((cache,),) = [report.caches for report in reports.reports()]
        end()
    assert (cache.store, cache.secrets, cache.hits - before, cache.outage) == ("remote", 1, 2, False)
    assert cache.size > 0


def test_a_process_that_stopped_reporting_is_silent():
    now = datetime.now(UTC)
    report = reports.ProcessReport(1, "billing", now, now, interval=5.0)
    assert not report.is_silent(now + timedelta(seconds=14))
    assert report.is_silent(now + timedelta(seconds=16))


@pytest.mark.parametrize("content", ["", "[]", "{}", "[" * 100_000, '{"format": "strongroom-status-report"}'], ids=len)
def test_what_is_no_report_is_left_out(state, content):
    """Another program's file, or one that a crash has left half-written, hides no other report."""
    (state / "status").mkdir(0o700, parents=True)
    (state / "status" / "1-0.json").write_text(content, "utf-8")
    assert reports.reports() == []


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
    (folder / "finished").unlink()
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
    (folder / "plan").write_bytes(b"damaged")
    (found,) = Migrations().status()
    assert found.state == "unreadable"


def test_watch_needs_a_terminal(command):
    Path("strongroom.toml").write_text('chain = ["env"]\n', "utf-8")
    done = command("status", "--watch")
    assert done.code == 2
    assert "--watch needs a terminal" in done.err


def test_a_small_screen_tells_how_much_it_leaves_out():
    """Each line is on the screen, or counted in its last line."""
    links = tuple(LinkStatus(LinkConfig(f"store-{number}"), "env", "") for number in range(30))
    status = ChainStatus(datetime.now(UTC), None, None, False, links, CacheConfig(), None, (), (), ())

    def lines(height: int) -> list[str]:
        text = StringIO()
        console = Console(file=text, width=80, height=height)
        console.print(screen(console, status, paths=False), end="")
        return text.getvalue().splitlines()

    whole, small = lines(100), lines(12)
    assert "30 store-29" in whole[-1]
    assert small[:-1] == whole[:11]
    assert small[-1].startswith(f" … {len(whole) - 11} more lines")


def test_a_rotation_in_its_grace_time_is_revoked_next():
    """The next due date comes later. A secret that does not exist has nothing next."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    week = now + timedelta(days=7)
    found = RotationStatus("app", "password", "vault", "promoted", unfinished=True, due=week)
    assert next_event(replace(found, grace_end=now + timedelta(hours=2)), now) == "revokes in 2 h"
    assert next_event(replace(found, grace_end=now), now) == "revocation is due"
    assert next_event(replace(found, state="done", unfinished=False), now) == "due in 7 d"
    assert next_event(replace(found, state="absent", unfinished=False, due=None), now) == ""


def test_watch_ends_with_ctrl_c(terminal, script):
    """As a success, with the screen as it was before."""
    Path("strongroom.toml").write_text('chain = ["env"]\n', "utf-8")
    screen = terminal(script, "status", "--watch")
    screen.waits_for("Ctrl-C ends")
    screen.waits_for("1 env")
    screen.interrupts()
    code, rest = screen.ended()
    assert code == 0
    assert "\x1b[?1049l" in rest
