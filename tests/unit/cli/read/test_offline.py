"""Offline on purpose: the cache on disk answers for stores that are not on this machine, which are neither opened nor
asked."""

import json
import logging
import os
import sys
from pathlib import Path

import click
import pytest

from strongroom import SecretsManager, StoreUnavailableError
from strongroom._cli.exit_codes import ExitCode
from strongroom.errors import UnsupportedOperationError

CANARY = "canary-5d20"
REMOTE = """
    from strongroom import Secret, SecretNotFoundError
    from strongroom.store import Traits

    opened, held = [], {"db/app": {"url": "canary-5d20"}, "db/other": {"url": "other"}, "db/second": {"url": "2"}}

    class RemoteStore:
        traits = Traits(disk_cache=True)

        def __init__(self, name):
            self.name = name

        def read(self, path):
            if path not in held or path == "db/second" != f"db/{self.name}":
                raise SecretNotFoundError(path)
            return Secret(path, held[path])

        def write(self, path, data):
            held[path] = dict(data)

        def delete(self, path):
            del held[path]

        def close(self):
            pass

    def open_remote(*, name: str = "") -> RemoteStore:
        opened.append(name)
        return RemoteStore(name)
"""


@pytest.fixture
def remote(search_path, tmp_path, monkeypatch):
    """The module of a remote store, whose `opened` counts; the chain is `remote`, then the environment."""
    search_path.install("remote-secrets", {"remote": "remote_store:open_remote"}, modules={"remote_store": REMOTE})
    monkeypatch.setenv("STRONGROOM_CACHE_FOLDER", str(tmp_path / "cache"))
    configure()
    yield lambda: sys.modules["remote_store"].opened
    monkeypatch.delitem(sys.modules, "remote_store", raising=False)


def configure(chain='["remote", "env"]', cache="disk = true", more=""):
    rows = '[secrets]\nDB_URL = "db/app#url"\n[stores.second]\nplugin = "remote"\nname = "second"'
    Path("strongroom.toml").write_text(f"chain = {chain}\n[cache]\n{cache}\n{rows}\n{more}", "utf-8")


def read_online(*paths):
    """Read these, so that the cache on disk has them, and forget that the store was opened."""
    with SecretsManager() as secrets:
        for path in paths or ("db/app",):
            secrets.get_secret(path)
    sys.modules["remote_store"].opened.clear()


def test_get_prints_the_cached_value_and_says_its_age(command, remote, monkeypatch):
    read_online()
    done = command("get", "db/app#url", "--offline")
    assert (done.code, done.out) == (0, CANARY.encode())
    assert "Offline: 1 secret from the cache on disk, up to" in done.err
    monkeypatch.setenv("STRONGROOM_OFFLINE", "true")
    assert command("get", "db/app#url").out == done.out
    assert json.loads(command("get", "db/app#url", "--json").out)["cached"]
    assert remote() == []


def test_export_and_check_ask_no_store(command, remote):
    read_online()
    assert json.loads(command("export", "--format", "json", "--offline").out) == {"DB_URL": CANARY}
    checked = command("check", "--offline")
    assert (checked.code, "found" in checked.out.decode()) == (0, True)
    assert "Offline: 1 secret" in checked.err
    assert remote() == []


def test_a_command_that_run_starts_is_offline_too(command, remote, monkeypatch):
    """An application that loads its own configuration asks no store either."""
    read_online()
    started = []

    def start():
        raise click.exceptions.Exit(0)

    monkeypatch.setattr(os, "execvpe", lambda *given: started.append(given) or start())
    command("run", "--offline", "--", "program")
    ((_, _, variables),) = started
    assert b"STRONGROOM_CACHE_MAX_STALE" not in variables
    command("run", "--offline", "--max-age", "10m", "--", "program")
    aged = started.pop()[2]
    ages = [float(aged[name]) for name in (b"STRONGROOM_CACHE_TTL", b"STRONGROOM_CACHE_MAX_STALE")]
    assert sum(ages) == 600
    assert (variables[b"STRONGROOM_OFFLINE"], variables[b"DB_URL"]) == (b"true", CANARY.encode())
    assert remote() == []


