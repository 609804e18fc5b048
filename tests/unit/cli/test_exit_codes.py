"""The exit code of every failure, and what a failure looks like."""

import contextlib
import inspect
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from strongroom import errors
from strongroom._cli import app
from strongroom._cli.exit_codes import CODES, ExitCode, code_of
from strongroom._cli.main import main
from strongroom._cli.options import Invocation
from strongroom.errors import StoreError, StoreUnavailableError, StrongroomError
from support.representatives import some

EXPECTED = {
    errors.StrongroomError: 1,
    errors.AuditError: 1,
    errors.StoreError: 1,
    errors.SecretNotFoundError: 3,
    errors.MissingKeyError: 3,
    errors.AuthenticationError: 4,
    errors.PermissionDeniedError: 4,
    errors.StoreUnavailableError: 5,
    errors.WriteOutcomeUnknownError: 5,
    errors.ConflictError: 6,
    errors.InvalidPathError: 6,
    errors.InvalidDataError: 6,
    errors.SecretTooLargeError: 6,
    errors.UnsupportedOperationError: 6,
    errors.ConfigurationError: 7,
    errors.MissingFileError: 7,
    errors.NewerFormatError: 7,
    errors.PluginError: 7,
    errors.MigrationError: 8,
    errors.RotationError: 1,
    errors.UnfinishedRotationError: 8,
    errors.DecryptionError: 6,
    errors.UnknownKeyError: 6,
    errors.AlteredTextError: 6,
    errors.PlainTextError: 6,
}


class BackendsOwnError(StoreUnavailableError):
    """As `strongroom_vault.VaultConnectionError` is."""


def failing(monkeypatch, error: BaseException) -> None:
    """Every command fails like this."""

    def fail(_: Invocation) -> None:
        raise error

    monkeypatch.setattr(Invocation, "load", fail)


def test_every_error_class_of_the_tree_is_expected_here():
    """A class that is added must be given a code on purpose."""
    tree = {kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, StrongroomError)}
    assert tree == EXPECTED.keys()
    assert CODES.keys() <= tree


@pytest.mark.parametrize(("kind", "code"), EXPECTED.items(), ids=lambda value: getattr(value, "__name__", str(value)))
def test_an_error_is_one_line_and_its_code(command, monkeypatch, kind, code):
    """On stderr, after the program's name, with nothing on stdout."""
    error = kind("a/b", "the reason") if issubclass(kind, StoreError) else kind("what is\nwrong")
    failing(monkeypatch, error)
    done = command("get", "a/b")
    assert done == (code, b"", f"strongroom: {str(error).replace(chr(10), ' ')}\n")


def test_a_message_does_nothing_to_a_terminal(command, monkeypatch):
    """Whoever wrote what is in it."""
    failing(monkeypatch, StrongroomError("a \x1b[2Jclean screen\r\nand a bell\a"))
    assert command("get", "a/b").err == "strongroom: a \\x1b[2Jclean screen and a bell\\x07\n"


def test_a_backends_own_error_has_the_code_of_its_parent():
    """The table need not know it."""
    assert code_of(BackendsOwnError("a")) is ExitCode.UNAVAILABLE


def test_a_bug_is_one_line_without_its_message(command, monkeypatch):
    """The message of an error that nobody foresaw may hold anything, a value too."""
    failing(monkeypatch, KeyError("canary-7f3a"))
    done = command("get", "a/b")
    assert (done.code, done.out) == (1, b"")
    assert done.err == "strongroom: Unexpected failure: KeyError. Run strongroom --verbose to see where\n"


def test_verbose_says_where_and_shows_no_source_line_or_local(command, monkeypatch):
    """A frame is a file, a line and a function."""
    failing(monkeypatch, KeyError("canary-7f3a"))
    done = command("--verbose", "get", "a/b")
    assert done.code == 1
    assert f"at {__file__}:" in done.err
    assert "in fail" in done.err
    assert "canary-7f3a" not in done.err
    assert "raise error" not in done.err


