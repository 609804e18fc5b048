"""The report of one step of a migration, as objects and as JSON, without values."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
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
        return not self.stopped and not self.faults

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
