"""The log of a session: its lines, its lock, its bounds, and its faults, which never reach a request."""

from __future__ import annotations

import errno
import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from strongroom.agents import session_log
from strongroom.agents.session_log import RecordedSession, SessionLog, recorded_sessions
from strongroom.errors import ConfigurationError
from strongroom.events import Event, EventKind, Use, emit

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs the locks of POSIX")


@pytest.fixture
def folder(monkeypatch, tmp_path) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path / "strongroom" / "agents"


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def log(folder, told):
    """Makes the log of a session."""

    def make(command="claude", end=None) -> SessionLog:
        return SessionLog(command, ["openai"], end, told.append)

    return make


def use(reason="", status=200, rule="openai", path="/v1/chat"):
    outcome = "refused" if reason else str(status)
    about = Use(rule, "api.example.com", "POST", path, status, reason)
    return Event(EventKind.USE, "", "api-keys/openai", seconds=0.12345, outcome=outcome, key="key", use=about)


def lines(folder):
    (file,) = folder.iterdir()
    return [
        {name: text for name, text in json.loads(line).items() if name != "time"}
        for line in file.read_text().splitlines()
    ]


def test_uses_refusals_and_destinations_are_lines_without_the_path_of_a_secret(log, folder):
    with log(end=datetime(2030, 1, 2, 3, 4, tzinfo=UTC)) as made:
        made.connected("api.example.com:443", unread=False)
        emit(use())
        emit(use("The rule openai allows GET, not POST", 403))
        emit(Event(EventKind.READ, "vault", "api-keys/openai"))
    head, *others = lines(folder)
    about = {"event": "session", "format": "strongroom-agent-session", "version": 1, "session": made.name}
    rest = {"pid": os.getpid(), "command": "claude", "rules": ["openai"], "end": "2030-01-02T03:04:00.000Z"}
    assert head == about | rest
    common = {"rule": "openai", "host": "api.example.com", "method": "POST", "path": "/v1/chat"}
    assert others == [
        {"event": "destination", "destination": "api.example.com:443", "unread": False},
        {"event": "use", **common, "status": 200, "seconds": 0.123},
        {
            "event": "refusal",
            **common,
            "status": 403,
            "reason": "The rule openai allows GET, not POST",
            "seconds": 0.123,
        },
    ]
    assert (made.uses, made.reasons) == ({"openai": 1}, {"The rule openai allows GET, not POST": 1})
    assert [path.stat().st_mode & 0o777 for path in (folder, *folder.iterdir())] == [0o700, 0o600]
    emit(use())
    assert len(lines(folder)) == 4


def test_a_session_runs_as_long_as_its_block(log, folder):
    with log() as made:
        (found,) = recorded_sessions()
        assert found.is_running
        assert RecordedSession(folder / f"{made.name}.jsonl").is_running, "a look does not disturb another"
        found.read()
        emit(use())
        emit(use("No", 403))
        assert [fields["event"] for _, fields in found.read()] == ["use", "refusal"]
        assert (found.about["command"], found.uses, found.refusals) == ("claude", {"openai": 1}, 1)
        assert found.read() == []
    assert not found.is_running


def test_only_logs_of_ended_sessions_are_removed(log, folder, monkeypatch):
    monkeypatch.setattr(session_log, "_KEPT", 2)
    with log() as running:
        for name in ("20260101", "20260102", "20990101", "20990102"):
            (folder / f"{name}T000000-abcd.jsonl").write_text("{}")
        with log() as other:
            kept = {file.stem for file in folder.iterdir()}
    assert kept == {running.name, other.name, "20990101T000000-abcd", "20990102T000000-abcd"}


@pytest.mark.parametrize("fault", ["a file", "open to others"])
def test_a_folder_that_cannot_be_used_is_told_once_and_uses_are_counted(log, folder, told, fault):
    folder.parent.mkdir(mode=0o700)
    if fault == "a file":
        folder.write_text("")
    else:
        folder.mkdir()
        folder.chmod(0o755)
    with log() as made:
        emit(use())
        emit(use())
    assert made.uses == {"openai": 2}
    (line,) = told
    assert line.startswith("The log of this session cannot be written: ")


def test_a_full_disk_is_told_once(log, told, monkeypatch):
    with log() as made:

        def full(*_: object) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(os, "write", full)
        emit(use())
        monkeypatch.undo()
        emit(use())
    assert made.uses == {"openai": 2}
    assert told == [
        "The log of this session cannot be written: No space left on device. The worker is served without it"
    ]