def test_a_path_without_an_entry_is_an_outage_that_no_later_store_answers(command, remote, monkeypatch):
    """Online, the store may have another value than the environment."""
    read_online("db/app")
    monkeypatch.setenv("DB_OTHER_URL", "of the environment")
    monkeypatch.setenv("STRONGROOM_OFFLINE", "true")
    done = command("get", "db/other#url")
    assert (done.code, done.out) == (ExitCode.UNAVAILABLE, b"")
    assert "db/other (remote: offline by the environment variable STRONGROOM_OFFLINE)" in done.err
    assert "read it once while you are online" in done.err
    assert remote() == []


def test_a_local_store_before_a_remote_one_answers(command, remote, monkeypatch):
    configure('["env", "remote"]')
    monkeypatch.setenv("DB_URL", "of the environment")
    assert command("get", "db/app#url", "--offline").out == b"of the environment"
    assert remote() == []


def test_a_later_remote_store_answers_from_its_own_entries(command, remote):
    """Its cache has only paths that the stores before it did not have."""
    configure('["second"]')
    read_online()
    configure('["remote", "second"]')
    assert command("get", "db/app#url", "--offline").out == CANARY.encode()
    configure('["remote", "second", "env"]')
    assert command("get", "db/app#url", "--offline").code == ExitCode.UNAVAILABLE
    assert remote() == []


def test_an_older_answer_than_max_age_is_not_served(command, remote):
    read_online()
    assert command("get", "db/app#url", "--offline", "--max-age", "1h").code == 0
    assert command("get", "db/app#url", "--offline", "--max-age", "0s").code == ExitCode.UNAVAILABLE
    online = command("get", "db/app#url", "--max-age", "1h")
    assert (online.code, "--max-age needs --offline" in online.err) == (ExitCode.USAGE, True)


def test_without_a_cache_on_disk_the_error_says_how_to_get_one(command, remote):
    configure(cache="disk = false")
    done = command("get", "db/app#url", "--offline")
    assert done.code == ExitCode.UNAVAILABLE
    assert "db/app (remote: offline by --offline). Set `disk = true` in [cache]" in done.err
    assert remote() == []


def test_the_library_reads_what_the_table_says(remote, caplog):
    """One read and a batch, without a warning for each: nothing failed."""
    read_online()
    configure(cache="disk = true\noffline = true")
    with SecretsManager() as secrets:
        assert secrets.get_secret("db/app", "url") == CANARY
        found = secrets.get_secrets(["db/app"])
        assert found["db/app"]["url"] == CANARY
        with pytest.raises(StoreUnavailableError, match=r"offline by \./strongroom\.toml: \[cache\] offline"):
            secrets.get_secret("db/other", "url")
        with pytest.raises(UnsupportedOperationError, match="no store is asked or changed"):
            secrets.set_secret("db/app", {"url": "x"})
        with pytest.raises(UnsupportedOperationError, match="no store is asked or changed"):
            secrets.delete_secret("db/app")
    assert remote() == []
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_an_open_store_of_the_application_is_not_asked(remote, monkeypatch):
    """It has no entries on disk, since its options are not known."""

    class Asked:
        def read(self, path):
            raise AssertionError(path)

        def close(self):
            pass

    monkeypatch.setenv("STRONGROOM_OFFLINE", "true")
    with SecretsManager(chain=[Asked()]) as secrets, pytest.raises(StoreUnavailableError, match="offline"):
        secrets.get_secret("db/app")


@pytest.mark.parametrize(
    "arguments",
    [
        ("delete", "db/app", "--yes"),
        ("generate",),
        ("copy", "db/app", "--from", "remote", "--to", "second"),
        ("migrate", "plan", "--from", "remote", "--to", "second", "--output", "plan.json"),
    ],
)
def test_commands_that_change_stores_are_refused(command, remote, monkeypatch, arguments):
    read_online()
    monkeypatch.setenv("STRONGROOM_OFFLINE", "true")
    done = command(*arguments)
    assert done.code == ExitCode.IMPOSSIBLE, done.err
    assert "offline by the environment variable STRONGROOM_OFFLINE: strongroom" in done.err
    assert remote() == []


