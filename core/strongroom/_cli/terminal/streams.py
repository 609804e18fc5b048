"""The standard streams: their setup, messages on stderr, and the final flush.

Apart from `output`, so that it can run before click is imported, and so that `strongroom helper` need not import click.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, TextIO, cast

_STRICT = ("strict", "surrogateescape")
"""Python's default error handlers, under which a character that the terminal cannot show raises an error."""


class UnwritableError(OSError):
    """A result cannot be written to stdout, for example because the disk is full."""


def prepare() -> None:
    """Open closed standard streams on /dev/null, and escape characters that the encoding of stdout lacks.

    Python sets a closed stream to None, and the next file or connection would get its descriptor. A result that is
    written to a closed stdout is lost, so each write to it fails.
    """
    flags = {"stdin": os.O_RDONLY, "stdout": os.O_RDONLY, "stderr": os.O_WRONLY}
    for name, flag in flags.items():
        if getattr(sys, name) is None:
            file = os.open(os.devnull, flag)  # the lowest free number: the closed stream's
            setattr(sys, name, os.fdopen(file, "r" if name == "stdin" else "w", encoding="utf-8"))
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors in _STRICT:
        sys.stdout.reconfigure(errors="backslashreplace")


class _ResultsOnly:
    """Stand-in for stdout that sends the output of plugins, from their calls and threads, to stderr."""

    def __init__(self, stdout: TextIO, in_plugin: Callable[[], bool]) -> None:
        self._stdout = stdout
        self._in_plugin = in_plugin
        self._thread = threading.get_ident()

    def __getattr__(self, name: str) -> Any:  # any attribute of a stream
        return getattr(self._stream(), name)

    def write(self, text: str) -> int:
        with result_errors():
            return self._stream().write(text)

    def flush(self) -> None:
        with result_errors():
            self._stream().flush()

    def _stream(self) -> TextIO:
        ours = threading.get_ident() == self._thread and not self._in_plugin()
        return self._stdout if ours else sys.stderr


@contextlib.contextmanager
def results_only() -> Iterator[None]:
    """Keep the output of plugins off stdout in the block, whose results this thread writes."""
    from strongroom._boundary import plugin_calls

    stdout = sys.stdout
    with plugin_calls.watch() as in_plugin:
        sys.stdout = cast("TextIO", _ResultsOnly(stdout, in_plugin))
        try:
            yield
        finally:
            sys.stdout = stdout


@contextlib.contextmanager
def result_errors() -> Iterator[None]:
    """Raise UnwritableError if the block fails to write. A closed pipe stays a BrokenPipeError."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise UnwritableError(error.errno, error.strerror) from None


def stdout_fault() -> str | None:
    """Return why stdout cannot be written, or None. After a failed write the data is still buffered and fails again."""
    try:
        sys.stdout.flush()
    except OSError as error:
        return error.strerror
    return None


def finish() -> None:
    """Flush stdout and stderr. Redirect one that fails to /dev/null, and later output of plugins to stderr.

    Otherwise Python flushes it once more at exit, and adds a complaint and an exit code of its own:
    https://docs.python.org/3/library/signal.html#note-on-sigpipe.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    sys.stdout = sys.stderr  # handlers at exit and threads of plugins still run


# --- messages ---------------------------------------------------------------------------------------------------------


def say(message: str, *, label: str = "") -> None:
    """Print a message on one line of stderr. A stderr that cannot be written is ignored."""
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(f"{line(message, label=label)}\n")
        sys.stderr.flush()


def line(message: str, *, label: str = "") -> str:
    """Return a message as one line, with its control characters escaped; wrapped for a terminal on stderr.

    Args:
        message: the text.
        label: word before the message, such as `warning`.
    """
    text = escape(" ".join(message.splitlines()))
    return _wrap(f"strongroom: {f'{label}: ' if label else ''}{text}")


def escape(text: str) -> str:
    """Escape control characters, which could move the cursor or color the screen. A newline stays."""
    return "".join(
        character if character.isprintable() or character == "\n" else character.encode("unicode_escape").decode()
        for character in text
    )


def _wrap(line: str) -> str:
    """Wrap a line to the width of the terminal on stderr, if it is one and its width is known."""
    try:
        width = os.get_terminal_size(sys.stderr.fileno()).columns
    except (OSError, ValueError):
        return line
    if not 0 < width < len(line):
        return line
    from textwrap import fill

    return fill(line, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
