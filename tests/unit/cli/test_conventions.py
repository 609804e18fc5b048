"""What all commands have in common: they say on demand what stores answered, write plain text into a pipe, and leave a
terminal as it was.
"""

import graphlib
import io
import json
import re
import shlex
import termios
from collections.abc import Iterator
from pathlib import Path

import click
import grimp
import pexpect
import pytest
from rich.console import Console

from strongroom import _cli
from strongroom._cli import registry
from strongroom._cli.terminal import output
from support.clock import LONG
from support.command_line import call_on_terminal

CANARY = "canary-7f3a"

SECRETS = """
chain = ["memory", "env"]

[secrets]
DB_HOST = "database/connection#host"
DB_POOL_SIZE = { at = "database/pool#size", default = 5 }

[stores.memory.secrets."database/connection"]
host = "canary-7f3a"
"""


@pytest.fixture
def rows(configured) -> None:
    """Two rows of `[secrets]`: one that the first store has, and one that no store has."""
    configured.write_text(SECRETS, "utf-8")


ANSWERING = {
    "check": ("check",),
    "check in JSON": ("check", "--json"),
    "config": ("config", "show"),
    "doctor": ("doctor",),
    "explain": ("explain", "database/connection"),
    "export": ("export", "--format", "json"),
    "get": ("get", "database/connection"),
    "help": ("--help",),
    "list": ("list", "--recursive"),
    "set": ("set", "database/connection", "password"),
    "delete": ("delete", "database/connection"),
    "stores": ("stores",),
}


@pytest.mark.usefixtures("rows")
@pytest.mark.parametrize("arguments", ANSWERING.values(), ids=ANSWERING)
def test_into_a_pipe_goes_plain_text(command, monkeypatch, arguments):
    """No colour, no progress and nothing else that moves a cursor, whatever else the environment asks for."""
    for name, value in {"FORCE_COLOR": "1", "CLICOLOR_FORCE": "1", "TERM": "xterm-256color"}.items():
        monkeypatch.setenv(name, value)
    done = command(*arguments, piped=b"value")
    assert done.code == 0
    text = done.out.decode() + done.err
    assert text
    assert [character for character in text if not character.isprintable() and character not in "\n\t"] == []


ODD = """
chain = ["dotenv"]
stores.dotenv.file = "we\\tird\\nna\\u001bme.env"
secrets.DB_HOST = "database/connection#host"
"""


@pytest.mark.parametrize("arguments", [("check",), ("explain", "database/connection"), ("doctor",)], ids=str)
def test_a_row_in_a_pipe_is_one_line_whatever_is_in_it(command, configured, arguments):
    """A name of a file may hold a tab and a new line, which would begin a field or a row of their own."""
    configured.write_text(ODD, "utf-8")
    found = command(*arguments).out.decode().splitlines()
    assert [line.count("\t") for line in found] == [5]
    assert "we ird na me.env" in found[0] or r"we\tird\nna\x1bme.env" in found[0]


@pytest.mark.usefixtures("rows")
@pytest.mark.parametrize(
    "arguments",
    [("check",), ("export", "--format", "json"), ("run", "--", "no-such-command")],
    ids=lambda arguments: arguments[0],
)
def test_verbose_says_what_each_store_answered(command, arguments):
    """Path by path, on stderr; what goes to stdout is the same, and no value is shown."""
    quiet, verbose = command(*arguments), command("--verbose", *arguments)
    assert (verbose.code, verbose.out) == (quiet.code, quiet.out)
    for line in (
        "database/connection: store memory: found, version 1",
        "database/pool: store memory: not found",
        "database/pool: store env: not found",
    ):
        assert f"strongroom: debug: {line}" in verbose.err
        assert line not in quiet.err
    assert CANARY not in verbose.err


@pytest.mark.usefixtures("rows")
def test_verbose_says_it_of_one_secret(command):
    """Of a read that no store has an answer to, too."""
    assert "debug: database/connection: store memory: found" in command("--verbose", "get", "database/connection").err
    missing = command("--verbose", "get", "database/none", "key")
    assert missing.code == 3
    assert "debug: database/none: store memory: not found" in missing.err
    assert "debug: database/none: store env: not found" in missing.err


@pytest.mark.usefixtures("rows")
@pytest.mark.parametrize("name", ["check", "config", "delete", "doctor", "explain", "get", "list", "stores"])
def test_every_document_begins_with_its_version(command, name):
    """While the number is the same, what a document has keeps its meaning."""
    done = command(*ANSWERING[name], "--json")
    document = json.loads(done.out)
    assert (done.code, next(iter(document.items()))) == (0, ("version", 1))


