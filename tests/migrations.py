"""What the tests of migrations share: hard values, how a report ends, and a migration that can be killed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest

from strongroom.errors import MigrationError
from strongroom.migrate import ItemState, Report
from strongroom.secret import Value

HARD: dict[str, dict[str, Value]] = {
    "plain": {"password": "correct horse"},
    "empty": {"text": "", "list": [], "table": {}},
    "nul": {"text": "a\0b", "bytes": b"\0"},
    "long": {"below": "x" * (2**16 - 1), "at": "y" * 2**16, "above": "z" * (2**16 + 1)},
    "bytes": {"key": bytes(range(256)), "not-utf-8": b"\xff\xfe\x80"},
    "look-alike": {"wrapped": {"strongroom:bytes": "AAAA"}, "twice": {"strongroom:bytes": {"strongroom:bytes": "x"}}},
    "nested": {"json": {"a": [1, {"b": None}], "c": {"d": [[], {}]}}, "text": '{"a": 1}'},
    "numbers": {"float": 0.1, "negative": -1.5e-7, "whole": 5432, "largest": 2**53, "zero": 0},
    "words": {"true": True, "false": False, "null": None, "text-true": "true", "text-null": "null"},
    "unicode/ünïcode 🗝": {"emoji": "🗝️ ключ", "combining": "e\u0301", "composed": "\u00e9", "line": "a\u2028b"},
    "with space": {"key with space": " leading and trailing "},
    "%2e/percent": {"%2e%2e": "%00"},
    "lines": {"pem": "-----BEGIN X-----\nabc\r\n\tdef\n", "quotes": "\"'`$\\"},
    "a": {"k": "above"},
    "a/b": {"k": "below"},
}


def states(report: Report) -> dict[str, ItemState]:
    """What became of each path."""
    return {result.path: result.state for result in report.results}


def failed(function: Callable[..., object], *arguments: object, **options: Any) -> Report:
    """The report of what was not done to its end."""
    with pytest.raises(MigrationError) as caught:
        function(*arguments, **options)
    report: Report = caught.value.report
    return report


_DRIVER = """
import json, os, signal, sys
from pathlib import Path
from strongroom.migrate import apply, delete_source, parse_plan, resume, undo
from strongroom.migrate.ledger import journal
from strongroom.migrate.execution import parallel, transfer, undo as undoing

step, plan, home, at = sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4])
transfer._GROUP = transfer._GROUP_UNCHECKED = parallel._GROUP = parallel._GROUP_LOCAL = 5
write, count = journal.Journal._write, 0

def boundary():
    global count
    count += 1
    if count == at:
        os.kill(os.getpid(), signal.SIGKILL)

def dying(self, content):
    if count == 0 and step != "undo":
        print("begun", flush=True)
    boundary()
    if count + 1 == at:
        os.write(self._descriptor, content[: len(content) // 2])
    boundary()
    write(self, content)
    boundary()

begun = False

def first_step(self, *arguments):
    global begun
    if not begun:
        begun = True
        print("begun", flush=True)  # the target was read, and is written next
    return undo_step(self, *arguments)

journal.Journal._write = dying
undo_step, undoing.Undo._step = undoing.Undo._step, first_step
if step == "apply":
    apply(parse_plan(Path(plan).read_bytes()), state_folder=home)
elif step == "resume":
    resume(state_folder=home)
elif step == "delete-source":
    delete_source(state_folder=home)
else:
    undo(state_folder=home)
print("through", count, flush=True)
"""
"""Before each write to the journal, with half of it written, and after it, the process may be killed."""


class Killable:
    """`apply` of a plan, or `resume`, `undo` or `delete_source` of the last run, in another process.

    Args:
        step: which of them.
        home: where migrations are remembered.
        at: the boundary of the journal at which it is killed; 0 is none.
        plan: the file of the plan.
    """

    def __init__(
        self, step: Literal["apply", "resume", "undo", "delete-source"], home: Path, at: int = 0, plan: Path | str = ""
    ) -> None:
        command = [sys.executable, "-c", _DRIVER, step, str(plan), str(home), str(at)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "begun\n"

    def wait(self, timeout: float = 60) -> int:
        """Its exit code."""
        self._process.communicate(timeout=timeout)
        return self._process.returncode

    def kill_after(self, seconds: float) -> int:
        """Kills it then, if it still runs; its exit code."""
        try:
            self._process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
        return self._process.returncode
