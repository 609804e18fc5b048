"""The stored reports of a run, beside its journal: the last one of each action."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from strongroom.errors import MigrationError
from strongroom.files import private_file
from strongroom.migrate.ledger.runs import Run
from strongroom.migrate.reports.report import FORMAT, FORMAT_VERSION, Action, ItemResult, ItemState, Report


def keep_report(run: Run, report: Report) -> None:
    """Store a report, replacing the last one of that action. On a full disk only the report is lost."""
    with suppress(OSError):
        private_file.replace(_file(run, report.action), json.dumps(report.to_json(), ensure_ascii=False).encode())


def kept_reports(run: Run) -> list[Report]:
    """Return the reports of the run, oldest first.

    Raises:
        MigrationError: one cannot be read, or has a later format.
    """
    found = [_read(file) for action in Action if (file := _file(run, action)).is_file()]
    return sorted(found, key=lambda report: report.finished)


def _file(run: Run, action: Action) -> Path:
    return run.folder / f"{action.value}.report"


def _read(file: Path) -> Report:
    with private_file.faults_as(MigrationError, file):
        content = private_file.read(file)
    try:
        document = json.loads(content)
        if document["format"] == FORMAT and document["version"] == FORMAT_VERSION:
            return _parsed(document)
        fault = "its format is not supported"
    except (ValueError, TypeError, KeyError):
        fault = "it is not a report"
    raise MigrationError(f"{file}: {fault}")


def _parsed(document: dict[str, Any]) -> Report:
    results = (
        ItemResult(
            item["source"],
            item["source_path"],
            item["path"],
            ItemState(item["state"]),
            item["reason"],
            item["version"],
        )
        for item in document["items"]
    )
    return Report(
        Action(document["action"]),
        document["run"],
        tuple(document["sources"]),
        document["target"],
        datetime.fromisoformat(document["started"]),
        datetime.fromisoformat(document["finished"]),
        tuple(results),
        document["stopped"],
    )
