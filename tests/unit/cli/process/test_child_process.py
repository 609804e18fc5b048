"""A command as a child: its signals, its exit code, its terminal, and the secrets that are kept for it."""

import os
import shlex
import signal
import subprocess
import sys
import threading
from dataclasses import replace

import pexpect
import pytest

from strongroom._chain.answer import Resolution
from strongroom._cli.process import child_process
from strongroom._cli.read.variable_changes import advise_restart, leased, renewal
from strongroom._config import SecretConfig
from strongroom.errors import StoreUnavailableError
from strongroom.required_secrets import Requirement, RequirementState
from support.clock import LONG

PARENT = """
import os, sys
from strongroom._cli.process import child_process
sys.exit(child_process.Child(sys.argv[1:]).run(dict(os.environb)))
"""
LISTENS = """
import signal
numbers = {signal.Signals[f"SIG{name}"] for name in ("HUP", "INT", "QUIT", "TERM", "USR1", "USR2", "CONT")}
signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
print("ready", flush=True)
while (number := signal.sigwait(numbers)) != signal.SIGCONT:
    print(number.name.removeprefix("SIG"), flush=True)
print("last")
raise SystemExit(3)
"""
IGNORED = "grep SigIgn /proc/self/status | cut -f 2"


def as_child(*command):
    """The arguments of a process that runs the command as its child."""
    return [sys.executable, "-c", PARENT, *command]


@pytest.mark.parametrize(
    ("script", "code"), [("exit 0", 0), ("exit 7", 7), ("kill -TERM $$", 143), ("kill -KILL $$", 137)]
)
def test_the_exit_code_is_the_commands(script, code):
    """As a shell has it, where a signal ended it."""
    assert child_process.Child(["sh", "-c", script]).run(dict(os.environb)) == code


def test_what_cannot_be_run_is_said_as_execvp_says_it():
    """Which is what the other way of running a command raises."""
    before = {number: signal.getsignal(number) for number in signal.valid_signals()}
    for command, error in (("no-such-command", FileNotFoundError), ("/", PermissionError)):
        with pytest.raises(error):
            child_process.Child([command]).run(dict(os.environb))
    assert {number: signal.getsignal(number) for number in signal.valid_signals()} == before


def test_the_command_is_found_on_its_own_path(tmp_path):
    """As `execvpe` finds it: PATH may be one of the variables."""
    program = tmp_path / "its-own"
    program.write_text("#!/bin/sh\nexit 9\n", "utf-8")
    program.chmod(0o755)
    assert child_process.Child(["its-own"]).run({b"PATH": os.fsencode(tmp_path)}) == 9