@pytest.mark.parametrize(
    "arguments",
    [("sett", "a"), ("--nonsense",), ("get",), ("get", "a", "b", "c"), ("get", "a", "--nonsense"), ("stores", "none")],
)
def test_a_wrong_command_line_is_one_line(command, arguments):
    """It says where the help is."""
    done = command(*arguments)
    assert (done.code, done.out) == (2, b"")
    assert done.err.count("\n") == 1
    assert "--help'" in done.err


@pytest.mark.parametrize(
    ("arguments", "said", "helped"),
    [
        (("lst",), "No such command 'lst'. (Did you mean one of: 'list', 'set'?)", ""),
        (("xyzzy",), "No such command 'xyzzy'.", ""),
        (("get", "a", "--jsn"), "No such option '--jsn'. Did you mean '--json'?", " get"),
        (
            ("get", "a", "--environment", "prod"),
            "--environment goes before the command: strongroom --environment NAME get …",
            " get",
        ),
        (
            ("config", "show", "--verbose"),
            "--verbose goes before the command: strongroom --verbose config show …",
            " config show",
        ),
        (
            ("set", "a", "b", "--config=canary-7f3a"),
            "--config goes before the command: strongroom --config FILE set …",
            " set",
        ),
        (("set", "a", "b", "--store"), "Option '--store' requires an argument.", " set"),
        (("get", "a", "--json=x"), "Option '--json' does not take a value.", " get"),
        (("mapping", "export", "--env-file"), "Option '--env-file' requires an argument.", " mapping"),
        (("--config",), "Option '--config' requires an argument.", ""),
        (("--json", "get", "a"), "--json goes after the command: strongroom COMMAND --json …", ""),
        (("--store=canary-7f3a", "set"), "--store goes after the command: strongroom COMMAND --store …", ""),
        (
            ("config", "--json", "show"),
            "--json goes after the command: strongroom config COMMAND --json …",
            " config",
        ),
        (("--no-colour",), "No such option '--no-colour'. Did you mean '--no-color'?", ""),
        (("export",), "Missing option '--format'. Choose from: dotenv, json, github, shell.", " export"),
    ],
)
def test_a_wrong_command_line_says_what_to_type(command, arguments, said, helped):
    """The nearest name, the place of an option, the choices: on one line."""
    assert command(*arguments) == (2, b"", f"strongroom: {said} Try 'strongroom{helped} --help'\n")


def test_a_group_without_the_name_of_a_command_is_a_usage_error_with_its_help(command):
    """As `strongroom` alone is: many lines, and none on stdout."""
    done = command("config")
    assert (done.code, done.out) == (2, b"")
    assert done.err.startswith("Usage: strongroom config [OPTIONS] COMMAND [ARGS]...\n\n")
    assert "\n  show " in done.err


@pytest.mark.usefixtures("configured")
@pytest.mark.parametrize(
    "arguments",
    [
        ("get", "odd/values"),
        ("get", "odd/values#text"),
        ("completion", "bash"),
        ("get", "--help"),
    ],
)
def test_output_that_cannot_be_written_is_a_failure(script, arguments):
    """A full disk is no success, and no bug."""
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run([script, *arguments], stdout=full, stderr=subprocess.PIPE, check=False, timeout=60)
    said = "strongroom: Cannot write the output to stdout: No space left on device\n"
    assert (done.returncode, done.stderr) == (1, said.encode())


WITH_A_WARNING = """
chain = ["memory", "dotenv"]
[secrets]
TEXT = "odd/values#text"
[stores.memory.secrets."odd/values"]
text = "no newline"
"""


MESSAGES = [
    (("--verbose", "get", "odd/values#text"), 0, b"no newline"),
    (("get", "odd/values#none"), 3, b""),
    ((), 2, b""),
    (("get",), 2, b""),
    (("config",), 2, b""),
    (("run", "--", "sh", "-c", "printf $TEXT"), 0, b"no"),
    (("run", "--", "no-such-command"), 127, b""),
]
"""Commands that write to stderr: a log record, a failure and a help text, each for itself; then the same by others."""


