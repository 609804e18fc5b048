"""The report of one step of a migration, as objects, as JSON and as an HTML page, without values."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from html import escape
from typing import Any, NamedTuple, Self, TypeAlias

from strongroom.errors import StrongroomError
from strongroom.secret import Version

FORMAT = "strongroom-migration-report"
FORMAT_VERSION = 1

_EVERY = 0.1
"""Seconds between two progress reports. The last one always comes."""


class MigrationAction(StrEnum):
    """The step that a report is about."""

    APPLY = "apply"
    VERIFY = "verify"
    UNDO = "undo"
    DELETE_SOURCE = "delete-source"


class ItemState(StrEnum):
    """The result for one secret."""

    DONE = "done"
    """Written, verified, restored or deleted, according to the action."""
    SKIPPED = "skipped"
    """Nothing to do, for the given reason."""
    CONFLICT = "conflict"
    """Changed by another writer at the source or the target, and left alone."""
    FAILED = "failed"
    """The step failed for this secret."""
    PENDING = "pending"
    """The run ended before this secret."""


class ItemResult(NamedTuple):
    """The result for one secret.

    Attributes:
        source: the source.
        source_path: its path there.
        path: its path at the target.
        state: the result.
        reason: why it was not done, in one line without values.
        version: the version that the run wrote, if the target has versions.
        error: the error of a store, or None.
    """

    source: str
    source_path: str
    path: str
    state: ItemState
    reason: str = ""
    version: Version | None = None
    error: StrongroomError | None = None


class Progress(NamedTuple):
    """The progress of a step.

    Attributes:
        action: the value of a `MigrationAction`, or "plan".
        done: the number of processed secrets, including failures.
        total: the number of secrets, or None if it is unknown.
        seconds_left: the estimated time left, or None if it is unknown.
    """

    action: str
    done: int
    total: int | None
    seconds_left: float | None


OnProgress: TypeAlias = Callable[[Progress], None]
"""Called with the progress from time to time, in the thread of the run."""


def progress_counter(
    action: str, total: int | None, on_progress: OnProgress | None, clock: Callable[[], float] = time.monotonic
) -> Callable[[], None]:
    """Return a function that counts one more secret as processed, and reports the progress of a step."""
    if on_progress is None:
        return lambda: None
    started = reported = clock()
    done = 0

    def advance() -> None:
        nonlocal reported, done
        done += 1
        now = clock()
        if now - reported >= _EVERY or done == total:
            reported = now
            left = None if total is None else (now - started) / done * (total - done)
            on_progress(Progress(action, done, total, left))

    return advance


@dataclass(frozen=True, slots=True)
class Report:
    """The results of one step.

    Attributes:
        action: the step.
        run: the name of the migration, for `resume`, `verify`, `undo` and `delete_source`.
        sources: the stores it read.
        target: the store it wrote.
        started: when it began, in UTC.
        finished: when it ended, in UTC.
        results: one for each secret of the plan, in its order.
        stopped: why it ended early, or empty.
    """

    action: MigrationAction
    run: str
    sources: tuple[str, ...]
    target: str
    started: datetime
    finished: datetime
    results: Sequence[ItemResult] = field(default_factory=tuple)
    stopped: str = ""

    def count(self, state: ItemState) -> int:
        """Return how many secrets have that result."""
        return sum(result.state is state for result in self.results)

    @property
    def ok(self) -> bool:
        """True if nothing failed, and nothing is left to do."""
        bad = {ItemState.CONFLICT, ItemState.FAILED, ItemState.PENDING}
        return not self.stopped and not any(result.state in bad for result in self.results)

    @property
    def faults(self) -> list[ItemResult]:
        """The results of secrets in conflict, failed or pending."""
        return [result for result in self.results if result.state not in {ItemState.DONE, ItemState.SKIPPED}]

    @property
    def summary(self) -> str:
        """The counts in one line, such as "apply: done 17, failed 3"."""
        counts = [f"{state.value} {number:,}" for state in ItemState if (number := self.count(state))]
        return (
            f"{self.action.value}: {', '.join(counts) or 'nothing to do'}{f'; {self.stopped}' if self.stopped else ''}"
        )

    def to_json(self) -> dict[str, Any]:
        """Return the report as a JSON document without values."""
        return {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "action": self.action.value,
            "run": self.run,
            "sources": list(self.sources),
            "target": self.target,
            "started": self.started.isoformat(),
            "finished": self.finished.isoformat(),
            "ok": self.ok,
            "stopped": self.stopped,
            "counts": {state.value: self.count(state) for state in ItemState},
            "items": [
                {**result._asdict(), "error": None if result.error is None else type(result.error).__name__}
                for result in self.results
            ],
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Return the report that `to_json` wrote, without the errors of its results.

        Raises:
            ValueError, TypeError, KeyError: it is not a report.
        """
        return cls(
            MigrationAction(document["action"]),
            document["run"],
            tuple(document["sources"]),
            document["target"],
            datetime.fromisoformat(document["started"]),
            datetime.fromisoformat(document["finished"]),
            tuple(
                ItemResult(**{**item, "state": ItemState(item["state"]), "error": None}) for item in document["items"]
            ),
            document["stopped"],
        )


# --- the page ---------------------------------------------------------------------------------------------------------

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; color: #1c1c1e; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .3rem .6rem; vertical-align: top; }
thead th { border-bottom: 2px solid #888; } tbody tr { border-bottom: 1px solid #ddd; }
td { overflow-wrap: anywhere; } .done { color: #1b6e3c; }
.failed, .conflict, .pending { font-weight: 600; color: #a4161a; }
@media (prefers-color-scheme: dark) {
  body { background: #1c1c1e; color: #eee; } .done { color: #7bd88f; }
  .failed, .conflict, .pending { color: #ff8a8a; }
}
"""


def html_report(report: Report) -> str:
    """Return the report as one HTML page that has no script and loads nothing."""
    title = f"Migration {report.run}: {report.action.value}"
    facts = [
        ("From", ", ".join(report.sources)),
        ("To", report.target),
        ("Started", f"{report.started:%Y-%m-%d %H:%M:%S} UTC"),
        ("Finished", f"{report.finished:%Y-%m-%d %H:%M:%S} UTC"),
        *((state.value.capitalize(), f"{report.count(state):,}") for state in ItemState),
    ]
    if report.stopped:
        facts.append(("Stopped", report.stopped))
    # List failures first.
    results = sorted(report.results, key=lambda result: result.state in {ItemState.DONE, ItemState.SKIPPED})
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">",
            f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>",
            f"<h1>{escape(title)}</h1>",
            "<table><tbody>",
            *(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in facts),
            "</tbody></table>",
            "<h2>Secrets</h2>",
            "<table><thead><tr><th>State<th>From<th>Path<th>To<th>Version<th>Reason</tr></thead><tbody>",
            *map(_row, results),
            "</tbody></table></body></html>",
            "",
        ]
    )


def _row(result: ItemResult) -> str:
    state = f'<td class="{escape(result.state.value)}">{escape(result.state.value)}</td>'
    version = "" if result.version is None else str(result.version)
    cells = (result.source, result.source_path, result.path, version, result.reason)
    return f"<tr>{state}{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"
