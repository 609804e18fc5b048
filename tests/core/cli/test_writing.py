"""`strongroom set`: where a value may come from, and where it may never stand."""

import sys

import pytest

CANARY = "canary-7f3a"


def test_a_piped_value_loses_one_newline_and_nothing_else(command, kept):
    """`echo value | strongroom set …` stores what was meant; a second newline is part of the value."""
    assert command("set", "app/config", "plain", piped=b"value").code == 0
    assert command("set", "app/config", "echoed", piped=b"value\n").code == 0
    assert command("set", "app/config#lines", piped=b" one\r\ntwo\n\n").code == 0
    assert kept.read("app/config").data == {"plain": "value", "echoed": "value", "lines": " one\r\ntwo\n"}


def test_what_is_not_text_is_stored_as_bytes_whole(command, kept):
    """The newline at the end of a binary file belongs to it."""
    assert command("set", "keys/tls", "der", piped=b"\xff\x00\n").code == 0
    assert kept.read("keys/tls").data == {"der": b"\xff\x00\n"}


def test_the_other_keys_stay(command, kept):
    """Unless they are given up by name."""
    kept.write("app/config", {"host": "db", "password": "old"})
    done = command("set", "app/config", "password", piped=b"new")
    assert done == (0, b"", "strongroom: stored password at app/config, version 2\n")
    assert kept.read("app/config").data == {"host": "db", "password": "new"}
    assert command("set", "app/config", "password", "--replace", piped=b"new").code == 0
    assert kept.read("app/config").data == {"password": "new"}


def test_a_store_is_named_or_refused(command, kept):
    """A write goes nowhere else than where it was sent."""
    assert command("set", "a", "b", "--store", "memory", piped=b"x").code == 0
    refused = command("set", "a", "b", "--store", "vault", piped=b"y")
    assert refused.code == 7
    assert "no store 'vault' in the chain" in refused.err
    assert kept.read("a").data == {"b": "x"}


@pytest.mark.parametrize(
    "words",
    [
        ("app/config", f"password={CANARY}"),
        ("app/config", f"url=postgres://u:p@h/{CANARY}#x"),
        (f"app/config#url=postgres://h/{CANARY}#x",),
        (f"app/config#password={CANARY}",),
        (f"password={CANARY}",),
        ("app/config", "password", CANARY),
        ("app/config", "password", f"-{CANARY}"),
        ("app/config", f"-p{CANARY}"),
        ("app/config", "password", f"--value={CANARY}"),
        ("app/config", "password", "--value", CANARY),
    ],
)
def test_a_value_on_the_command_line_is_refused_and_not_repeated(command, kept, words):
    """It was seen by every process already; it must not stand in a CI log too. The message says how to do it."""
    done = command("set", *words, piped=b"other")
    assert (done.code, done.out) == (2, b"")
    assert done.err.count("\n") == 1
    assert "pipe it in: `… | strongroom set PATH KEY`" in done.err
    assert CANARY not in done.err
    assert list(kept.list_entries("")) == []


@pytest.mark.parametrize("words", [(), ("app/config",), ("--store", "memory")])
def test_a_missing_word_is_a_usage_error(command, kept, words):
    """PATH and KEY are both needed."""
    assert command("set", *words, piped=b"x").code == 2
    assert list(kept.list_entries("")) == []


def test_an_empty_stdin_is_refused_unless_it_is_meant(command, kept):
    """The program that should have printed the value has probably failed."""
    refused = command("set", "a", "b")
    assert refused.code == 2
    assert "stdin is empty" in refused.err
    assert command("set", "a", "b", "--empty").code == 0
    assert kept.read("a").data == {"b": ""}


@pytest.mark.parametrize(("path", "key"), [("../x", "k"), ("a//b", "k"), ("a", "new\nline")])
def test_an_impossible_path_or_key_is_refused_before_the_value_is_asked_for(command, kept, path, key):
    """The same code as every other thing that cannot be done."""
    done = command("set", path, key, piped=b"x")
    assert (done.code, done.err.count("\n")) == (6, 1)


PROGRAM = """
import sys
from strongroom import SecretsManager
from strongroom.cli.invocation import Invocation
from strongroom.cli.main import run
from strongroom.memory import MemoryStore

store = MemoryStore()
store.close = lambda: None
Invocation.open = lambda _: SecretsManager(chain=[store])
code = run(["set", "app/config", "password"])
print("stored what was typed:", code == 0 and store.read("app/config").data["password"] == sys.argv[1])
"""


def test_on_a_terminal_the_value_is_typed_without_echo(terminal):
    """It is asked for by path and key, and never shown."""
    screen = terminal(sys.executable, "-c", PROGRAM, f" {CANARY} ")
    screen.waits_for("Value of app/config#password: ")
    screen.types(f" {CANARY} ")
    code, rest = screen.ended()
    assert code == 0
    assert "stored what was typed: True" in rest
    assert CANARY not in rest
