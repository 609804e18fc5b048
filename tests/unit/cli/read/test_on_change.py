"""`run --on-change` and `export --watch`: the reactions to a change."""

import json
import os
import signal
import stat
import sys
import threading
from pathlib import Path

import click
import pytest

from strongroom import SecretsManager
from strongroom._chain.answer import Resolution
from strongroom._cli.process import child_process
from strongroom._cli.read.supervisor import Supervisor, read_action
from strongroom._cli.read.variable_changes import Reaction, Rows
from strongroom._config import SecretConfig
from strongroom.required_secrets import Requirement, RequirementState
from strongroom.store.memory import MemoryStore
from support.clock import LONG
from support.scenarios.commands import started
from support.scenarios.load import wait_until

CANARY = "canary-7f3a"
CONFIGURATION = """
chain = [{ store = "json", watch_interval = "50ms", on_missing_key = "fail" }]
stores.json.file = "secrets.json"

[secrets]
DB_PASSWORD = "database/connection#password"
DB_HOST = { at = "database/connection#host", required = false }
"""
SHOWS = """
import os, signal, sys
numbers = {signal.SIGTERM, signal.SIGHUP}
signal.pthread_sigmask(signal.SIG_BLOCK, numbers)  # a handler misses a signal that arrives just before `pause`
print("has", os.environ["DB_PASSWORD"], flush=True)
while True:
    number = signal.sigwait(numbers)
    print("got", signal.Signals(number).name, flush=True)
    if number == signal.SIGTERM:
        sys.exit(9)
"""
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('on', flush=True); signal.pause()"


def write(**data):
    """Replace the file of the store as another program does."""
    Path("secrets.new").write_text(json.dumps({"database/connection": data}), "utf-8")
    Path("secrets.new").replace("secrets.json")


@pytest.fixture(autouse=True)
def configuration():
    Path("strongroom.toml").write_text(CONFIGURATION, "utf-8")
    write(password=f"{CANARY}-1")


def wait_for(file, process):
    pause = threading.Event()
    while not file.exists() and process.poll() is None:
        pause.wait(0.02)


# --- run --------------------------------------------------------------------------------------------------------------


def test_a_command_is_restarted_with_the_new_values(script):
    """It is asked to end first. Its end is not the end of `run`, until it ends by itself or by a signal to `run`."""
    with started(script, "run", "--on-change", "restart", sys.executable, "-c", SHOWS) as process:
        assert process.stdout.readline() == f"has {CANARY}-1\n"
        for number in (2, 3):
            write(password=f"{CANARY}-{number}")
            assert process.stdout.readline() == "got SIGTERM\n"
            assert process.stdout.readline() == f"has {CANARY}-{number}\n"
        process.send_signal(signal.SIGHUP)
        assert process.stdout.readline() == "got SIGHUP\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == "got SIGTERM\n"
        assert process.wait(LONG) == 9
        said = process.stderr.read()
    assert said.count("DB_PASSWORD changed") == 2
    assert CANARY not in said


def test_a_signal_reaches_the_command_and_another_key_is_no_change(script):
    with started(script, "run", "--on-change", "signal:HUP", sys.executable, "-c", SHOWS) as process:
        assert process.stdout.readline() == f"has {CANARY}-1\n"
        write(password=f"{CANARY}-1", other="x")
        write(password=f"{CANARY}-2", other="x")
        assert process.stdout.readline() == "got SIGHUP\n"
        process.terminate()
        assert process.stdout.read() == "got SIGTERM\n"
        assert process.wait(LONG) == 9


def test_exit_ends_the_command_with_the_documented_code(script):
    with started(script, "run", "--on-change", "exit", sys.executable, "-c", SHOWS) as process:
        assert process.stdout.readline() == f"has {CANARY}-1\n"
        write(password=f"{CANARY}-2")
        assert process.stdout.read() == "got SIGTERM\n"
        assert process.wait(LONG) == 11


def test_a_command_that_ignores_sigterm_is_killed(script):
    arguments = ("run", "--on-change", "exit", "--stop-timeout", "200ms", sys.executable, "-c", STUBBORN)
    with started(script, *arguments) as process:
        assert process.stdout.readline() == "on\n"
        write(password=f"{CANARY}-2")
        assert process.wait(LONG) == 11
        assert "was killed" in process.stderr.read()


