"""Hard values, single steps, and the end of a report, for the tests of migrations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from strongroom.errors import MigrationError
from strongroom.migrate import ItemState, Migrator, Report
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