def test_signals_go_on_to_the_command():
    """Each of them, once; and the last one's answer is the exit code."""
    with subprocess.Popen(
        as_child(sys.executable, "-c", LISTENS), stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            assert process.stdout.readline() == "ready\n"
            for name in ("HUP", "INT", "QUIT", "TERM", "USR1", "USR2"):
                process.send_signal(signal.Signals[f"SIG{name}"])
                assert process.stdout.readline() == f"{name}\n"
            process.send_signal(signal.SIGCONT)
            assert process.stdout.read() == "last\n"
            assert process.wait(LONG) == 3
        finally:
            process.kill()


def test_a_signal_that_comes_before_the_command_starts_is_passed_on():
    """It arrives while the command is being started."""
    child = child_process.Child(["sleep", "60"])
    with child_process.signal_forwarding(child):
        os.kill(os.getpid(), signal.SIGTERM)
        assert child.run(dict(os.environb)) == 128 + signal.SIGTERM


def test_what_was_ignored_is_ignored_by_the_command_and_nothing_else():
    """As under `nohup`. Python ignores SIGPIPE and SIGXFSZ, and its child does not."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        done = subprocess.run(as_child("sh", "-c", IGNORED), capture_output=True, text=True, check=True, timeout=60)
    finally:
        signal.signal(signal.SIGHUP, before)
    ignored = int(done.stdout, 16)
    assert ignored & 1 << signal.SIGHUP - 1
    assert not ignored & (1 << signal.SIGPIPE - 1 | 1 << signal.SIGXFSZ - 1)


COUNTS = """if True:
    import signal, time
    caught = []
    signal.signal(signal.SIGINT, lambda *_: caught.append(1))
    print("started")
    while not caught:
        time.sleep(0.01)
    print("interrupted")
    while (line := input()) != "end":
        print("typed", line, "caught", len(caught))
"""


def test_on_a_terminal_the_command_has_the_keyboard_and_ctrl_c_once():
    """The terminal has sent it to the command as well as to its parent."""
    screen = pexpect.spawn(sys.executable, as_child(sys.executable, "-c", COUNTS)[1:], timeout=60, encoding="utf-8")
    screen.expect_exact("started")
    screen.sendintr()
    screen.expect_exact("interrupted")
    screen.sendline("something")
    screen.expect_exact("typed something caught 1")
    screen.sendline("end")
    screen.expect(pexpect.EOF)
    screen.close()
    assert screen.exitstatus == 0


@pytest.mark.parametrize(("foreground", "passed"), [(True, []), (False, [signal.SIGINT, signal.SIGQUIT])])
def test_what_the_terminal_sends_to_all_is_not_passed_on(monkeypatch, foreground, passed):
    """The command has it already. Without a terminal, or behind one, it comes from somebody who knows us alone."""
    monkeypatch.setattr(child_process, "is_in_foreground", lambda: foreground)
    child, got = child_process.Child(["true"]), []
    child.signal = got.append
    with child_process.signal_forwarding(child):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGQUIT)
        signal.raise_signal(signal.SIGTERM)
    assert got == [*passed, signal.SIGTERM]


def test_who_is_in_the_foreground_of_a_terminal():
    """A process on one is; one without any is not."""
    asks = [
        sys.executable,
        "-c",
        "from strongroom._cli.process import child_process; print(child_process.is_in_foreground())",
    ]
    assert pexpect.run(shlex.join(asks), timeout=60).strip() == b"True"
    alone = subprocess.run(asks, capture_output=True, check=True, start_new_session=True, timeout=60)
    assert alone.stdout.strip() == b"False"


def test_ctrl_z_gives_the_terminal_back_and_fg_goes_on():
    """The shell is told that its job stopped, since the parent stops with the command."""
    shell = pexpect.spawn("bash", ["--norc", "--noprofile", "-i"], timeout=60, encoding="utf-8", echo=False)
    words = " ".join(f"'{word}'" for word in as_child("cat"))
    shell.sendline(f"PS1='prompt% '; {words}")
    shell.sendline("hello")
    shell.expect_exact("hello")
    shell.sendcontrol("z")
    shell.expect_exact("Stopped")
    shell.sendline("echo $((40 + 2)) back")
    shell.expect_exact("42 back")
    shell.sendline("fg")
    shell.sendline("again")
    shell.expect_exact("again")
    shell.sendeof()
    shell.sendline("echo code $?")
    shell.expect_exact("code 0")
    shell.sendline("exit")
    shell.expect(pexpect.EOF)
    shell.close()


# --- what is kept -----------------------------------------------------------------------------------------------------


def found(value: str = "canary-1", ttl: float | None = 0.0) -> Resolution:
    about = {"version": None, "age": 0.0, "cached": False, "stale": False, "attempts": (), "ttl": ttl}
    return Resolution("database/app", "password", value, "db", **about)


FOUND = found()
ROW = Requirement("DB_PASSWORD", SecretConfig("database/app", "password"), RequirementState.FOUND, FOUND)
LASTING = replace(ROW, variable="API_KEY", resolution=found(ttl=None))


class Store:
    """Answers with what it is told, an error too, and lets a test wait for the next question."""

    def __init__(self, *answers):
        self._answers = list(answers)
        self.asked = threading.Semaphore(0)

    def __call__(self, path, key):
        assert (path, key) == ("database/app", "password")
        answer = self._answers.pop(0)
        self.asked.release()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def was_asked(self, times):
        return all(self.asked.acquire(timeout=LONG) for _ in range(times)) and not self._answers


@pytest.fixture
def keeper():
    """Return a function that returns the thread that asks, and none of another test."""
    older = set(threading.enumerate())
    return lambda: next(thread for thread in set(threading.enumerate()) - older if thread.name == "strongroom-renewal")


def test_what_does_not_end_is_not_kept():
    """The command takes the place of the process then."""
    absent = replace(ROW, state=RequirementState.ABSENT, resolution=None)
    assert leased([LASTING, ROW, absent]) == [ROW]


def test_what_ends_is_asked_for_again_and_a_new_value_is_said_once(capsys, keeper):
    """After a failure too; from then on there is nothing to keep."""
    changed = found("canary-2")
    store = Store(FOUND, StoreUnavailableError(), FOUND, changed)
    with renewal([ROW], store, advise_restart("gunicorn")):
        thread = keeper()
        assert store.was_asked(4)
        thread.join(LONG)
    said = capsys.readouterr().err
    assert said.count("DB_PASSWORD has a new value") == 1
    assert "restart gunicorn" in said
    assert "canary" not in said


def test_a_part_of_a_leased_document_is_compared_and_not_the_document(capsys, keeper):
    part = replace(ROW, secret=ROW.secret._replace(extract="/password"), resolution=found("canary-1"))
    store = Store(found('{"password": "canary-1", "n": 1}'), found('{"password": "canary-2"}'))
    with renewal([part], store, advise_restart("gunicorn")):
        thread = keeper()
        assert store.was_asked(2)
        thread.join(LONG)
    assert capsys.readouterr().err.count("DB_PASSWORD has a new value") == 1


def test_nothing_is_asked_when_the_command_has_ended(keeper):
    """Its store is closed."""
    store = Store()
    later = replace(ROW, resolution=found(ttl=3600.0))
    with renewal([later], store, print):
        thread = keeper()
    thread.join(LONG)
    assert not thread.is_alive()