@pytest.mark.long
def test_a_command_that_was_killed_is_restarted_again_and_again(script):
    """The wait for the end of one process does not meet the start of the next."""
    arguments = ("run", "--on-change", "restart", "--stop-timeout", "100ms", sys.executable, "-c", STUBBORN)
    with started(script, *arguments) as process:
        assert process.stdout.readline() == "on\n"
        for number in (2, 3):
            write(password=f"{CANARY}-{number}")
            assert process.stdout.readline() == "on\n"


def test_the_exit_code_is_the_commands_where_nothing_changes(script):
    with started(script, "run", "--on-change", "restart", "sh", "-c", "exit 7") as process:
        assert process.wait(LONG) == 7
    with started(script, "run", "--on-change", "restart", "no-such-command") as process:
        assert process.wait(LONG) == 127


@pytest.mark.long
def test_a_command_keeps_running_while_a_required_value_is_missing(script):
    with started(script, "run", "--on-change", "restart", sys.executable, "-c", SHOWS) as process:
        assert process.stdout.readline() == f"has {CANARY}-1\n"
        write(host="h")
        kept = f"strongroom: {sys.executable} keeps running with the old values: DB_PASSWORD did not resolve\n"
        assert process.stderr.readline() == kept
        write(password=f"{CANARY}-2", host="h")
        assert process.stdout.readline() == "got SIGTERM\n"
        assert process.stdout.readline() == f"has {CANARY}-2\n"
        assert process.stderr.readline().endswith("DB_PASSWORD, DB_HOST changed\n")


@pytest.mark.parametrize(
    ("text", "action"),
    [
        (None, None),
        ("restart", "restart"),
        ("exit", "exit"),
        ("signal:HUP", signal.SIGHUP),
        ("signal:sigusr1", signal.SIGUSR1),
    ],
)
def test_an_action_is_read(text, action):
    assert read_action(None, None, text) == action


@pytest.mark.parametrize("text", ["", "reload", "signal", "signal:", "signal:NONE", "signal:1"])
def test_another_action_is_refused(text):
    with pytest.raises(click.BadParameter):
        read_action(None, None, text)


def test_a_lease_that_ends_with_a_new_value_counts_as_a_change():
    """The store can renew a credential for some time only."""
    first, second = (
        Resolution(
            "db",
            "user",
            f"{CANARY}-{number}",
            "db",
            version=None,
            age=0.0,
            cached=False,
            stale=False,
            attempts=(),
            ttl=0.0,
        )
        for number in (1, 2)
    )
    reads = []

    def read(path, key):
        reads.append(path)
        return first if len(reads) < 4 else second

    row = Requirement("DB_USER", SecretConfig("db", "user"), RequirementState.FOUND, first)
    with SecretsManager(chain=[MemoryStore()]) as secrets:
        supervisor = Supervisor(
            ["sleep", str(LONG)],
            "exit",
            stop_timeout=LONG,
            rows=Rows([row], secrets, read),
            environment=lambda _: dict(os.environb),
        )
        assert supervisor.run() == 11


# --- the child --------------------------------------------------------------------------------------------------------


ENDS_WHEN_READ = """
on_term() {
  trap "" TERM  # a second one would interrupt the opening of a FIFO
  echo > asked; echo > ending; exit 5
}
trap on_term TERM; echo > ready
while :; do sleep 0.01; done
"""


@pytest.mark.parametrize("restarts_already", [False, True])
def test_a_command_that_was_asked_to_end_is_not_started_again(restarts_already):
    """Neither just after the signal nor if the signal comes while the command reacts to the restart."""
    for name in ("ready", "asked", "ending"):
        os.mkfifo(name)
    child = child_process.Child(["sh", "-c", ENDS_WHEN_READ])
    results = []

    def restart():
        results.append(child.end(LONG, {b"A": b"new"}))

    def end():
        Path("ready").read_bytes()
        restarting = threading.Thread(target=restart, daemon=True)
        if restarts_already:
            restarting.start()
            Path("asked").read_bytes()
        os.kill(os.getpid(), signal.SIGTERM)
        wait_until(lambda: child.asked_to_end)
        if not restarts_already:
            Path("asked").read_bytes()
            restarting.start()
            restarting.join()
        Path("ending").read_bytes()
        restarting.join()

    thread = threading.Thread(target=end, daemon=True)
    thread.start()
    assert child.run(dict(os.environb)) == 5
    thread.join()
    assert results == [restarts_already]


