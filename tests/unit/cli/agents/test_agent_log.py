"""`strongroom agent log`: lines for people and for programs."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections import Counter
from types import SimpleNamespace

import pytest

from strongroom._cli.agents import agent_log
from strongroom._cli.exit_codes import ExitCode
from strongroom.agents import session_log
from strongroom.agents.session_log import SessionLog
from strongroom.events import Event, EventKind, Use, emit

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs the locks of POSIX")


@pytest.fixture(autouse=True)
def state(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


def started(command="claude"):
    return SessionLog(command, ["openai"], None, lambda _: None)


def request(host="api.example.com", reason="", rule="openai"):
    outcome = "refused" if reason else "200"
    emit(Event(EventKind.USE, "", outcome=outcome, use=Use(rule, host, "POST", "/v1/chat", 200, reason)))


def test_lines_for_people_and_the_exact_lines_as_json(command):
    with started() as log:
        log.connected("pypi.org:443", unread=True)
        request()
        request(reason="The rule openai allows GET, not POST")
        done = command("agent", "log")
    head, *others = done.out.decode().splitlines()
    assert head.endswith(f" UTC  session {log.name}: claude, pid {os.getpid()}")
    assert [line.partition("  ")[2] for line in others] == [
        "connects to pypi.org:443, which no rule names",
        "200  openai  POST api.example.com/v1/chat",
        "200  openai  POST api.example.com/v1/chat: The rule openai allows GET, not POST",
    ]
    events = [json.loads(line)["event"] for line in command("agent", "log", "--json", log.name).out.splitlines()]
    assert events == ["session", "destination", "use", "refusal"]


def test_text_of_a_hostile_worker_is_escaped(command):
    with started() as log:
        request("evil\x1b[2J\n12-01 00:00:00  200\u202e", reason="No rule names \x1b]0;x\x07", rule="")
        log.connected("a\rb:443", unread=True)
        shown = command("agent", "log").out.decode()
        exact = command("agent", "log", "--json").out
    assert len(shown.splitlines()) == 3
    assert all(character.isprintable() or character == "\n" for character in shown)
    assert "evil\\x1b[2J 12-01" in shown
    assert exact.isascii()
    assert b"\x1b" not in exact


def test_a_log_is_followed_to_the_end_of_its_session(command, monkeypatch):
    waited = threading.Event()
    monkeypatch.setattr(agent_log.time, "sleep", lambda _: waited.set())
    log = started().__enter__()

    def go_on() -> None:
        waited.wait(30)
        request("late.example.com")
        log.__exit__()

    thread = threading.Thread(target=go_on)
    thread.start()
    done = command("agent", "log", "--follow")
    thread.join()
    assert done.code == 0
    assert "late.example.com" in done.out.decode()


def test_an_unknown_session_and_none_at_all(command):
    none = command("agent", "log")
    with started() as log:
        pass
    unknown = command("agent", "log", "x\x1b")
    assert (none.code, unknown.code) == (7, 7)
    assert "Start one with strongroom agent run" in none.err
    assert log.name in unknown.err
    assert "\x1b" not in unknown.err


def test_the_summary_has_uses_by_rule_and_the_most_frequent_refusals():
    reasons = Counter({f"reason {number}": number for number in range(1, 8)})
    log = SimpleNamespace(uses=Counter(openai=1200, github=2), reasons=reasons, name="N", size=1)
    first, *others = agent_log.summary(log)
    assert first == "Uses by rule: openai 1,200, github 2. Refusals: 28. See strongroom agent log N"
    assert others[0] == "7 refusals: reason 7"
    assert others[-1] == "3 refusals: other reasons"
    assert len(others) == 6
    log.size = 0
    assert next(agent_log.summary(log)) == "Uses by rule: openai 1,200, github 2. Refusals: 28."


def test_a_damaged_first_line_does_not_hide_the_others(command, state):
    with started():
        request()
    (file,) = (state / "strongroom" / "agents").iterdir()
    file.write_bytes(b"x" + file.read_bytes()[1:])
    done = command("agent", "log")
    assert (done.code, done.out.count(b"api.example.com"), done.out.count(b"\n")) == (ExitCode.PARTIAL, 1, 1)
    assert done.err == "strongroom: 1 line of the log not shown: damaged, or not of Strongroom\n"


def test_a_line_that_was_cut_counts_as_damaged_once_the_session_is_over(command, state):
    with started():
        request()
        (file,) = (state / "strongroom" / "agents").iterdir()
        whole = file.read_bytes()
        file.write_bytes(whole[:-5])
        assert command("agent", "log").code == ExitCode.DONE
    done = command("agent", "log")
    assert (done.code, done.out.count(b"\n")) == (ExitCode.PARTIAL, 1)
    assert done.err == "strongroom: 1 line of the log not shown: damaged, or not of Strongroom\n"


def test_a_damaged_line_is_counted_and_the_others_are_shown(command, state):
    with started() as log:
        request()
        (file,) = state.rglob(f"{log.name}.jsonl")
        with file.open("a") as stream:
            stream.write('{"time":"2026-01-02T03:04:05Z","event":"other"}\n')
        request(reason="No")
        done = command("agent", "log")
    assert done.code == ExitCode.PARTIAL
    assert [line.partition("  ")[2][:3] for line in done.out.decode().splitlines()[1:]] == ["200", "200"]
    assert done.err == "strongroom: 1 line of the log not shown: damaged, or not of Strongroom\n"


def test_a_full_log_says_so(command, monkeypatch):
    monkeypatch.setattr(session_log, "_MAX_SIZE", 600)
    with started():
        for _ in range(9):
            request()
        done = command("agent", "log")
    assert done.code == ExitCode.DONE
    assert done.out.decode().endswith("  the log is full: the rest of the session is missing\n")
