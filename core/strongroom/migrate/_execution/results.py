"""Collect the result of each item of a plan, and build the report."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from strongroom.errors import MigrationError, StoreError, StrongroomError
from strongroom.events import Event, EventKind, emit, emit_to_auditors, is_listening
from strongroom.migrate._execution.parallel import Retries
from strongroom.migrate._ledger.runs import OpenRun
from strongroom.migrate.report import ItemResult, ItemState, MigrationAction, OnProgress, Report, progress_counter
from strongroom.secret import Version


class Results:
    """The results of one step. Each item is pending until its result is known."""

    def __init__(self, action: MigrationAction, run: OpenRun, total: int, on_progress: OnProgress | None) -> None:
        self._action = action
        self._run, self._plan = run.run.name, run.plan
        self._started = datetime.now(UTC)
        self._deletes = action is MigrationAction.DELETE_SOURCE
        for store in self._plan.sources if self._deletes else (self._plan.target,):
            emit_to_auditors(Event(EventKind.MIGRATION, store, step=action.value, outcome="started"))
        self._advance = progress_counter(action.value, total, on_progress)
        self._retries = Retries[int]()
        self._reasons: dict[int, str] = {}
        self._begun: dict[int, float] = {}
        self._results = [
            ItemResult(item.source, item.source_path, item.path, ItemState.PENDING) for item in run.plan.items
        ]

    def begin(self, indices: Iterable[int]) -> None:
        """Note that the step has begun to process these items. A retry does not begin anew."""
        now = time.monotonic()
        for index in indices:
            self._begun.setdefault(index, now)

    def settle(self, index: int, state: ItemState, reason: str = "", version: Version | None = None) -> None:
        """Set the result of an item that the step does not process."""
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
        self._retries.keep(index, None)
        result = self._results[index]._replace(state=state, reason=reason, version=version, error=error)
        self._results[index] = result
        self._advance()
        now = time.monotonic()
        seconds = now - self._begun.pop(index, now)
        if not is_listening():
            return
        store, path = (result.source, result.source_path) if self._deletes else (self._plan.target, result.path)
        step, name = self._action.value, "" if error is None else type(error).__name__
        emit(Event(EventKind.MIGRATION, store, path, seconds=seconds, step=step, outcome=state.value, error=name))

    def fail(self, index: int, error: StrongroomError) -> None:
        self.put(index, ItemState.FAILED, str(error), error=error)

    @contextmanager
    def retries(self) -> Iterator[Iterator[list[int]]]:
        """Yield the rounds of the items that `fail_or_retry` keeps. At the end, those that still fail are failed."""
        self._retries = Retries[int]()
        try:
            yield self._retries.rounds()
        finally:
            for index, error in list(self._retries.failed.items()):
                self.put(index, ItemState.FAILED, self._reasons[index], error=error)

    def fail_or_retry(self, index: int, error: StrongroomError, reason: str = "") -> None:
        """Set a processed item to failed, unless its error is transient and it is tried again first."""
        self._reasons[index] = reason or str(error)
        if not self._retries.keep(index, error):
            self.put(index, ItemState.FAILED, self._reasons[index], error=error)

    def all_done(self, indices: Iterable[int]) -> bool:
        """Return True if nothing is left to do for these items."""
        return all(self._results[index].state in {ItemState.DONE, ItemState.SKIPPED} for index in indices)

    def report(self, stopped: StrongroomError | None = None) -> Report:
        """Return the report.

        Raises:
            MigrationError: not everything was done. It carries the report.
        """
        reason = "" if stopped is None else str(stopped)
        report = Report(
            self._action,
            self._run,
            self._plan.sources,
            self._plan.target,
            self._started,
            datetime.now(UTC),
            tuple(self._results),
            reason,
        )
        if report.ok:
            return report
        raise MigrationError(_message(report), report)


def _message(report: Report) -> str:
    """Return a summary in one line, with the path and the reason of the first failure."""
    first = report.faults[:1]
    example = ""
    if first and not report.stopped:
        error = first[0].error
        reason = first[0].reason if not isinstance(error, StoreError) else str(error)
        example = f"; {first[0].path or first[0].source_path}: {reason}"
    return f"The migration {report.run} is not complete: {report.summary}{example}"
