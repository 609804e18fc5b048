"""The command line, run in this process, for tests that are not about the command line itself."""

from __future__ import annotations

import contextlib
import logging
import os
import pty
import sys
import termios
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from strongroom._cli.app import run


class Done(NamedTuple):
    """How a command ended: its exit code, and the text on stdout and stderr."""

    code: int
    out: str
    err: str


def call(arguments: Iterable[object]) -> int:
    """Run `strongroom` with these arguments and the streams of this process. Return its exit code."""
    handlers = list(logging.getLogger().handlers)
    levels = {name: logging.getLogger(name).level for name in ("strongroom", "strongroom_env", "strongroom_vault")}
    try:
        return run([str(argument) for argument in arguments])
    finally:
        logging.getLogger().handlers[:] = handlers
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def call_piped(arguments: Iterable[object], text: str = "") -> int:
    """Run `strongroom` with this text piped into stdin."""
    reading, writing = os.pipe()
    os.write(writing, text.encode())
    os.close(writing)
    with os.fdopen(reading, "r") as stdin, pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "stdin", stdin)
        return call(arguments)


@contextlib.contextmanager
def _terminal(lines: int, columns: int) -> Iterator[list[bytes]]:
    """Make a terminal of this size the standard streams of this process. At its end, the list holds all it showed."""
    screen, keyboard = pty.openpty()
    termios.tcsetwinsize(keyboard, (lines, columns))
    before = [os.dup(number) for number in range(3)]
    shown: list[bytes] = []

    def watch() -> None:
        with contextlib.suppress(OSError):  # the end of a terminal that nobody holds any more
            while content := os.read(screen, 1 << 16):
                shown.append(content)

    watcher = threading.Thread(target=watch)
    watcher.start()

    try:
        for number in range(3):
            os.dup2(keyboard, number)
        os.close(keyboard)
        with (
            open(0, closefd=False) as stdin,
            open(1, "w", closefd=False) as stdout,
            open(2, "w", closefd=False) as stderr,
            pytest.MonkeyPatch.context() as patched,
        ):
            for name, stream in (("stdin", stdin), ("stdout", stdout), ("stderr", stderr)):
                patched.setattr(sys, name, stream)
            yield shown
    finally:
        for number, kept in enumerate(before):
            os.dup2(kept, number)
            os.close(kept)
        watcher.join(30)
        os.close(screen)


def call_on_terminal(arguments: Iterable[object], lines: int = 24, columns: int = 80) -> tuple[int, str]:
    """Run `strongroom` on a terminal of this size. Return its exit code and the text on the terminal.

    Nobody types an answer: a command that waits for one needs a process, as `Terminal` of `cli_fixtures` has it.
    """
    with _terminal(lines, columns) as shown:
        code = call(arguments)
    return code, b"".join(shown).decode()


class Caller:
    """Runs `strongroom` with these arguments and, where given, this text piped into stdin."""

    def __init__(self, capture):
        self._capture = capture

    def __call__(self, *arguments, piped=""):
        return Done(call_piped(arguments, piped), *self._capture.readouterr())


def configure(text: str, **replaced: str) -> None:
    """Write `strongroom.toml` into the working directory. Each `{NAME}` of the text is replaced."""
    for name, value in replaced.items():
        text = text.replace(f"{{{name}}}", value)
    Path("strongroom.toml").write_text(text, "utf-8")


def rows_of_doctor(done: Any) -> dict[tuple[str, str], tuple[str, str, str]]:
    """Return store and check -> state, finding and next step, from the output of `doctor` in a pipe."""
    rows = [line.split("\t") for line in done.out.decode().splitlines()]
    assert {len(row) for row in rows} <= {6}
    return {(store, check): (state, detail, hint) for store, check, state, _, detail, hint in rows}
