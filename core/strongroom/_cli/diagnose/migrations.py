"""Progress of the migrations of this machine, read from their journals. Nothing is locked or changed."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, lru_cache

from strongroom.errors import MigrationError, StrongroomError
from strongroom.migrate._ledger.journal import RunProgress
from strongroom.migrate._ledger.runs import Run, runs

logger = logging.getLogger("strongroom.status")

_RUNNING = 60.0
"""A migration whose journal has grown within this many seconds counts as running."""

_SHOWN = 5
"""How many migrations are shown besides the unfinished ones."""

_REMEMBERED = 1_000
"""How many states of journals are remembered."""


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


class Migrations:
    """The migrations of this user on this machine. A journal is read again when its file has grown."""

    def __init__(self) -> None:
        self._header_of = cache(Run.header)
        self._progress_at = lru_cache(_REMEMBERED)(_progress_at)

    def status(self) -> Sequence[MigrationStatus]:
        """Return the status of every unfinished migration and of the last five others, newest first."""
        found: list[MigrationStatus] = []
        others = 0
        try:
            known = runs()
        except MigrationError as error:
            logger.warning("No migrations: %s", error)
            return []
        for run in reversed(known):
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
            header = self._header_of(run)
        except StrongroomError:
            return MigrationStatus(run.name, (), "", run.started, run.started, "unreadable", 0, 0)
        progress, updated = RunProgress(), run.started
        with suppress(OSError):
            about = run.journal.stat()
            progress = self._progress_at(run, about.st_size)
            updated = datetime.fromtimestamp(about.st_mtime, UTC)
        if progress.undone:
            state = "undone"
        elif run.finished:
            state = "finished"
        else:
            state = "running" if time.time() - updated.timestamp() < _RUNNING else "unfinished"
        counts = (header.writes, progress.done, progress.deleted)
        return MigrationStatus(run.name, header.sources, header.target, run.started, updated, state, *counts)


def _progress_at(run: Run, _size: int) -> RunProgress:
    return run.progress()
