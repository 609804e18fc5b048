"""The standard streams as every command has them: each is open, and no message on stderr can fail."""

from __future__ import annotations

import io
import os
import sys


def prepare() -> None:
    """Sets the streams of this process up, before anything is written."""
    _open_what_is_closed()
    own = sys.__stderr__
    if own is not None and sys.stderr is own:  # nobody has put another in its place
        sys.stderr = _Advice(own.buffer, own.encoding, own.errors, line_buffering=True)


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
