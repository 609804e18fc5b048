"""Input: prompts of a terminal, stdin, and the files that a command line names.

Values are prompted for without echo, and a confirmation with it. `getpass` discards the rest of a paste without a word:
the first line of a PEM file would be stored as the value. And `input`, which click uses, takes a Ctrl-C that arrives
before it reads only after the next line.
"""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

import click

from strongroom._cli.process.signals import SignalArrival, handled, named
from strongroom.files.bounded import read_bytes

PAUSE = 0.2
"""Seconds to wait for the next line of a paste."""

_LONGEST_LINE = 4096
"""Bytes that Linux keeps of a line, with its newline: https://man7.org/linux/man-pages/man3/termios.3.html"""

_SIGNALS = named("SIGTERM", "SIGHUP", "SIGQUIT")
"""Signals that end the process without giving Python a chance to restore the terminal."""


def read_line(prompt: str) -> bytes:
    """Read one line, and return it without its newline.

    Raises:
        click.UsageError: the line is too long for the terminal, or more than one line was pasted. All lines are
            consumed: the shell would run the others, show them and keep them in its history.
        click.Abort: Ctrl-D, or the terminal is gone.
    """
    with _hidden(prompt) as terminal:
        line, rest = _read(terminal), b""
        while select.select([terminal], [], [], PAUSE)[0] and (more := _read(terminal)):
            rest += more
    if not line:
        raise click.Abort
    if rest.strip():
        raise click.UsageError("More than one line was pasted: name the file (KEY=@FILE), or pipe it in")
    return _complete(line).removesuffix(b"\n")


def read_lines(prompt: str) -> bytes:
    """Read all lines until Ctrl-D.

    Raises:
        click.UsageError: a line is too long for the terminal.
        click.Abort: nothing was typed, or the terminal is gone.
    """
    lines: list[bytes] = []
    with _hidden(prompt) as terminal:
        while line := _read(terminal):
            lines.append(line)
            if not line.endswith(b"\n"):  # Ctrl-D after a character
                break
    if not lines:
        raise click.Abort
    return b"".join(map(_complete, lines))


def confirmed(question: str) -> bool:
    """Return True if the answer is yes, and False if it is no or an empty line. Another answer repeats the question.

    Raises:
        click.Abort: Ctrl-C or Ctrl-D, or the terminal is gone.
    """
    while True:
        try:
            _write(f"{question} [y/N] ")
            line = _read(sys.stdin.fileno())
        except KeyboardInterrupt:
            raise click.Abort from None
        if not line:
            raise click.Abort
        answer = line.decode(errors="replace").strip().lower()
        if answer in {"y", "yes", "", "n", "no"}:
            return answer in {"y", "yes"}
        _write("Answer y or n\n")


def _read(terminal: int) -> bytes:
    """Return a line, or nothing at Ctrl-D. The terminal itself handles the keys that edit the line."""
    with SignalArrival() as arrival:
        arrival.readable(terminal)  # a signal just before `os.read` would be handled after the next line only
    with suppress(OSError):  # some systems report a closed terminal as an error
        return os.read(terminal, _LONGEST_LINE)
    return b""


def _complete(line: bytes) -> bytes:
    """Return the line if the terminal cannot have cut it."""
    if len(line) >= _LONGEST_LINE:
        raise click.UsageError(
            f"The terminal may have cut a line of over {_LONGEST_LINE - 2:,} bytes: name a file, or pipe it in"
        )
    return line


@contextmanager
def _hidden(prompt: str) -> Iterator[int]:
    """Show the prompt, and yield stdin without echo until the block ends, or a signal ends the process."""
    try:
        import termios
    except ImportError:
        raise click.UsageError("This system cannot hide the input: name a file, or pipe it in") from None
    terminal = sys.stdin.fileno()
    before, hidden = termios.tcgetattr(terminal), termios.tcgetattr(terminal)
    hidden[3] &= ~termios.ECHO

    def restore() -> None:
        with suppress(termios.error):  # the terminal is gone
            termios.tcsetattr(terminal, termios.TCSAFLUSH, before)
        _write("\n")

    def end(number: int, _: FrameType | None) -> None:
        restore()
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)

    with handled([number for number in _SIGNALS if signal.getsignal(number) is signal.SIG_DFL], end):
        try:
            termios.tcsetattr(terminal, termios.TCSAFLUSH, hidden)
            _write(prompt)
            yield terminal
        except KeyboardInterrupt:  # click would print an empty line
            raise click.Abort from None
        finally:
            restore()


def _write(text: str) -> None:
    """Write to stderr without Python's buffer, which a signal handler must not write to."""
    with suppress(OSError):  # input still works without stderr
        os.write(sys.stderr.fileno(), text.encode(sys.stderr.encoding, "backslashreplace"))


# --- stdin and files --------------------------------------------------------------------------------------------------

MAX_SIZE = 32 << 20
"""Size limit of a file and of stdin, in bytes: Vault's default limit for one request."""


def read_file(name: str, source: str) -> bytes:
    """Return the content of a file. Messages name the file as `source`.

    Raises:
        click.UsageError: the file cannot be read, or is too large.
    """
    fault, content = "", b""
    try:
        content, _ = read_bytes(Path(name).expanduser(), MAX_SIZE)
    except (OSError, ValueError, RuntimeError) as error:
        fault = (error.strerror if isinstance(error, OSError) else None) or "invalid file name"
    if fault:
        raise click.UsageError(f"{source} cannot be read: {fault}")
    return _check_size(content, source)


def read_stdin() -> bytes:
    """Return all of stdin.

    Raises:
        click.UsageError: it is too large.
    """
    return _check_size(sys.stdin.buffer.read(MAX_SIZE + 1), "Stdin")


def _check_size(content: bytes, source: str) -> bytes:
    if len(content) > MAX_SIZE:
        raise click.UsageError(f"{source} is larger than {MAX_SIZE:,} bytes")
    return content
