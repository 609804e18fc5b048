"""One-line messages. Apart from `output`, so that `strongroom helper` need not import click."""

from __future__ import annotations

import contextlib
import os
import sys


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
