"""The command line, run in this process, for tests that are not about the command line itself."""

from __future__ import annotations

import logging
import os
import sys
from typing import NamedTuple

from strongroom.cli.app import run


class Done(NamedTuple):
    """How a command ended: its exit code, and the text on stdout and stderr."""

    code: int
    out: str
    err: str


class Caller:
    """Runs `strongroom` with these arguments and, where given, this text piped into stdin."""

    def __init__(self, capture, monkeypatch):
        self._capture = capture
        self._monkeypatch = monkeypatch

    def __call__(self, *arguments, piped=""):
        reading, writing = os.pipe()
        os.write(writing, piped.encode())
        os.close(writing)
        handlers = list(logging.getLogger().handlers)
        levels = {name: logging.getLogger(name).level for name in ("strongroom", "strongroom_env", "strongroom_vault")}
        try:
            with os.fdopen(reading, "r") as stdin, self._monkeypatch.context() as patched:
                patched.setattr(sys, "stdin", stdin)
                code = run([str(argument) for argument in arguments])
        finally:
            logging.getLogger().handlers[:] = handlers
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)
        return Done(code, *self._capture.readouterr())