@pytest.mark.parametrize(
    ("fault", "arguments", "code", "out"),
    [
        *some((("full", *row) for row in MESSAGES), lambda row: row[2] in {0, 3}),
        *some(((fault, *row) for fault in ("closed", "stuck") for row in MESSAGES[:3]), lambda row: row[2] == 3),
    ],
)
def test_a_message_that_cannot_be_written_changes_nothing(script, configured, arguments, code, out, fault):
    """stderr is advice, and no result: on a full disk, without a reader, or with one that is too slow."""
    configured.write_text(WITH_A_WARNING, "utf-8")
    Path(".env").write_text("A=1\n", "utf-8")
    Path(".env").chmod(0o644)
    reading, stderr = os.pipe()
    if fault == "full":
        os.close(stderr)
        stderr = os.open("/dev/full", os.O_WRONLY)
    elif fault == "closed":
        os.close(reading)
    else:
        os.set_blocking(stderr, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(stderr, b"x" * 4096)
    try:
        done = subprocess.run([script, *arguments], stdout=subprocess.PIPE, stderr=stderr, check=False, timeout=60)
    finally:
        os.close(stderr)
        if fault != "closed":
            os.close(reading)
    assert (done.returncode, done.stdout) == (code, out)


CLOSED_STDOUT = "strongroom: Cannot write the output to stdout: Bad file descriptor\n"
WITH_OUTPUT = (
    "--version",
    "--help",
    "get --help",
    "get odd/values",
    "get odd/values#text",
    "get odd/values --json",
    "list",
    "stores",
    "explain odd/values",
    "completion bash",
    "status",
)


@pytest.mark.usefixtures("configured")
@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("set odd/values text <&-", 2, "strongroom: Stdin is empty: use --empty to allow an empty value. Try "),
        ("get odd/values#none 2>&-", 3, ""),
        ("delete odd/values >&-", 0, "strongroom: Deleted"),
        *some(
            ((f"{line} >&-", 1, CLOSED_STDOUT) for line in WITH_OUTPUT),
            lambda row: row[0].startswith(("get odd/values >", "list")),
        ),
        ("get odd/values#text <&- >&- 2>&-", 1, ""),
    ],
)
def test_a_standard_stream_may_be_closed(script, line, code, said):
    """As under a daemon. A command without a result does not need stdout; a result that is lost is an error."""
    shell = ["sh", "-c", f"exec {shlex.quote(script)} {line}"]
    done = subprocess.run(shell, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr
    assert bool(done.stderr) is bool(said)


def test_no_command_is_a_usage_error_with_the_help_on_stderr(command):
    """A script that loses its command must not go on."""
    done = command()
    assert (done.code, done.out) == (2, b"")
    assert "Usage: strongroom" in done.err


def test_help_lists_every_exit_code(command):
    """With the words of the table."""
    done = command("--help")
    assert done.code == 0
    words = " ".join(done.out.decode().split())
    for code in ExitCode:
        assert f" {int(code)} {code.meaning}" in words


def test_an_interruption_is_silent(command, monkeypatch):
    """Whoever pressed Ctrl-C knows it."""
    failing(monkeypatch, KeyboardInterrupt())
    done = command("get", "a/b")
    assert (done.code, done.out, done.err.strip()) == (130, b"", "")


def test_an_interruption_while_modules_are_imported_is_silent_too(monkeypatch, capsys):
    """No traceback of an import shows that somebody was quick."""
    monkeypatch.setattr(app, "run", lambda _: signal.raise_signal(signal.SIGINT))
    with pytest.raises(SystemExit) as ended:
        main(["get", "a/b"])
    assert (ended.value.code, capsys.readouterr()) == (130, ("", ""))


@pytest.mark.usefixtures("configured")
@pytest.mark.parametrize("arguments", [("get", "odd/values"), ("--help",)])
def test_a_closed_pipe_is_silent(script, arguments):
    """As in `strongroom list | head -1`: the code says SIGPIPE, and nothing else is said."""
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    process = subprocess.Popen([script, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=buffered)
    process.stdout.close()
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (128 + signal.SIGPIPE, b"")


def test_a_warning_is_one_line_on_stderr(command, monkeypatch, kept):
    """And what Strongroom logs at DEBUG is for --verbose."""
    kept.write("a", {"b": "canary-7f3a"})
    quiet = command("get", "a#b")
    verbose = command("--verbose", "get", "a#b")
    assert quiet.err == ""
    assert "strongroom: debug: a: store memory: found" in verbose.err
    assert "canary-7f3a" not in verbose.err
    assert verbose.out == quiet.out == b"canary-7f3a"


def test_the_module_of_another_command_is_not_imported(configured, script):
    """A read pays for nothing else: no plugin's command, no table, no SDK."""
    program = (
        "import sys; from strongroom._cli.app import run; run(['get', 'odd/values#text']);"
        "print(*sorted({name.partition('.')[0] for name in sys.modules} | set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    loaded = set(done.stdout.split())
    assert not {"strongroom_vault", "hvac", "requests", "urllib3", "rich", "dotenv"} & loaded
    assert not {"strongroom._chain.diagnosis"} & loaded
    ours = {name.removeprefix("strongroom._cli.") for name in loaded if name.startswith("strongroom._cli.")}
    terminal = {f"terminal{name}" for name in ("", ".output", ".streams", ".usage_errors")}
    assert ours == {"app", "exit_codes", "options", "registry", "read", "read.get", *terminal}


@pytest.mark.usefixtures("configured")
@pytest.mark.parametrize(
    ("code", "arguments"),
    [
        (2, ("get", "database/connection", "--as", "int")),
        (2, ("set", "database/connection", "password", "canary-7f3a")),
        (3, ("get", "database/connection", "none")),
        (3, ("get", "database/none")),
        (6, ("get", "database//connection")),
        (6, ("get", "database/connection#")),
        (6, ("set", "database/connection", "bad\tkey")),
        (6, ("list", "../database")),
        (7, ("--config", "none.toml", "get", "database/connection")),
        (7, ("--environment", "none/such", "get", "database/connection")),
        (7, ("--config", "broken.toml", "get", "database/connection")),
        (7, ("--config", "wrong.toml", "get", "database/connection")),
        (7, ("set", "database/connection", "password", "--store", "none")),
    ],
)
@pytest.mark.parametrize("verbose", [(), ("--verbose",)])
def test_a_failing_command_shows_no_value(command, code, arguments, verbose):
    """Not of the store, not of stdin, not of the configuration file, and not with --verbose."""
    Path("broken.toml").write_text('chain = ["memory"]\nstores.memory.token = "canary-7f3a\n', "utf-8")
    Path("wrong.toml").write_text('chain = ["memory"]\nstores.memory.secrets = "canary-7f3a"\n', "utf-8")
    done = command(*verbose, *arguments, piped=b"canary-7f3a")
    assert (done.code, done.out) == (code, b"")
    failure = [line for line in done.err.splitlines() if not line.startswith("strongroom: warning: ")]
    assert failure[0].startswith("strongroom: ")
    assert verbose or len(failure) == 1
    assert "canary-7f3a" not in done.err


def test_a_crash_leaves_no_core_dump(script):
    """It would hold the secrets of the process. The hard limit stays, so that a command of `run` may raise its own."""
    Path("strongroom.toml").write_text('chain = ["env"]\n[secrets]\nDB_HOST = "database/connection#host"\n', "utf-8")
    environ = {**os.environ, "DB_HOST": "x"}
    shell = f"ulimit -c unlimited 2>/dev/null; exec {shlex.quote(script)} run -- sh -c 'ulimit -Sc'"
    done = subprocess.run(["sh", "-c", shell], capture_output=True, text=True, check=False, timeout=60, env=environ)
    assert (done.returncode, done.stdout.strip()) == (0, "0")
