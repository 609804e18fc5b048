"""Gathers what becomes of each item of a plan, and makes the report of it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from strongroom.errors import MigrationError, StoreError, StrongroomError
from strongroom.migrate.execution.throttle import Pace
from strongroom.migrate.plans.plan import Plan
from strongroom.migrate.reports.report import Action, ItemResult, ItemState, OnProgress, Report
from strongroom.secret import Version


class Results:
    """What becomes of each item. Each is pending until it is said.

    Args:
        action: what is done.
        run: the run's name.
        plan: the plan.
        total: how many items there are to do, for the progress.
        on_progress: is told how far it is.
    """

    def __init__(self, action: Action, run: str, plan: Plan, total: int, on_progress: OnProgress | None) -> None:
        self._action = action
        self._run = run
        self._plan = plan
        self._started = datetime.now(UTC)
        self._pace = Pace(action.value, total, on_progress)
        self._results = [ItemResult(item.source, item.source_path, item.path, ItemState.PENDING) for item in plan.items]

    def settle(self, index: int, state: ItemState, reason: str = "", version: Version | None = None) -> None:
        """Says what was known of an item before anything was done."""
        self._results[index] = self._results[index]._replace(state=state, reason=reason, version=version)

    def put(
        self,
        index: int,
        state: ItemState,
        reason: str = "",
        *,
        version: Version | None = None,
        error: StrongroomError | None = None,
    ) -> None:
        """Says what became of an item."""
        self._results[index] = self._results[index]._replace(state=state, reason=reason, version=version, error=error)
        self._pace.step()

    def fail(self, index: int, error: StrongroomError) -> None:
        """Says that an item could not be done."""
        self.put(index, ItemState.FAILED, str(error), error=error)

    def is_through(self, indices: Iterable[int]) -> bool:
        """Whether nothing is left to be done for any of these items."""
        return all(self._results[index].state in {ItemState.DONE, ItemState.SKIPPED} for index in indices)

    def report(self, stopped: StrongroomError | None = None) -> Report:
        """The report.

        Raises:
            MigrationError: not everything was done. It carries the report.
        """
        why = "" if stopped is None else str(stopped)
        report = Report(
            self._action,
            self._run,
            self._plan.sources,
            self._plan.target,
            self._started,
            datetime.now(UTC),
            tuple(self._results),
            why,
        )
        if report.ok:
            return report
        raise MigrationError(_words(report), report)


def _words(report: Report) -> str:
    """What was and was not done, in one line, with the first path of those that were not."""
    first = report.faults[:1]
    example = ""
    if first and not report.stopped:
        error = first[0].error
        reason = first[0].reason if not isinstance(error, StoreError) else str(error)
        example = f"; {first[0].path or first[0].source_path}: {reason}"
    return f"The migration {report.run} is not complete: {report.summary}{example}"