def test_a_child_that_has_ended_is_not_started_again():
    child = child_process.Child(["true"])
    assert not child.end(1.0, {})
    assert child.run(dict(os.environb)) == 0
    assert not child.end(1.0, {})


# --- reactions --------------------------------------------------------------------------------------------------------


def test_changes_within_a_moment_are_one_reaction():
    calls, done = [], threading.Event()

    def react():
        calls.append(1)
        done.set()
        return True

    reaction = Reaction(react, quiet=0.2)
    for _ in range(5):
        reaction.trigger()
    reaction.start()
    assert done.wait(LONG)
    done.clear()
    reaction.trigger()
    assert done.wait(LONG)
    reaction.stop()
    assert len(calls) == 2
    assert "strongroom reaction" not in {thread.name for thread in threading.enumerate()}


def test_a_reaction_that_fails_is_repeated():
    answers, done = [False, False, True], threading.Event()

    def react():
        answer = answers.pop(0)
        if answer:
            done.set()
        return answer

    reaction = Reaction(react, quiet=0.0, retry=0.01)
    reaction.start()
    reaction.trigger()
    assert done.wait(LONG)
    reaction.stop()
    assert answers == []


def test_without_a_change_there_is_no_reaction():
    reaction = Reaction(lambda: pytest.fail("it was called"), quiet=0.0)
    reaction.start()
    reaction.stop()
    assert "strongroom reaction" not in {thread.name for thread in threading.enumerate()}


# --- export -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["dotenv", "json", "shell"])
def test_a_file_is_private_and_holds_what_stdout_would(command, kind):
    printed = command("export", "--format", kind)
    done = command("export", "--format", kind, "--output", "out")
    assert (done.code, done.out, done.err) == (0, b"", "")
    assert Path("out").read_bytes() == printed.out
    assert stat.S_IMODE(Path("out").stat().st_mode) == 0o600


@pytest.mark.long
def test_a_file_is_written_again_when_a_value_changes(script):
    """As a whole: a reader of the old file keeps it. A missing value leaves the file as it is."""
    file = Path("out.env")
    with started(script, "export", "--format", "dotenv", "--output", str(file), "--watch") as process:
        wait_for(file, process)
        with file.open(encoding="utf-8") as old:
            write(password=f"{CANARY}-2")
            assert process.stderr.readline() == "strongroom: Wrote out.env again: DB_PASSWORD changed\n"
            assert file.read_text("utf-8") == f"DB_PASSWORD={CANARY}-2\n"
            assert old.read() == f"DB_PASSWORD={CANARY}-1\n"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        write(host="h")
        assert process.stderr.readline() == "strongroom: out.env keeps the old values: DB_PASSWORD did not resolve\n"
        assert CANARY in file.read_text("utf-8")
        write(password=f"{CANARY}-3")
        assert process.stderr.readline() == "strongroom: Wrote out.env again: DB_PASSWORD changed\n"
        process.terminate()
        assert process.wait(LONG) == 0
        assert CANARY not in process.stderr.read()


def test_ctrl_c_ends_an_export_as_interrupted(script):
    with started(script, "export", "--format", "json", "--output", "out", "--watch") as process:
        wait_for(Path("out"), process)
        write(password=f"{CANARY}-2")
        # The message comes from the watch, so the signal handlers are there.
        assert process.stderr.readline() == "strongroom: Wrote out again: DB_PASSWORD changed\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(LONG) == 130


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (("--format", "json", "--watch"), "--watch needs --output FILE"),
        (("--format", "github", "--output", "out"), "github writes $GITHUB_ENV"),
    ],
)
def test_options_that_do_not_go_together_are_refused(command, arguments, fault):
    done = command("export", *arguments)
    assert done.code == 2
    assert fault in done.err


def test_a_file_that_cannot_be_written_is_named(command):
    done = command("export", "--format", "json", "--output", "no/such/folder")
    assert (done.code, done.err) == (7, "strongroom: Cannot write no/such/folder: No such file or directory\n")
    Path("link").symlink_to("target")
    done = command("export", "--format", "json", "--output", "link")
    assert (done.code, done.err) == (7, "strongroom: Cannot write link: it is a symbolic link\n")
