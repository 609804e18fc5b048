"""Progress of the migrations of this machine, read from their journals. Nothing is locked or changed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from strongroom.errors import StrongroomError
from strongroom.migrate.ledger.journal import Progress, progress_in
from strongroom.migrate.ledger.runs import Run, runs

_RUNNING = 60.0
"""A migration whose journal has grown within this many seconds counts as running."""

_SHOWN = 5
"""How many migrations are shown besides the unfinished ones."""


@dataclass(frozen=True)
class MigrationStatus:
    """How far a migration is.

    `state` is `running`, `unfinished`, `finished`, `undone`, or `unreadable`. Of the `total` secrets that its plan
    writes, the target holds `done`, and `deleted` were deleted at the source. Its journal last grew at `updated`.
    """

    run: str
    sources: tuple[str, ...]
    target: str
    started: datetime
    updated: datetime
    state: str
    total: int
    done: int
    deleted: int = 0


class _Counts:
    """The counts of one journal, read again when the file has grown."""

    def __init__(self, run: Run) -> None:
        self._journal = run.journal
        self._size = -1
        self.updated = run.started
        self.progress = Progress()
        plan = run.plan()
        self.sources, self.target, self.total = plan.sources, plan.target, len(plan.pending)

    def update(self) -> None:
        try:
            about = self._journal.stat()
        except OSError:
            return
        if about.st_size == self._size:
            return
        self._size, self.updated = about.st_size, datetime.fromtimestamp(about.st_mtime, UTC)
        self.progress = progress_in(self._journal)


class Migrations:
    """The migrations of this user on this machine."""

    def __init__(self) -> None:
        self._counts: dict[str, _Counts] = {}

    def status(self) -> Sequence[MigrationStatus]:
        """Return the status of every unfinished migration and of the last five others, newest first."""
        found: list[MigrationStatus] = []
        others = 0
        for run in reversed(runs()):
            if run.finished and others >= _SHOWN:
                continue
            status = self._status_of(run)
            if status.state not in {"running", "unfinished"}:
                others += 1
                if others > _SHOWN:
                    continue
            found.append(status)
        return found

    def _status_of(self, run: Run) -> MigrationStatus:
        try:
            counts = self._counts.get(run.name) or self._counts.setdefault(run.name, _Counts(run))
        except StrongroomError:
            return MigrationStatus(run.name, (), "", run.started, run.started, "unreadable", 0, 0)
        counts.update()
        if counts.progress.undone:
            state = "undone"
        elif run.finished:
            state = "finished"
        else:
            state = "running" if time.time() - counts.updated.timestamp() < _RUNNING else "unfinished"
        return MigrationStatus(
            run.name,
            counts.sources,
            counts.target,
            run.started,
            counts.updated,
            state,
            counts.total,
            counts.progress.done,
            counts.progress.deleted,
        )