def test_a_log_and_its_counts_have_bounds(log, folder, told, monkeypatch):
    """A hostile worker chooses hosts, and makes as many requests as it likes."""
    monkeypatch.setattr(session_log, "_MAX_SIZE", 5000)
    monkeypatch.setattr(session_log, "_MOST_KEPT", 10)
    with log() as made:
        for number in range(50):
            emit(use(f"No rule names host{number}", 403))
    assert sum(file.stat().st_size for file in folder.iterdir()) <= 5100
    assert lines(folder)[-1] == {"event": "full"}, "a reader must not take the last request for the end"
    assert sum("it is full" in line for line in told) == 1
    assert (len(made.reasons), made.reasons.total()) == (11, 50)


def test_a_later_format_is_refused_by_its_version(folder):
    folder.mkdir(parents=True)
    (folder / "a.jsonl").write_text('{"version":2,"unknown":1}\n')
    (later,) = recorded_sessions()
    with pytest.raises(ConfigurationError, match="its format is version 2"):
        later.read()


FOREIGN = [
    b"x",
    b"[]",
    b"[" * 100_000,
    b"\xff",
    b'{"time":"2026-01-02T03:04:05Z"}',
    b'{"time":"2026-01-02T03:04:05Z","event":"other"}',
    b'{"time":"2026-01-02T03:04:05Z","event":["use"]}',
    b'{"time":"2026-01-02T03:04:05Z","event":"use"}',
    b'{"time":"2026-01-02T03:04:05Z","event":"use","rule":["x"],"status":200}',
    b'{"time":"2026-01-02T03:04:05Z","event":"use","rule":"x","status":200,"path":1}',
    b'{"time":"2026-01-02T03:04:05","event":"full"}',
    b'{"time":1,"event":"full"}',
    b'{"time":"2026-01-02T03:04:05Z","event":"session","session":"x","command":"y","pid":1,"version":1}',
]


@pytest.mark.parametrize("line", FOREIGN, ids=range(len(FOREIGN)))
def test_a_line_that_is_not_of_a_log_does_not_hide_the_others(log, folder, line):
    """A worker that runs as its operator can write one."""
    with log():
        emit(use())
        with next(folder.iterdir()).open("ab") as stream:
            stream.write(line + b"\n")
        emit(use("No", 403))
        (found,) = recorded_sessions()
        assert [fields["event"] for _, fields in found.read()] == ["session", "use", "refusal"]
    assert (found.damaged, found.uses, found.refusals) == (1, {"openai": 1}, 1)


def test_a_line_that_is_being_written_is_read_once_it_is_whole(log, folder):
    with log():
        (found,) = recorded_sessions()
        found.read()
        (file,) = folder.iterdir()
        with file.open("a") as stream:
            stream.write('{"event":"destination","destination":"a:443","unread":true,')
            stream.flush()
            assert found.read() == []
            stream.write('"time":"2026-01-02T03:04:05.000Z"}\n')
        ((_, fields),) = found.read()
    assert fields["event"] == "destination"


def test_the_first_refusals_are_told_and_no_destination_is_forgotten(log, folder, told, monkeypatch):
    """A hostile worker makes up as many hosts as it likes, and must not hide one behind them."""
    with log() as made:
        for number in (0, 0, *range(30)):
            use = Use("", f"10.0.0.{number}", "CONNECT", "", 403, f"10.0.0.{number} is not public")
            emit(Event(EventKind.USE, "", outcome="refused", use=use))
        monkeypatch.setattr(session_log, "_MOST_KEPT", 2)
        assert [made.connected(name, unread=True) for name in "aababc"] == [True, False, True, False, False, True]
    *first, last = told
    assert first == [f"Refused 10.0.0.{number} to the worker: 10.0.0.{number} is not public" for number in range(20)]
    assert last == "Refused more to the worker, for reasons that are not shown here"
    assert [line["destination"] for line in lines(folder) if line["event"] == "destination"] == ["a", "b", "c"]


def test_each_reason_is_told_once(log, told):
    """A second reason for the same host is news; the same reason for each request is not."""
    with log():
        for reason in ("Not POST", "Not /v1/*", "Not POST"):
            emit(use(reason, 403))
    assert told == [f"Refused api.example.com to the worker: Not {what}" for what in ("POST", "/v1/*")]
