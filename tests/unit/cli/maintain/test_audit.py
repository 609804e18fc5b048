"""`strongroom audit`: verify and head, in words and as JSON, and the reason of a call."""

import json
from pathlib import Path

import pytest

from strongroom.audit_log.log_file import Hasher

CONFIG = """
chain = ["memory"]
[stores.memory.secrets.app]
key = "canary-7f3a"
[audit]
file = "log.jsonl"
key_file = "log.key"
"""


@pytest.fixture
def log(command, monkeypatch):
    """The log of two reads with a key."""
    Path("strongroom.toml").write_text(CONFIG)
    monkeypatch.setenv("STRONGROOM_TRUSTED_PATHS", str(Path.cwd()))
    assert command("get", "app#key").out == b"canary-7f3a"
    assert command("--reason", "ticket 4711", "get", "app#key").code == 0
    return Path("log.jsonl")


def test_a_reason_is_in_the_records_of_its_call(log):
    assert [json.loads(line).get("reason") for line in log.read_text().splitlines()] == [None, "ticket 4711"]
    assert "canary" not in log.read_text()


def test_an_intact_log(log, command):
    head = command("audit", "head").out.decode().strip()
    assert head.startswith("2:")
    done = command("audit", "verify", "--head", head)
    assert (done.code, done.out) == (0, b"")
    assert done.err == f"strongroom: 2 records verified, the last is {head}\n"
    assert command("audit", "verify", "log.jsonl", "--key-file", "log.key").code == 0
    found = json.loads(command("audit", "verify", "--json").out)
    assert {name: found[name] for name in ("version", "ok", "records", "first", "last", "fault", "lost")} == {
        "version": 1,
        "ok": True,
        "records": 2,
        "first": 1,
        "last": 2,
        "fault": None,
        "lost": 0,
    }
    assert f"{found['last']}:{found['hash']}" == head
    assert json.loads(command("audit", "head", "--json").out) == {"version": 1, "seq": 2, "hash": found["hash"]}


def test_a_changed_log_ends_with_1(log, command):
    """And names the line."""
    log.write_text(log.read_text().replace("ticket 4711", "ticket 4712"))
    done = command("audit", "verify", "--json")
    found = json.loads(done.out)
    assert (done.code, found["ok"], found["records"], found["fault"]["line"]) == (1, False, 1, 2)
    assert found["fault"]["reason"] in done.err


def test_a_removed_end_needs_a_head(log, command):
    head = command("audit", "head").out.decode().strip()
    log.write_text(log.read_text().splitlines(keepends=True)[0])
    assert command("audit", "verify").code == 0
    done = command("audit", "verify", "--head", head)
    assert (done.code, "the end was removed" in done.err) == (1, True)


def test_an_unfinished_line_is_no_fault(log, command):
    with log.open("a") as stream:
        stream.write('{"seq":3,')
    done = command("audit", "verify")
    assert (done.code, "The last line has 9 bytes and no end" in done.err) == (0, True)
    command("get", "app#key")
    assert "interrupted in the middle of a line before record 3" in command("audit", "verify").err


def test_a_log_that_cannot_be_read_ends_with_7(log, command):
    assert command("audit", "verify", "missing.jsonl").code == 7
    assert command("audit", "head", "log.jsonl").code == 7  # without its key
    log.unlink()
    assert command("audit", "verify").code == 7


def test_migrations_and_copies_are_recorded(log, command):
    """They open stores past the manager."""
    log.unlink()
    assert command("migrate", "--from", "memory", "--to", "json:out.json", "--yes").code == 0
    assert command("copy", "app", "--from", "memory", "--to", "json:out.json", "--as", "twin").code == 0
    assert command("copy", "absent", "--from", "memory", "--to", "json:out.json").code == 3
    names = ("event", "action", "outcome", "path", "store")
    assert [tuple(map(json.loads(line).get, names)) for line in log.read_text().splitlines()] == [
        ("migration", "apply", "started", None, "json:out.json"),
        ("migration", "apply", "done", "app", "json:out.json"),
        ("migration", "verify", "started", None, "json:out.json"),
        ("migration", "verify", "done", "app", "json:out.json"),
        ("migration", "apply", "started", None, "json:out.json"),
        ("migration", "apply", "done", "twin", "json:out.json"),
    ]
    assert "canary" not in log.read_text()


@pytest.mark.usefixtures("log")
def test_the_settings_are_shown(command):
    shown = json.loads(command("config", "show", "--json").out)["settings"]
    assert shown["audit.file"]["value"] == str(Path.cwd() / "log.jsonl")
    assert shown["audit.file"]["origin"].endswith("[audit] file")
    assert shown["audit.on_failure"] == {"value": "fail", "origin": "the default"}


def test_without_a_log_there_is_a_hint(command):
    assert command("audit", "verify").err == (
        "strongroom: No audit log is configured: name a file, or set file in [audit]\n"
    )


@pytest.mark.parametrize("head", ["1", "x:y", "1:" + "A" * 64])
def test_a_head_is_checked(log, command, head):
    assert command("audit", "verify", "--head", head).code == 2


def test_a_reason_is_checked(command):
    assert command("--reason", "", "get", "app#key").code == 2


def test_a_command_fails_without_its_record(log, command):
    log.chmod(0o620)
    done = command("get", "app#key")
    assert (done.code, done.out) == (1, b"")
    assert "The audit log" in done.err


def test_a_log_of_an_untrusted_file_is_not_written(log, command, monkeypatch):
    monkeypatch.delenv("STRONGROOM_TRUSTED_PATHS", raising=False)
    size = log.stat().st_size
    done = command("get", "app#key")
    assert (done.code, "it names the audit log or its key" in done.err) == (7, True)
    assert log.stat().st_size == size
    assert Hasher(Path("log.key").read_bytes()).parse(log.read_bytes().splitlines()[0]) is not None
