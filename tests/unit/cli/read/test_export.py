"""`strongroom export`: each format holds every value exactly, or refuses it by its variable's name."""

import io
import json
import os
import re
import subprocess
from pathlib import Path

import dotenv
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from strongroom import required_secrets
from strongroom._chain.answer import DEFAULT_STORE, Resolution
from strongroom._cli.read import export_formats
from strongroom._config import SecretConfig
from strongroom.errors import InvalidDataError
from strongroom.formats.dotenv import parse_dotenv
from support.clock import LONG
from support.command_line import call_on_terminal

CANARY = "canary-7f3a"
CONFIGURATION = """
chain = ["memory"]

[secrets]
DATABASE_URL = "database/connection#url"
DB_PORT = "database/connection#port"
DB_POOL_SIZE = { at = "database/pool#size", default = 5 }
SENTRY_DSN = { at = "monitoring/sentry#dsn", required = false }

[stores.memory.secrets."database/connection"]
url = "canary-7f3a: it's #HOME, 100%\\nand more\\n"
port = 5432
"""
URL = f"{CANARY}: it's #HOME, 100%\nand more\n"
AWKWARD = [
    "",
    " ",
    "'",
    '"',
    "\\",
    "\\'",
    "a\\",
    "#",
    " #x",
    "$A",
    "`id`",
    "$(id)",
    "\n",
    "a\n\nb\n",
    "!",
    "~",
    "é🔑",
    "%0A",
    "<<",
]
TEXT = st.text(st.characters(exclude_categories=["Cs"]))


def rows(**values):
    """The answers of a store that has these."""

    def ask(path, key):
        return Resolution(
            path, key, values[key], "memory", version=None, age=0.0, cached=False, stale=False, attempts=()
        )

    return required_secrets.resolve({name: SecretConfig("app/config", name) for name in values}, ask)


@pytest.fixture(autouse=True)
def configuration() -> Path:
    file = Path("strongroom.toml")
    file.write_text(CONFIGURATION, "utf-8")
    return file


@pytest.fixture
def runner(tmp_path, monkeypatch) -> Path:
    """The file that GitHub's runner makes for a step."""
    file = tmp_path / "set_env"
    file.touch(0o600)
    monkeypatch.setenv("GITHUB_ENV", str(file))
    return file


def read_by_runner(text: str) -> dict[str, str]:
    """The variables that the runner finds in the file of a step, on Linux:
    https://github.com/actions/runner/blob/v2.315.0/src/Runner.Worker/FileCommandManager.cs#L180
    """
    found, lines = {}, text.split("\n")
    while lines:
        line = lines.pop(0)
        if not line:
            continue
        name, mark, delimiter = line.partition("<<")
        assert mark
        end = lines.index(delimiter)
        found[name] = "\n".join(lines[:end])
        del lines[: end + 1]
    return found


# --- the formats ------------------------------------------------------------------------------------------------------


def test_dotenv_is_what_every_reader_of_python_reads(command):
    """A number as its text; a default; and nothing for what need not be there."""
    done = command("export", "--format", "dotenv")
    assert (done.code, done.err) == (0, "")
    text = done.out.decode()
    expected = {"DATABASE_URL": URL, "DB_PORT": "5432", "DB_POOL_SIZE": "5"}
    assert parse_dotenv(text).values == expected
    assert dotenv.dotenv_values(stream=io.StringIO(text)) == expected
    assert "\nDB_PORT=5432\n" in text


def test_json_keeps_types_and_holds_bytes():
    """As `get` does where it is piped."""
    answers = rows(PORT=5432, RAW=b"\xff", NOTHING=None, LIST=[1, "a"], TEXT="\0")
    assert export_formats.as_json(answers) == {
        "PORT": 5432,
        "RAW": b"\xff",
        "NOTHING": None,
        "LIST": [1, "a"],
        "TEXT": "\0",
    }
    assert CANARY not in repr(export_formats.as_json(rows(A=CANARY)))


def test_json_is_one_object_of_variables(command):
    """Which `jq -r .DATABASE_URL` reads."""
    done = command("export", "--format", "json")
    assert json.loads(done.out) == {"DATABASE_URL": URL, "DB_PORT": 5432, "DB_POOL_SIZE": 5}


