"""The standard streams as every command has them: each is open, and what is wrong with one is a failure in words.

Nothing of stderr is a failure.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator

_STRICT = ("strict", "surrogateescape")
"""How Python fails at a character that the terminal's encoding lacks, where nobody chose: a table shows its number."""


def prepare() -> None:
    """Sets the streams of this process up, before anything is written."""
    _open_what_is_closed()
    # Where somebody has put another in the place of the process's own, it stays.
    if (out := sys.__stdout__) is not None and sys.stdout is out:
        sys.stdout = _Results(
            out.buffer,
            out.encoding,
            "backslashreplace" if out.errors in _STRICT else out.errors,
            line_buffering=out.line_buffering,
            write_through=out.write_through,
        )
    if (err := sys.__stderr__) is not None and sys.stderr is err:
        sys.stderr = _Advice(err.buffer, err.encoding, err.errors, line_buffering=True, write_through=err.write_through)


class UnwritableError(OSError):
    """A result cannot be written, as on a full disk."""


@contextlib.contextmanager
def writing_results() -> Iterator[None]:
    """Tells a failure to write results from that of any other file. That their reader went away is none.

    Raises:
        UnwritableError: they cannot be written.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise UnwritableError(error.errno, error.strerror) from None


class _Results(io.TextIOWrapper):
    """A stream that fails as `writing_results` does, whoever writes to it."""

    def write(self, text: str, /) -> int:
        """Writes the text."""
        with writing_results():
            return super().write(text)

    def flush(self) -> None:
        """Writes what is held."""
        with writing_results():
            super().flush()


class _Advice(io.TextIOWrapper):
    """A stream that never fails: what is said beside a result changes neither the result nor the exit code.

    A disk may be full, a reader gone, and the pipe of a caller that does not wait full: then it is left unsaid.
    """

    def write(self, text: str, /) -> int:
        """Writes the text, where that is possible."""
        try:
            return super().write(text)
        except OSError:
            return len(text)

    def flush(self) -> None:
        """Writes what is held, where that is possible."""
        try:
            super().flush()
        except OSError:
            return


def _open_what_is_closed() -> None:
    """A standard stream that was closed before we began leads nowhere, as in any program of Go's.

    Python has None in its place, and the next file or connection would get its number.
    """
    for name, mode in {"stdin": "r", "stdout": "w", "stderr": "w"}.items():
        if getattr(sys, name) is None:
            file = os.open(os.devnull, os.O_RDWR)  # the lowest number that is free, which is the closed stream's
            setattr(sys, name, os.fdopen(file, mode, encoding="utf-8"))