def test_there_is_a_document_of_everything_that_answers():
    """By a switch. A command that is added answers in JSON too, or stands here with what it does in its place."""
    # Scripts, --format json, another program, a server, and a command without results.
    without = {"completion", "config init", "export", "import-config", "inject", "run", "dev", "trust", "types", "ui"}
    without |= {"agent run", "agent serve", "mcp"}
    without |= {"helper aws", "helper docker", "helper git", "helper kubectl", "helper openclaw"}  # their own protocols
    for name, command in commands():
        if name not in without:
            assert [option.is_flag for option in command.params if "--json" in option.opts] == [True], name


def commands() -> Iterator[tuple[str, click.Command]]:
    """Each command with its whole name, those of groups among them."""
    for name in registry.names():
        command = registry.load(name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from ((f"{name} {below}", each) for below, each in command.commands.items())
        else:
            yield name, command


def test_every_summary_of_a_command_is_whole(command):
    """Also of those below another one, and of a plugin's."""
    helps = [
        command(*name.split(), "--help").out.decode()
        for name in ("", "cache", "config", "helper", "mapping", "migrate", "rotate", "vault")
    ]
    lists = [text.partition("Read:" if text is helps[0] else "Commands:")[2] for text in helps]
    assert [text for text in lists if not text or "..." in text] == []
    assert all("Example: strongroom " in " ".join(text.split()) for text in helps)


def test_help_groups_every_command(command):
    """By what somebody wants to do; the commands of plugins are in one of the groups."""
    text = command("--help").out.decode()
    places = [text.index(f"\n{group}:\n") for group in (*registry.GROUPS, "Exit codes")]
    assert places == sorted(places)
    listed = re.findall(r"^  ([\w-]+) {2,}\S", text[places[0] : places[-1]], re.MULTILINE)
    assert sorted(listed) == registry.names()


def test_the_modules_of_the_commands_are_the_groups_of_the_help():
    """A reader finds a command by its group: in the folder of that name, or in the module if the group has only one."""
    folder = Path(_cli.__file__).parent
    homes = {
        path.relative_to(folder).with_suffix("").parts[0]
        for path in folder.rglob("*.py")
        if re.search(r"^@click\.(command|group)\(", path.read_text("utf-8"), re.MULTILINE)
    }
    assert homes - {"app"} == {group.lower() for group in registry.GROUPS}


@pytest.mark.usefixtures("configured")
@pytest.mark.parametrize("end", ["sendintr", "sendeof"])
def test_a_question_that_is_left_ends_its_line(script, end):
    """So that the prompt of the shell does not stand beside it. Ctrl-C and Ctrl-D change nothing."""
    file = Path("strongroom.toml")
    file.write_text(f"production = true\n{file.read_text('utf-8')}", "utf-8")
    screen = pexpect.spawn(script, ["delete", "database/connection"], encoding="utf-8", timeout=LONG)
    try:
        screen.expect_exact("Continue? [y/N] ")
        getattr(screen, end)()
        rest = screen.read()
    finally:
        screen.close(force=True)
    assert (screen.exitstatus, rest.replace("^C", "")) == (130, "\r\nstrongroom: Nothing was changed\r\n")


@pytest.mark.usefixtures("configured")
@pytest.mark.parametrize("typed", ["", "canary-7f3a"])
def test_ctrl_c_at_the_prompt_leaves_the_terminal_as_it_was(script, typed):
    """The echo that was off is on again, the cursor is on a line of its own, and nothing is stored or shown."""
    screen = pexpect.spawn(script, ["set", "database/connection", "password"], encoding="utf-8", timeout=LONG)
    try:
        before = termios.tcgetattr(screen.child_fd)
        screen.expect_exact("Value of database/connection#password: ")
        assert screen.waitnoecho(30)
        screen.send(typed)
        screen.sendintr()
        rest = screen.read()
        assert termios.tcgetattr(screen.child_fd) == before
    finally:
        screen.close(force=True)
    assert (screen.exitstatus, rest) == (130, "\r\n")


@pytest.mark.usefixtures("configured")
@pytest.mark.parametrize(("length", "whole"), [(30, True), (60, False)])
def test_a_name_in_a_table_is_kept_whole_while_half_of_the_line_is_left(length, whole):
    """It is typed again elsewhere. A longer one is folded, and nothing of it is lost."""
    file, name = Path("strongroom.toml"), f"X{'LONG' * length}"[:length]
    file.write_text(f'{file.read_text("utf-8")}\n[secrets]\n{name} = "a/rather/long/path/to/a/secret#key"\n', "utf-8")
    code, screen = call_on_terminal(["--no-color", "config", "show"])
    assert code == 0
    assert (f"secrets.{name} " in screen) is whole
    first = [line[:40].split(" ")[2] for line in screen.splitlines() if line.startswith("  ")]
    assert f"secrets.{name}" in "".join(first)
    assert all(len(line) <= 80 for line in screen.splitlines())


@pytest.mark.usefixtures("configured")
def test_a_width_of_zero_says_nothing(monkeypatch):
    """As some terminals have it: a table in no column at all would show nothing."""
    monkeypatch.setenv("COLUMNS", "0")
    _, screen = call_on_terminal(["--no-color", "get", "odd/values"])
    assert "unicode" in screen
    assert max(map(len, screen.splitlines())) <= 80


@pytest.mark.parametrize(
    ("word", "width", "lines"),
    [
        ("database/connection#password", 28, ["database/connection#password"]),
        ("database/connection#password", 27, ["database/connection", "#password"]),
        ("database/connection#password", 17, ["database/", "connection", "#password"]),
        ("database/pool#size", 17, ["database/pool", "#size"]),
        ("http://127.0.0.1:27347", 16, ["http://", "127.0.0.1:27347"]),
        ("[environments.dev.chain[2]]", 19, ["[environments.dev.", "chain[2]]"]),
        ("a/PAYMENTS_PROVIDER_API_KEY", 19, ["a/", "PAYMENTS_PROVIDER_", "API_KEY"]),
        ("LONG" * 8, 16, ["LONG" * 8]),
        ("žluť/kůň/中文中文", 8, ["žluť/", "kůň/", "中文中文"]),
    ],
)
def test_a_word_that_is_longer_than_its_column_is_folded_between_its_parts(word, width, lines):
    """A path before and after its folders, and only what is longer yet within a name."""
    assert output.folded(word, width) == lines


@pytest.mark.parametrize("last", ["wrote", "the number of secrets that it wrote, or may have written"])
def test_no_column_breaks_a_short_word_while_another_has_more_room(last):
    """At 80 columns. rich narrows the widest columns first, and breaks words of the others."""
    columns = ("migration", "begun", "status", "from", last)
    row = ("20261201T000049419491-7b8a07d5", "2026-12-01 00:00:49 UTC", "unreadable", "dotenv:.env", "2 of 17 secrets")
    console = Console(width=80, file=io.StringIO(), color_system=None)
    console.print(output.make_table(console, columns, [row]))
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    shown = {word for line in lines for word in line.split()}
    assert shown >= {word for text in (*columns, *row) for word in text.replace(":.", ": .").split()}


def test_a_reference_is_folded_between_its_parts():
    """On a screen of 80 columns, where the variable's name is kept whole."""
    configuration = 'chain = ["env"]\n[secrets]\nPAYMENTS_PROVIDER_API_KEY = "billing/payments/provider#api_key"\n'
    Path("strongroom.toml").write_text(configuration, "utf-8")
    code, screen = call_on_terminal(["--no-color", "check"])
    assert code == 3
    column = [line[30:47].strip() for line in screen.splitlines() if line.startswith("  ")]
    assert [part for part in column if part] == ["secret", "billing/", "payments/", "provider#api_key"]


@pytest.mark.usefixtures("configured")
@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("ascii", r"\u017elu\u0165 \U0001f511"),
        pytest.param("latin-1:strict", r"\u017elu\u0165 ", marks=pytest.mark.long),
        ("ascii:replace", "?lu? ?"),
    ],
)
def test_a_terminal_that_lacks_a_character_shows_its_number(script, monkeypatch, encoding, shown):
    """Unless its user chose something else. A value into a pipe is exact, whatever the terminal can show."""
    monkeypatch.setenv("PYTHONIOENCODING", encoding)
    screen, code = pexpect.run(f"{shlex.quote(script)} get odd/values --reveal", encoding="latin-1", withexitstatus=1)
    assert code == 0
    assert shown in screen