def test_a_rotation_is_refused(command, remote, monkeypatch):
    """Neither the store nor the service is asked."""
    read_online()
    rotation = '[rotation."db/app"]\nrotator = "password"\nevery = "30d"'
    configure(more=rotation)
    monkeypatch.setenv("STRONGROOM_OFFLINE", "true")
    done = command("rotate", "now", "db/app")
    assert done.code != 0
    assert "offline by the environment variable STRONGROOM_OFFLINE" in done.err
    assert remote() == []


def test_doctor_opens_no_remote_store(command, remote, monkeypatch):
    monkeypatch.setenv("STRONGROOM_OFFLINE", "true")
    assert b"offline by the environment variable" in command("doctor").out
    assert remote() == []


# --- absences ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def later(monkeypatch):
    """A function that lets seconds pass on the clocks of the cache on disk."""
    from strongroom._disk_cache import entry

    def pass_by(seconds):
        wall, boot = entry.time.time, entry.boot_time
        monkeypatch.setattr(entry.time, "time", lambda: wall() + seconds)
        monkeypatch.setattr(entry, "boot_time", lambda: boot() + seconds)

    return pass_by


def test_an_absence_answers_for_as_long_as_a_secret(command, remote, later):
    """Else an optional row would stop every command half a minute after the last read online."""
    lacks = (
        'LACKS = { at = "db/app#other", required = false }\nGONE = { at = "db/gone#url", default = "its default" }\n'
    )
    configure(cache='disk = true\nmax_stale = "1h"')
    text = Path("strongroom.toml").read_text("utf-8")
    Path("strongroom.toml").write_text(text.replace("[stores.second]", f"{lacks}[stores.second]"), "utf-8")
    assert command("export", "--format", "json").code == 0
    later(600)
    done = command("export", "--format", "json", "--offline")
    assert (done.code, json.loads(done.out or "{}")) == (0, {"DB_URL": CANARY, "GONE": "its default"}), done.err
    later(3600)
    assert command("export", "--format", "json", "--offline").code == ExitCode.UNAVAILABLE


def test_a_later_store_answers_after_an_absence(command, remote, later):
    """A key that the cached secret of the first store lacks is absent there too."""
    configure('["remote", "second", "env"]', cache='disk = true\nmax_stale = "1h"')
    assert command("get", "db/second#url").out == b"2"
    assert command("get", "db/gone#url").code == ExitCode.NOT_FOUND
    assert command("get", "db/app#gone").code == ExitCode.NOT_FOUND
    later(600)
    assert command("get", "db/second#url", "--offline").out == b"2"
    assert command("get", "db/gone#url", "--offline").code == ExitCode.NOT_FOUND
    assert command("get", "db/app#gone", "--offline").code == ExitCode.NOT_FOUND


# --- what needs the store ---------------------------------------------------------------------------------------------


def test_what_asks_the_store_in_any_case_advises_no_read_before(remote, monkeypatch):
    read_online()
    monkeypatch.setenv("STRONGROOM_OFFLINE", "true")
    with SecretsManager() as secrets:
        for asks in (secrets.preload, secrets.list_secrets, lambda: secrets.get_secret("db/app", fresh=True)):
            with pytest.raises(StoreUnavailableError, match="Go online for this: it needs the store"):
                asks()


def test_explain_shows_what_a_read_returns(command, remote, monkeypatch):
    read_online()
    monkeypatch.setenv("STRONGROOM_OFFLINE", "true")
    done = command("explain", "db/app#url", "--json")
    assert (done.code, json.loads(done.out)["served"]) == (0, "remote"), done.err
    assert command("explain", "db/other#url").code == ExitCode.UNAVAILABLE
    assert remote() == []
