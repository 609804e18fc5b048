"""What is typed and pasted at the prompt of `strongroom set`, on a real terminal."""

import shlex
import signal
import sys
import time

import pytest

PROGRAM = """
import sys
from strongroom._cli.terminal import input as keyboard
from strongroom._cli.app import run
from strongroom._cli.options import Invocation
from strongroom import SecretsManager
from strongroom.store.memory import MemoryStore

store = MemoryStore()
store.close = lambda: None
Invocation.open = Invocation.open_to_write = lambda _: SecretsManager(chain=[store])
code = run(["set", *(sys.argv[2:] or ["a", "b"])])
data = store.read("a").data if list(store.list_entries("")) else {}
print("stored", "what was meant" if data == eval(sys.argv[1]) else len(data))
sys.exit(code)
"""


@pytest.fixture
def prompt(terminal):
    """The prompt of `strongroom set`, in a process that says at its end whether a value like this was stored."""

    def start(value: object, *words: str):
        screen = terminal(sys.executable, "-c", PROGRAM, repr({"b": value}), *words)
        screen.waits_for("Value of a#b: ")
        return screen

    return start


KEY = "-----BEGIN KEY-----", "canary-2", "canary-3"


PATIENT = """
from strongroom._cli.main import main
from strongroom._cli.terminal import input as keyboard

keyboard.PAUSE = 3  # a busy machine may need it for the next line
main()
"""


@pytest.mark.usefixtures("configured")
@pytest.mark.parametrize("slow", [False, True])
def test_no_line_of_a_paste_is_left_to_the_shell(terminal, script, slow):
    """Of several lines none is stored, since it would be the first alone; the shell would run and show the others."""
    program = [sys.executable, "-c", PATIENT] if slow else [script]
    screen = terminal("sh", "-c", f'{shlex.join(program)} set a b; echo code $?; IFS= read -r next; echo "next: $next"')
    screen.waits_for("Value of a#b: ")
    pieces = [f"{line}\r".encode() for line in KEY]
    for piece in pieces if slow else [b"".join(pieces)]:
        screen.presses(piece)
        time.sleep(0.03 * slow)
    screen.waits_for("More than one line was pasted: name the file (KEY=@FILE), or pipe it in.")
    screen.waits_for("code 2")
    screen.types("typed")
    code, rest = screen.ended()
    assert (code, "next: typed" in rest) == (0, True)
    assert "canary" not in rest


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (b"plain\r", "plain"),
        pytest.param(b"plain\r\r\n", "plain", marks=pytest.mark.long),  # Enter pressed twice
        (b" \xc5\xbelu\xc5\xa5 \xf0\x9f\x94\x91 \r", " žluť 🔑 "),
        (b"x" * 4094 + b"\r", "x" * 4094),
        pytest.param(b"not this\x15this\r", "this", marks=pytest.mark.long),
        pytest.param(b"ended\x04", "ended", marks=pytest.mark.long),
        (b"caf\xe9\r", b"caf\xe9"),  # as a terminal in Latin-1 sends it: bytes, as from a pipe
    ],
    ids=range(7),
)
def test_what_is_typed_is_stored_exactly(prompt, keys, value):
    """With the keys with which the terminal edits a line."""
    screen = prompt(value)
    screen.presses(keys)
    code, rest = screen.ended()
    assert (code, "stored what was meant" in rest) == (0, True)


def test_a_line_that_the_terminal_may_have_cut_is_refused(prompt):
    """Its end is lost: the start alone is another value."""
    screen = prompt(None)
    screen.presses(b"x" * 5000 + b"\r")
    screen.waits_for("The terminal may have cut a line of over 4,094 bytes")
    code, rest = screen.ended()
    assert (code, "stored 0" in rest) == (2, True)


@pytest.mark.parametrize("end", [b"\r\x04", b"\x04"])
def test_a_document_is_typed_without_echo_too(terminal, end):
    """Until Ctrl-D: its values are as secret as one alone."""
    value = "canary" * 500
    screen = terminal(sys.executable, "-c", PROGRAM, repr({"b": value}), "a", "--from-json", "-")
    screen.waits_for("Document of a, then Ctrl-D: ")
    assert not screen.echoes()
    screen.presses(f'{{"b":\r"{value}"\r}}'.encode() + end)
    code, rest = screen.ended()
    assert (code, "stored what was meant" in rest, "canary" in rest) == (0, True, False)
    assert screen.echoes()


def test_an_empty_line_is_refused_unless_it_is_meant(prompt):
    """As an empty stdin is."""
    screen = prompt("")
    screen.presses(b"\r")
    screen.waits_for("The value is empty: use --empty to allow an empty value")
    code, rest = screen.ended()
    assert (code, "stored 0" in rest) == (2, True)
    screen = prompt("", "a", "b", "--empty")
    screen.presses(b"\r")
    code, rest = screen.ended()
    assert (code, "stored what was meant" in rest) == (0, True)


def test_ctrl_d_instead_of_a_value_changes_nothing(prompt):
    """As Ctrl-C."""
    screen = prompt(None)
    screen.presses(b"\x04")
    code, rest = screen.ended()
    assert (code, "stored 0" in rest) == (130, True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_a_signal_at_the_prompt_leaves_the_terminal_as_it_was(prompt, number):
    """It ends the process as it always does, and the shell that comes next shows again what is typed."""
    screen = prompt(None)
    assert not screen.echoes()
    screen.gets(number)
    code, rest = screen.ended()
    assert code == -number, rest
    assert screen.echoes()
