"""What is typed and pasted at the prompt of `strongroom set`, on a real terminal."""

import signal
import sys
import time

import pexpect
import pytest

from support.clock import LONG

PROGRAM = """
import sys
from strongroom._cli.terminal import prompt as keyboard
from strongroom._cli.app import run
from strongroom._cli.options import Invocation
from strongroom import SecretsManager
from strongroom.store.memory import MemoryStore

store = MemoryStore()
store.close = lambda: None
Invocation.open = lambda _: SecretsManager(chain=[store])
code = run(["set", *(sys.argv[2:] or ["a", "b"])])
data = store.read("a").data if list(store.list_entries("")) else {}
print("stored", "what was meant" if data == eval(sys.argv[1]) else len(data))
sys.exit(code)
"""


@pytest.fixture
def prompt(terminal, monkeypatch):
    """The prompt of `strongroom set`, in a process that says at its end whether a value like this was stored."""
    monkeypatch.setenv("TERM", "xterm")

    def start(value: object, *words: str):
        screen = terminal(sys.executable, "-c", PROGRAM, repr({"b": value}), *words)
        screen.waits_for("Value of a#b: ")
        return screen

    return start


KEY = "-----BEGIN KEY-----", "canary-2", "canary-3"
MARKED = b"\x1b[200~", b"\x1b[201~"


PATIENT = """
from strongroom._cli.main import main
from strongroom._cli.terminal import prompt

prompt.PAUSE = 3  # a busy machine may need it for the next line
main()
"""


@pytest.mark.usefixtures("configured")
@pytest.mark.parametrize("slow", [False, True])
@pytest.mark.parametrize("marks", [(b"", b""), MARKED])
def test_no_line_of_a_paste_is_left_to_the_shell(terminal, script, slow, marks):
    """Of several lines none is stored, since it would be the first alone; the shell would run and show the others."""
    program = f"{sys.executable} -c '{PATIENT}'" if slow else script
    screen = terminal("sh", "-c", f'{program} set a b; echo code $?; IFS= read -r next; echo "next: $next"')
    screen.waits_for("Value of a#b: ")
    pieces = [marks[0], *(f"{line}\r".encode() for line in KEY), marks[1]]
    for piece in pieces if slow else [b"".join(pieces)]:
        screen.presses(piece)
        time.sleep(0.03 * slow)
    screen.waits_for("More than one line was pasted: name the file (KEY=@FILE), or pipe it in.")
    screen.waits_for("code 2")
    screen.types("typed")
    code, rest = screen.ended()
    assert (code, "next: typed" in rest) == (0, True)
    assert "canary" not in rest


def test_a_marked_paste_may_take_its_time(prompt):
    """A terminal that marks its pastes says when one is over, however slow the line is."""
    screen = prompt(None)
    for part in (MARKED[0] + b"one\r", b"canary-2\r", MARKED[1]):
        screen.presses(part)
        time.sleep(0.3)
    code, rest = screen.ended()
    assert (code, "stored 0" in rest, "canary" in rest) == (2, True, False)


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (b"plain\r", "plain"),
        (b"plain\r\r\n", "plain"),  # Enter pressed twice
        (b" \xc5\xbelu\xc5\xa5 \xf0\x9f\x94\x91 \r", " žluť 🔑 "),
        (b"x" * 100_000 + b"\r", "x" * 100_000),  # a terminal's own lines have 4,095 bytes
        (MARKED[0] + b"pasted" + MARKED[1] + b"\r", "pasted"),
        (MARKED[0] + b"pasted\r" + MARKED[1], "pasted"),
        (MARKED[0] + b"\x15\x04\x16" + MARKED[1] + b"\r", "\x15\x04\x16"),  # keys that would edit, were they typed
        (b"a\x7fb\xc5\xbe\xf0\x9f\x94\x91\x7f\x7f\r", "b"),
        (b"\x7fone two \x17three\r", "one three"),
        (b"not this\x15this\r", "this"),
        (b"a\x16\x7f\x16\x16\r", "a\x7f\x16"),  # Ctrl-V takes the next key as it is
        (b"ended\x04", "ended"),
        (b"caf\xe9\r", b"caf\xe9"),  # as a terminal in Latin-1 sends it: bytes, as from a pipe
        (b"caf\xe9\x7f\xe8\r", b"caf\xe8"),
    ],
    ids=range(14),
)
def test_what_is_typed_is_stored_exactly(prompt, keys, value):
    """With the keys that edit a line everywhere, and without the limit of the terminal's own lines."""
    screen = prompt(value)
    screen.presses(keys)
    code, rest = screen.ended()
    assert (code, "stored what was meant" in rest) == (0, True)


@pytest.mark.parametrize("marks", [(b"", b""), MARKED])
def test_a_document_is_typed_without_echo_too(terminal, marks, monkeypatch):
    """Until Ctrl-D, and longer than the terminal's own lines: its values are as secret as one alone."""
    monkeypatch.setenv("TERM", "xterm")
    value = "canary" * 2000
    screen = terminal(sys.executable, "-c", PROGRAM, repr({"b": value}), "a", "--json", "-")
    screen.waits_for("Document of a, then Ctrl-D: ")
    assert not screen.echoes()
    screen.presses(marks[0] + f'{{"b":\r"{value}"\r}}\r'.encode() + marks[1] + b"\x04")
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
    screen.presses(b"canary")
    screen.gets(number)
    code, rest = screen.ended()
    assert (code, "canary" in rest) == (-number, False), rest
    assert screen.echoes()


def test_a_stop_at_the_prompt_shows_what_is_typed_meanwhile_and_nothing_after_it():
    """Ctrl-Z and `fg`: the value is asked for again, and what was typed before is dropped, as any terminal does."""
    shell = 'set -m; "$0" -c "$1" "$2"; echo stopped; read -r _; fg >/dev/null'
    screen = pexpect.spawn(
        "bash", ["-c", shell, sys.executable, PROGRAM, repr({"b": "new"})], encoding="utf-8", timeout=LONG
    )
    try:
        screen.expect_exact("Value of a#b: ")
        screen.send("old\x1a")
        screen.expect_exact("stopped")
        assert screen.getecho()
        screen.sendline()
        screen.expect_exact("Value of a#b: ")
        assert not screen.getecho()
        screen.send("new\r")
        assert "stored what was meant" in screen.read()
    finally:
        screen.close(force=True)
