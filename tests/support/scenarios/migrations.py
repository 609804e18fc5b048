"""Hard values, single steps, and the end of a report, for the tests of migrations."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from strongroom.errors import MigrationError
from strongroom.migrate import ItemState, Migrator, Report, runs
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


def _step(name: str) -> Callable[..., Any]:
    """A method of a `Migrator` that opens its stores for this step alone, as each command does."""

    def run(
        *arguments: object, config: Any = None, stores: Any = None, state_folder: Any = None, **options: Any
    ) -> Any:
        with Migrator(config, stores=stores, state_folder=state_folder) as migrator:
            return getattr(migrator, name)(*arguments, **options)

    return run


plan, apply, resume = _step("plan"), _step("apply"), _step("resume")
verify, undo, delete_source = _step("verify"), _step("undo"), _step("delete_source")


# --- files of the command line ----------------------------------------------------------------------------------------


def last_run() -> str:
    """Return the name of the last migration, which a destructive step needs without a terminal."""
    return runs()[-1].name


def write(name: str, text: str) -> None:
    """Write a file that only this user may read."""
    file = Path(name)
    file.touch(0o600)
    file.write_text(text, "utf-8")


def held(name: str) -> Any:
    """Return the content of a file of secrets."""
    return json.loads(Path(name).read_text("utf-8"))


def assert_no_value_is_kept(canary: str) -> None:
    """In no file but those that hold secrets; and none that a migration made can be read by others."""
    stores = {".env", "old.json", "new.json", "out.json"}
    for folder in (Path(), Path(os.environ["HOME"])):
        for file in folder.rglob("*"):
            if file.is_file() and file.name not in stores:
                assert canary.encode() not in file.read_bytes(), file
    for file in (Path(os.environ["HOME"]) / ".local/state/strongroom").rglob("*"):
        assert file.stat().st_mode & 0o077 == 0, file
