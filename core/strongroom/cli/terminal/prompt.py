"""What is typed or pasted at the terminal: without echo, at any length, and with no line of it left to the shell."""

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

PAUSE = 0.2
"""In how many seconds the next line of a paste has come."""

_SIGNALS = frozenset({signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP})
"""What ends or stops the process where Python does nothing about it."""

# A terminal that knows these marks puts a paste between them: https://invisible-island.net/xterm/xterm-paste64.html
_MARK, _NO_MARK = "\x1b[?2004h", "\x1b[?2004l"
_PASTE, _END_OF_PASTE = b"\x1b[200~", b"\x1b[201~"

_ERASED = {
    "VERASE": rb"(?s:[\xc2-\xf4][\x80-\xbf]+|.)\Z",  # a character, which may be several bytes of UTF-8
    "VWERASE": rb"\S*\s*\Z",
    "VKILL": rb"[^\n]*\Z",
}
"""What each key takes away, which the terminal does itself only for lines of its own, of at most 4,095 bytes."""


def read_line(prompt: str) -> bytes:
    """One line without its newline.

    Raises:
        click.UsageError: more than one line was pasted. All of them are taken from the terminal: the shell would run
            the others, show them and keep them in its history.
        click.Abort: there is none: Ctrl-D, or the terminal is gone.
    """
    line = _read(prompt, lines=False).rstrip(b"\n")
    if b"\n" in line:
        raise click.UsageError("More than one line was pasted: name the file (KEY=@FILE), or pipe it in")
    return line


def read_lines(prompt: str) -> bytes:
    """All until Ctrl-D.

    Raises:
        click.Abort: there is nothing, or the terminal is gone.
    """
    return _read(prompt, lines=True)


def _read(prompt: str, *, lines: bool) -> bytes:
    terminal = sys.stdin.fileno()
    typed = _Typed(_keys(terminal), lines=lines)
    with _hidden(terminal, prompt, typed):
        while not typed.over or select.select([terminal], [], [], PAUSE)[0]:
            content = b""
            with suppress(OSError):  # the terminal is gone, which some systems call a failure
                content = os.read(terminal, 65_536)
            if not content:
                raise click.Abort
            typed.take(content)
    return bytes(typed.text)


class _Typed:
    """What was typed so far, made of the bytes that a terminal sends. Pure.

    Args:
        keys: the names of those that edit it.
        lines: a newline is not the end.

    Attributes:
        text: the bytes, with every newline.
        over: the end was typed; what comes yet is added as it is.
    """

    def __init__(self, keys: Mapping[int, str], *, lines: bool) -> None:
        self._keys, self._lines = keys, lines
        self.begin()

    def begin(self) -> None:
        """Nothing was typed."""
        self.text, self.over = bytearray(), False
        self._in_paste = self._is_literal = False

    def take(self, content: bytes) -> None:
        """Goes on with these bytes.

        Raises:
            click.Abort: Ctrl-D, and no text before it.
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
    """The name of each key that edits what is typed."""
    characters = termios.tcgetattr(terminal)[6]
    found = {name: characters[getattr(termios, name)] for name in (*_ERASED, "VLNEXT", "VEOF")}
    off = os.fpathconf(terminal, "PC_VDISABLE")
    return {key[0]: name for name, key in found.items() if isinstance(key, bytes) and key[0] != off}


@contextmanager
def _hidden(terminal: int, prompt: str, typed: _Typed) -> Iterator[None]:
    """The prompt, and a terminal that shows nothing until the block, or the process, ends or is stopped."""
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
        if is_hidden:  # else we may be in the background, where setting it would stop us
            is_hidden = False
            with suppress(termios.error):  # the terminal is gone
                termios.tcsetattr(terminal, termios.TCSAFLUSH, before)
            _write((_NO_MARK if marks else "") + "\n")

    def heed(number: int, _: FrameType | None) -> None:
        end()
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)
        signal.signal(number, heed)  # a stop has an end: it is asked for again
        begin()

    heeded = [number for number in _SIGNALS if signal.getsignal(number) is signal.SIG_DFL]
    try:
        for number in heeded:
            signal.signal(number, heed)
        begin()
        yield
    except KeyboardInterrupt:  # of which click would make an empty line
        raise click.Abort from None
    finally:
        end()
        for number in heeded:
            signal.signal(number, signal.SIG_DFL)


def _write(text: str) -> None:
    """To stderr, past Python's buffer: a signal that comes while that is written may not write to it."""
    with suppress(OSError):  # a stderr that cannot be written keeps nobody from typing
        os.write(sys.stderr.fileno(), text.encode(sys.stderr.encoding, "backslashreplace"))
