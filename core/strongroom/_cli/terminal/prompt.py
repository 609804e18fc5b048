"""Prompt without echo that accepts input of any length, and leaves no pasted line to the shell.

`getpass` and `click.prompt` read lines of at most 4,095 bytes, and leave the other lines of a paste to the shell.
prompt_toolkit drops tabs, takes other control bytes of a paste without marks as editing keys, and needs more than 100
seconds for 100,000 characters.
"""

from __future__ import annotations

import os
import re
import select
import signal
import sys
import termios
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from types import FrameType

import click

from strongroom._cli.process.signals import SignalArrival

PAUSE = 0.2
"""Seconds to wait for the next line of a paste."""

_IN_FLIGHT = 0.05
"""Seconds to wait for keys that the kernel has not delivered yet, before the echo is turned on again."""

_SIGNALS = frozenset({signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP})
"""Signals that end or stop the process without giving Python a chance to restore the terminal."""

# Bracketed paste: https://invisible-island.net/xterm/xterm-paste64.html
_MARK, _NO_MARK = "\x1b[?2004h", "\x1b[?2004l"
_PASTE, _END_OF_PASTE = b"\x1b[200~", b"\x1b[201~"

_ERASED = {
    "VERASE": rb"(?s:[\xc2-\xf4][\x80-\xbf]+|.)\Z",  # one character, which may be several bytes of UTF-8
    "VWERASE": rb"\S*\s*\Z",
    "VKILL": rb"[^\n]*\Z",
}
"""What each editing key removes. The terminal itself edits only lines of at most 4,095 bytes."""


def read_line(prompt: str) -> bytes:
    """Read one line, and return it without its newline.

    Raises:
        click.UsageError: more than one line was pasted. All lines are consumed: the shell would run the others, show
            them and keep them in its history.
        click.Abort: Ctrl-D, or the terminal is gone.
    """
    line = _read(prompt, lines=False).rstrip(b"\n")
    if b"\n" in line:
        raise click.UsageError("More than one line was pasted: name the file (KEY=@FILE), or pipe it in")
    return line


def read_lines(prompt: str) -> bytes:
    """Read all lines until Ctrl-D.

    Raises:
        click.Abort: nothing was typed, or the terminal is gone.
    """
    return _read(prompt, lines=True)


def _read(prompt: str, *, lines: bool) -> bytes:
    terminal = sys.stdin.fileno()
    typed = _TypedText(_keys(terminal), lines=lines)
    with SignalArrival() as arrival, _hidden(terminal, prompt, typed):
        while not typed.over or arrival.readable(terminal, PAUSE):
            arrival.readable(terminal)  # a signal just before `os.read` would be handled after the next key only
            content = b""
            with suppress(OSError):  # some systems report a closed terminal as an error
                content = os.read(terminal, 65_536)
            if not content:
                raise click.Abort
            typed.take(content)
    return bytes(typed.text)


class _TypedText:
    """Line editor for the bytes that a terminal sends.

    Args:
        keys: names of the editing keys.
        lines: whether a newline continues the input.

    Attributes:
        text: the bytes so far, with newlines.
        over: whether the end was typed. Later bytes are appended unchanged.
    """

    def __init__(self, keys: Mapping[int, str], *, lines: bool) -> None:
        self._keys, self._lines = keys, lines
        self.begin()

    def begin(self) -> None:
        """Discard the input."""
        self.text, self.over = bytearray(), False
        self._in_paste = self._is_literal = False

    def take(self, content: bytes) -> None:
        """Process bytes from the terminal.

        Raises:
            click.Abort: Ctrl-D without text before it.
        """
        for byte in content:
            if self.over:
                self.text.append(byte)
            else:
                self._press(byte)

    def _press(self, byte: int) -> None:
        key = "" if self._in_paste or self._is_literal else self._keys.get(byte, "")
        self._is_literal = key == "VLNEXT"
        if key in _ERASED:
            self.text[:] = re.sub(_ERASED[key], b"", self.text, count=1)
        elif key == "VEOF":
            if not self.text:
                raise click.Abort
            self.text += b"" if self._lines else b"\n"
            self.over = True
        elif not key:
            self._add(byte)

    def _add(self, byte: int) -> None:
        self.text.append(byte)
        mark = _END_OF_PASTE if self._in_paste else _PASTE
        if is_mark := self.text.endswith(mark):
            del self.text[-len(mark) :]
            self._in_paste = not self._in_paste
        if (is_mark or byte == ord("\n")) and not (self._lines or self._in_paste):
            self.over = b"\n" in self.text


def _keys(terminal: int) -> dict[int, str]:
    """Return the names of the terminal's editing keys by byte."""
    characters = termios.tcgetattr(terminal)[6]
    found = {name: characters[getattr(termios, name)] for name in (*_ERASED, "VLNEXT", "VEOF")}
    off = os.fpathconf(terminal, "PC_VDISABLE")
    return {key[0]: name for name, key in found.items() if isinstance(key, bytes) and key[0] != off}


@contextmanager
def _hidden(terminal: int, prompt: str, typed: _TypedText) -> Iterator[None]:
    """Show the prompt and turn off the echo until the block ends, or a signal ends or stops the process."""
    before, hidden = termios.tcgetattr(terminal), termios.tcgetattr(terminal)
    hidden[3] &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.IEXTEN)
    hidden[6][termios.VMIN], hidden[6][termios.VTIME] = 1, 0
    marks = sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    is_hidden = False

    def begin() -> None:
        nonlocal is_hidden
        typed.begin()
        is_hidden = True
        termios.tcsetattr(terminal, termios.TCSAFLUSH, hidden)
        _write(prompt + (_MARK if marks else ""))

    def end() -> None:
        nonlocal is_hidden
        if is_hidden:  # otherwise the process may be in the background, where tcsetattr would stop it
            is_hidden = False
            with suppress(termios.error):  # the terminal is gone
                termios.tcsetattr(terminal, termios.TCSAFLUSH, before)
            _write((_NO_MARK if marks else "") + "\n")

    def handle(number: int, _: FrameType | None) -> None:
        # Keys on their way through the kernel arrive now and are discarded; with echo they would be shown.
        select.select([terminal], [], [], _IN_FLIGHT)
        end()
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)
        signal.signal(number, handle)  # continued after a stop: prompt again
        begin()

    handled = [number for number in _SIGNALS if signal.getsignal(number) is signal.SIG_DFL]
    try:
        for number in handled:
            signal.signal(number, handle)
        begin()
        yield
    except KeyboardInterrupt:  # click would print an empty line
        raise click.Abort from None
    finally:
        end()
        for number in handled:
            signal.signal(number, signal.SIG_DFL)


def _write(text: str) -> None:
    """Write to stderr without Python's buffer, which a signal handler must not write to."""
    with suppress(OSError):  # input still works without stderr
        os.write(sys.stderr.fileno(), text.encode(sys.stderr.encoding, "backslashreplace"))