def test_a_shell_evaluates_it(script):
    """And hands it to what it starts."""
    shell = f'variables=$("{script}" export --format shell) && eval "$variables" && printenv DATABASE_URL DB_POOL_SIZE'
    done = subprocess.run(["sh", "-c", shell], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == f"{URL}\n5\n"


def test_github_masks_first_and_sets_through_the_runners_file(command, runner):
    """The mask is one line for many; a default is no secret, and the file keeps its mode."""
    runner.write_text("EARLIER=1")
    done = command("export", "--format", "github")
    assert (done.code, done.err) == (0, "")
    assert done.out.decode() == (
        f"::add-mask::{CANARY}: it's #HOME, 100%25%0Aand more%0A\n::add-mask::5432\n"
    )  # fmt: skip
    first, _, rest = runner.read_text().partition("\n")
    assert first == "EARLIER=1"
    assert read_by_runner(rest) == {"DATABASE_URL": URL, "DB_PORT": "5432", "DB_POOL_SIZE": "5"}
    assert runner.stat().st_mode & 0o777 == 0o600


def test_the_line_that_ends_a_value_is_another_each_time(command, runner):
    """Who can choose a value must not be able to end it."""
    command("export", "--format", "github")
    command("export", "--format", "github")
    delimiters = set(re.findall(r"<<(strongroom-[0-9a-f]{32})\n", runner.read_text()))
    assert len(delimiters) == 2


def test_a_blank_has_no_mask():
    """The runner warns of one, and it would hide every space of the log."""
    assert export_formats.as_github_masks(rows(A="", B=" \n", C="x")) == "::add-mask::x\n"


def test_a_default_has_no_mask():
    """It stands in the configuration file, and it may be a word that the log is full of."""

    def ask(path, key):
        return Resolution(path, key, 5, DEFAULT_STORE, version=None, age=0.0, cached=False, stale=False, attempts=())

    answers = required_secrets.resolve({"A": SecretConfig("a", "b", 5, required=False)}, ask)
    assert export_formats.as_github_masks(answers) == ""
    assert read_by_runner(export_formats.as_github_file(answers, "end")) == {"A": "5"}


# --- exactly, or not at all -------------------------------------------------------------------------------------------


def with_awkward(test):
    for value in AWKWARD:
        test = example(value=value)(test)
    return given(value=TEXT)(test)


@with_awkward
def test_dotenv_is_exact_or_refused(value):
    """python-dotenv as it is called by default, which expands, reads the value, or there is none to read."""
    try:
        text = export_formats.as_dotenv(rows(NAME=value, NEXT="1"))
    except InvalidDataError:
        assert {"\r", "\0"} & set(value) or "${" in value or ("'" in value and {"$", "`"} & set(value))
        return
    assert dotenv.dotenv_values(stream=io.StringIO(text)) == {"NAME": value, "NEXT": "1"}
    assert parse_dotenv(text).values == {"NAME": value, "NEXT": "1"}


@with_awkward
def test_github_is_exact_or_refused(value):
    """Whatever lines the value has."""
    try:
        text = export_formats.as_github_file(rows(NAME=value, NEXT="1"), "strongroom-0")
    except InvalidDataError:
        assert "\0" in value or "strongroom-0" in value
        return
    assert read_by_runner(text) == {"NAME": value, "NEXT": "1"}
    assert export_formats.as_github_masks(rows(NAME=value)).count("\n") <= 1


@pytest.mark.parametrize("value", [*AWKWARD, "a\rb\r\n", "\x7f\x1b[1m", "\u2028", "-n", "x" * 5000])
@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_shell_is_exact(value, shell):
    """A real shell evaluates it."""
    text = export_formats.as_shell(rows(NAME=value))
    done = subprocess.run([shell], input=f"{text}printenv NAME".encode(), capture_output=True, check=True, timeout=LONG)
    assert done.stdout == f"{value}\n".encode()


@pytest.mark.parametrize(
    ("render", "value"),
    [
        (export_formats.as_dotenv, f"{CANARY}${{HOME}}"),
        (export_formats.as_dotenv, f"{CANARY}\r\n"),
        (export_formats.as_dotenv, f"{CANARY}\0"),
        (export_formats.as_dotenv, CANARY.encode()),
        (export_formats.as_dotenv, None),
        (export_formats.as_dotenv, f"{CANARY}\ud800"),
        (export_formats.as_shell, f"{CANARY}\0"),
        (export_formats.as_shell, CANARY.encode()),
        (export_formats.as_shell, None),
        (export_formats.as_json, f"{CANARY}\ud800"),
        (export_formats.as_json, [{"a": f"{CANARY}\ud800"}]),
        (lambda answers: export_formats.as_github_file(answers, "end"), f"{CANARY}\0"),
        (lambda answers: export_formats.as_github_file(answers, "end"), f"{CANARY}\nend\nNODE_OPTIONS=x"),
        (lambda answers: export_formats.as_github_file(answers, "end"), CANARY.encode()),
    ],
)
def test_what_a_format_cannot_hold_is_refused_by_the_variables_name(render, value):
    """And not by its value."""
    with pytest.raises(InvalidDataError, match="API_TOKEN cannot be set") as refused:
        render(rows(OTHER="1", API_TOKEN=value))
    assert CANARY not in str(refused.value)


@pytest.mark.parametrize("name", ["NODE_OPTIONS", "GITHUB_TOKEN", "RUNNER_TEMP", "github_env"])
def test_a_name_that_the_runner_keeps_is_refused(name):
    """It would not be set, and the next step would use another value."""
    with pytest.raises(InvalidDataError, match=f"{name} cannot be set"):
        export_formats.as_github_file(rows(**{name: "x"}), "end")


@pytest.mark.parametrize("kind", ["dotenv", "json", "github", "shell"])
def test_nothing_is_written_where_one_is_missing(command, runner, configuration, kind):
    """A file of half the variables would be taken for the whole."""
    configuration.write_text(CONFIGURATION.replace("port =", "ports ="), "utf-8")
    done = command("export", "--format", kind)
    assert (done.code, done.out) == (3, b"")
    assert "strongroom: DB_PORT: Secret not found" in done.err
    assert "Nothing was exported: 1 of 4 variables" in done.err
    assert CANARY not in done.err
    assert runner.read_bytes() == b""


@pytest.mark.parametrize("kind", ["dotenv", "github", "shell"])
def test_nothing_is_written_where_one_is_refused(command, runner, configuration, kind):
    """The masks neither."""
    configuration.write_text(CONFIGURATION.replace("port = 5432", 'port = "\\u0000"'), "utf-8")
    done = command("--verbose", "export", "--format", kind)
    assert (done.code, done.out) == (6, b"")
    assert "DB_PORT cannot be set" in done.err
    assert CANARY not in done.err
    assert runner.read_bytes() == b""


# --- where it goes ----------------------------------------------------------------------------------------------------


def test_without_the_runners_file_there_is_no_step(command, runner, monkeypatch):
    """It is the runner's to make."""
    monkeypatch.delenv("GITHUB_ENV")
    assert command("export", "--format", "github").code == 7
    monkeypatch.setenv("GITHUB_ENV", f"{runner}-none")
    done = command("export", "--format", "github")
    assert (done.code, done.out) == (7, b"")
    assert "No such file" in done.err
    assert not Path(f"{runner}-none").exists()


def test_a_runners_file_that_is_full_is_a_failure_in_words(command, runner, monkeypatch):
    """It is no bug, and nobody may take the variables for handed on."""
    monkeypatch.setenv("GITHUB_ENV", "/dev/full")
    done = command("export", "--format", "github")
    assert (done.code, done.err) == (
        7,
        "strongroom: Cannot write /dev/full (GITHUB_ENV): No space left on device\n",
    )


def test_a_terminal_shows_no_value_unless_it_is_told_to():
    """Somebody may look over a shoulder."""
    code, screen = call_on_terminal(["export", "--format", "shell"])
    assert code == 2
    assert "--reveal" in screen
    assert CANARY not in screen
    code, screen = call_on_terminal(["export", "--format", "shell", "--reveal"])
    assert code == 0
    assert CANARY in screen


@pytest.mark.parametrize(("mode", "warned"), [(0o600, False), (0o644, True)])
def test_a_file_that_others_may_read_is_warned_of(script, mode, warned):
    """The shell has made it before we began; a pipe has no such mode."""
    Path(".env").touch()
    Path(".env").chmod(mode)
    with Path(".env").open("wb") as file:
        done = subprocess.run(
            [script, "--config", "strongroom.toml", "export", "--format", "dotenv"],
            stdout=file, stderr=subprocess.PIPE, check=True, timeout=60, env={**os.environ},
        )  # fmt: skip
    assert (b"chmod 600" in done.stderr) is warned
    assert CANARY in Path(".env").read_text()


def test_a_format_is_chosen(command):
    """None is better than the others."""
    assert command("export").code == 2
    assert command("export", "--format", "yaml").code == 2
