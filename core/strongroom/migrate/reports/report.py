"""What became of each secret of a migration: typed, without a value, and as JSON."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple, TypeAlias

from strongroom.errors import StrongroomError
from strongroom.secret import Version

FORMAT = "strongroom-migration-report"
FORMAT_VERSION = 1


class Action(StrEnum):
    """What a report is about."""

    APPLY = "apply"
    VERIFY = "verify"
    UNDO = "undo"
    DELETE_SOURCE = "delete-source"


class ItemState(StrEnum):
    """What became of one secret."""

    DONE = "done"
    """Written, verified, restored or deleted, whatever the report is about."""
    SKIPPED = "skipped"
    """Nothing was to be done; the reason says why."""
    CONFLICT = "conflict"
    """Somebody else changed it, at the source or at the target: it was left as it is."""
    FAILED = "failed"
    """It could not be done."""
    PENDING = "pending"
    """The run ended before it came to this one."""


class ItemResult(NamedTuple):
    """What became of one secret.

    Attributes:
        source: the store it comes from.
        source_path: its path there.
        path: its path at the target.
        state: what became of it.
        reason: why it was not done: one line, without a value.
        version: the version that the target has now by this run, where it has versions.
        error: what a store raised, where one did.
    """

    source: str
    source_path: str
    path: str
    state: ItemState
    reason: str = ""
    version: Version | None = None
    error: StrongroomError | None = None


class Progress(NamedTuple):
    """How far a run is.

    Attributes:
        action: what runs: an `Action`'s value, or "plan".
        done: how many secrets are through, well or not.
        total: how many there are; None while nobody knows.
        seconds_left: how long the rest takes at the pace so far; None where that is not known.
    """

    action: str
    done: int
    total: int | None
    seconds_left: float | None


OnProgress: TypeAlias = Callable[[Progress], None]
"""Is told from time to time how far a run is, in the thread that runs it."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a run did.

    Attributes:
        action: what it was to do.
        run: the name of the migration, for `resume`, `verify`, `undo` and `delete_source`.
        sources: the stores it read.
        target: the store it wrote.
        started: when it began, in UTC.
        finished: when it ended, in UTC.
        results: one for each secret of the plan, in its order.
        stopped: why it ended before it was through; empty where it was.
    """

    action: Action
    run: str
    sources: tuple[str, ...]
    target: str
    started: datetime
    finished: datetime
    results: Sequence[ItemResult] = field(default_factory=tuple)
    stopped: str = ""

    def count(self, state: ItemState) -> int:
        """How many secrets are in that state."""
        return sum(result.state is state for result in self.results)

    @property
    def ok(self) -> bool:
        """Everything that was to be done is done."""
        bad = {ItemState.CONFLICT, ItemState.FAILED, ItemState.PENDING}
        return not self.stopped and not any(result.state in bad for result in self.results)

    @property
    def faults(self) -> list[ItemResult]:
        """The secrets in conflict, failed, or not come to."""
        return [result for result in self.results if result.state not in {ItemState.DONE, ItemState.SKIPPED}]

    @property
    def summary(self) -> str:
        """It in one line: `apply: done 17, failed 3`."""
        counts = [f"{state.value} {number:,}" for state in ItemState if (number := self.count(state))]
        return (
            f"{self.action.value}: {', '.join(counts) or 'nothing to do'}{f'; {self.stopped}' if self.stopped else ''}"
        )

    def to_json(self) -> dict[str, Any]:
        """The report as a JSON document. It holds no value."""
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
                {
                    "source": result.source,
                    "source_path": result.source_path,
                    "path": result.path,
                    "state": result.state.value,
                    "reason": result.reason,
                    "version": result.version,
                    "error": None if result.error is None else type(result.error).__name__,
                }
                for result in self.results
            ],
        }
