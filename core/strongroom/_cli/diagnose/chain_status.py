"""The status of the chain and of what works with it, as plain data for a terminal, a web page and `--json`.

The progress of migrations is read from their journals. Nothing is locked or changed.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

from strongroom._cli.maintain.cache import cache_document
from strongroom._cli.rotate import rotation_document
from strongroom._config import CacheConfig, LinkConfig
from strongroom.agents.session_log import RecordedSession, recorded_sessions
from strongroom.errors import Check, MigrationError, StrongroomError
from strongroom.migrate._ledger.journal import RunProgress
from strongroom.migrate._ledger.runs import Run, runs

if TYPE_CHECKING:
    from strongroom._disk_cache.maintenance import DiskCacheStatus
    from strongroom.rotate.rotations import RotationStatus

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
        size, updated = 0, run.started
        with suppress(OSError):
            about = run.journal.stat()
            size, updated = about.st_size, datetime.fromtimestamp(about.st_mtime, UTC)
        progress = self._progress_at(run, size)
        if progress.fault:
            state = "unreadable"
        elif progress.undone:
            state = "undone"
        elif run.finished:
            state = "finished"
        else:
            state = "running" if time.time() - updated.timestamp() < _RUNNING else "unfinished"
        counts = (header.writes, progress.done, progress.deleted)
        return MigrationStatus(run.name, header.sources, header.target, run.started, updated, state, *counts)


@dataclass(frozen=True)
class AgentStatus:
    """A running `agent run` or `agent serve`: the name of its session, its command, its uses, and its last line.

    `end` is when it will end, or None if its worker decides.
    """

    session: str
    command: str
    pid: int
    started: datetime
    end: datetime | None
    last: datetime
    uses: Mapping[str, int]
    refusals: int


class Agents:
    """The running agents of this user on this machine. Of each log, only new lines are read."""

    def __init__(self) -> None:
        self._known: dict[str, RecordedSession] = {}

    def status(self) -> Sequence[AgentStatus]:
        """Return the status of every running agent, newest first. One whose log cannot be read is left out."""
        found: list[AgentStatus] = []
        try:
            running = [session for session in recorded_sessions() if session.is_running]
        except StrongroomError:  # without a home folder, of which `Migrations` warns
            return []
        self._known = {session.name: self._known.get(session.name, session) for session in running}
        for session in self._known.values():
            before = session.damaged
            try:
                session.read()
            except StrongroomError as error:
                logger.warning("%s", error)
            else:
                found += [_agent(session)] if session.about else []
                if session.damaged > before:
                    logger.warning("The log of the session %s has damaged lines: %d", session.name, session.damaged)
        return found


def _agent(session: RecordedSession) -> AgentStatus:
    about, moment = session.about, datetime.fromisoformat
    end = moment(about["end"]) if about["end"] else None
    started, last = moment(about["time"]), moment(session.last)
    uses = dict(session.uses)
    return AgentStatus(session.name, about["command"], about["pid"], started, end, last, uses, session.refusals)


def _progress_at(run: Run, _size: int) -> RunProgress:
    return run.progress()


CHECKING = "checking"
"""State of a store that has not answered its first probe yet."""


@dataclass(frozen=True)
class LinkStatus:
    """One link of the chain.

    `state` is `ok`, `checking`, or a fault as in `strongroom doctor`. `seconds`, `detail` and `checks` are those of the
    last probe; the detail of a fault is its reason.
    """

    policy: LinkConfig
    plugin: str
    location: str
    state: str = CHECKING
    seconds: float | None = None
    detail: str = ""
    checks: tuple[Check, ...] = ()

    @property
    def ok(self) -> bool:
        """True if the store has no known fault."""
        return self.state in {"ok", CHECKING}


@dataclass(frozen=True)
class RotationRow:
    """One rotation: its status, or why that is not known."""

    path: str
    rotator: str
    store: str
    status: RotationStatus | None = None
    fault: str = ""


@dataclass(frozen=True)
class ChainStatus:
    """The whole status at one time. The cache on disk is None if it is disabled; migrations are newest first."""

    time: datetime
    probed: datetime | None
    environment: str | None
    production: bool
    links: tuple[LinkStatus, ...]
    cache: CacheConfig
    disk_cache: DiskCacheStatus | None
    rotations: Sequence[RotationRow]
    migrations: Sequence[MigrationStatus]
    agents: Sequence[AgentStatus] = ()

    @property
    def ok(self) -> bool:
        """True if no store has a fault."""
        return all(link.ok for link in self.links)


def document(status: ChainStatus, *, paths: bool) -> dict[str, Any]:
    """Return the status as a JSON object. Durations are seconds, sizes are bytes."""
    cache = status.cache
    return {
        "time": status.time,
        "probed": status.probed,
        "ok": status.ok,
        "environment": status.environment,
        "production": status.production,
        "chain": [_link(number, link, paths=paths) for number, link in enumerate(status.links, 1)],
        "cache": {"ttl": cache.ttl, "max_stale": cache.max_stale, "missing_ttl": cache.missing_ttl},
        "disk_cache": None if status.disk_cache is None else cache_document(status.disk_cache),
        "rotations": [_rotation(row, paths=paths) for row in status.rotations],
        "migrations": list(map(asdict, status.migrations)),
        "agents": list(map(asdict, status.agents)),
    }


def _link(number: int, link: LinkStatus, *, paths: bool) -> dict[str, Any]:
    policy = link.policy
    return {
        "link": number,
        "store": policy.store,
        "plugin": link.plugin,
        "location": link.location,
        "state": link.state,
        "seconds": link.seconds,
        "detail": link.detail,
        "checks": [check._asdict() for check in link.checks],
        "policy": {
            "on_unavailable": policy.on_unavailable,
            "on_denied": policy.on_denied,
            "on_missing_key": policy.on_missing_key,
            "timeout": policy.timeout,
            "patterns": len(policy.paths),
            "paths": list(policy.paths) if paths else None,
        },
    }


def _rotation(row: RotationRow, *, paths: bool) -> dict[str, Any]:
    known: dict[str, Any] = {
        "rotator": row.rotator,
        "store": row.store,
        "state": "unknown",
        "fault": row.fault or None,
    }
    if row.status is not None:
        known |= rotation_document(row.status)
    return {**known, "path": row.path if paths else None}