@pytest.mark.vault
@pytest.mark.usefixtures("rows")
def test_a_warning_that_is_given_again_is_said_once(command, monkeypatch):
    """As in each round of --wait; and again by the next command."""
    monkeypatch.setenv("VAULT_ADDR", "http://127.0.0.1:9")
    monkeypatch.setenv("VAULT_TOKEN", CANARY)
    Path("strongroom.toml").write_text(SECRETS.replace('"memory"', '"vault"'), "utf-8")
    for _ in range(2):
        done = command("check", "--wait", "0.6s")
        assert done.code == 5
        assert done.err.count("warning: Store vault is unavailable") == 1


@pytest.mark.usefixtures("configured")
def test_a_message_on_a_terminal_is_wrapped_between_words(command):
    """A terminal would break it within a word; a warning has a color there, and in a pipe none."""
    message = ["set", "database/connection", "password=x"]
    _, screen = call_on_terminal(message, columns=60)
    lines = screen.splitlines()
    assert len(lines) > 1
    assert all(len(line) <= 60 for line in lines)
    piped = command(*message).err
    assert " ".join(screen.split()) == " ".join(piped.split())
    assert piped.count("\n") == 1


def test_no_module_of_the_command_line_imports_itself_through_another():
    """An import within a function counts too: such modules can only be understood together."""
    graph = grimp.build_graph("strongroom", exclude_type_checking_imports=True, cache_dir=None)
    modules = [name for name in graph.modules if name.startswith("strongroom._cli")]
    graphlib.TopologicalSorter({name: graph.find_modules_directly_imported_by(name) for name in modules}).prepare()
