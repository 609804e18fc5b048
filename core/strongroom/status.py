"""Status reports of running applications, which `strongroom status` and `strongroom ui` show.

A cache in memory and a watch belong to a process, and no other process can look at them. An application that wants them
shown publishes a report, which is a small file of this user that it replaces every few seconds::

    from strongroom.status import publish

    with SecretsManager() as secrets:
        end = publish(secrets, name="billing")
        ...
        end()

A report has numbers and the names of stores. It has no value, and no path unless the application asks for paths.
"""

from __future__ import annotations

import json
import logging
import os
import secrets as random_names
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from weakref import ref

from strongroom import events, private_file
from strongroom._manager.manager import SecretsManager, usage_of
from strongroom.bounded_file import read_bytes
from strongroom.errors import ConfigurationError

logger = logging.getLogger("strongroom.status")

_FORMAT = "strongroom-status-report"
_FORMAT_VERSION = 1

_INTERVALS_OF_SILENCE = 3
"""A process that has replaced its report this many intervals ago is silent."""
_LONGEST_SILENCE = 300.0
"""Seconds after which a report counts as that of a process that has ended, and is removed by the next publisher."""
_LARGEST = 1 << 20


@dataclass(frozen=True)
class CacheReport:
    """The cache in memory of one link.

    Attributes:
        store: the name of the store.
        secrets, absences: the numbers of its entries.
        size: their memory in bytes.
        hits: the reads that it answered since the start of the process, with those of links of the same name.
        outage: True while the process knows of an outage of the store.
    """

    store: str
    secrets: int
    absences: int
    size: int
    hits: int
    outage: bool


@dataclass(frozen=True)
class WatchReport:
    """One watch.

    Attributes:
        secrets: how many secrets it watches.
        interval: seconds between two looks; None is that of each link.
        paths: their paths, if the application publishes paths.
    """

    secrets: int
    interval: float | None
    paths: tuple[str, ...] = ()


@dataclass(frozen=True)
class ProcessReport:
    """The report of one process.

    Attributes:
        pid: its process ID.
        name: the name that it gave itself.
        started: when it began to publish.
        updated: when it wrote this report.
        interval: the seconds between two reports.
        caches: one for each link of the chain.
        watches: its watches.
    """

    pid: int
    name: str
    started: datetime
    updated: datetime
    interval: float
    caches: tuple[CacheReport, ...] = ()
    watches: tuple[WatchReport, ...] = ()

    def is_silent(self, now: datetime) -> bool:
        """Return True if the process should have written a newer report: it is stopped, or was killed."""
        return (now - self.updated).total_seconds() > _INTERVALS_OF_SILENCE * self.interval


def publish(
    manager: SecretsManager, *, name: str = "", paths: bool = False, interval: float = 5.0
) -> Callable[[], None]:
    """Publish the status of a manager until the returned function is called, or the manager is dropped.

    A daemon thread replaces the report, and the child of a fork publishes only if it calls this too. The
    stores are not asked. A folder that cannot be written is logged once, and nothing is published.

    Args:
        manager: the manager.
        name: the name of the application; by default that of the program.
        paths: the report names the watched secrets.
        interval: the seconds between two reports.

    Raises:
        ValueError: `interval` is not above zero.
    """
    if not interval > 0:
        raise ValueError("interval must be a number of seconds above zero")
    publication = _Publication(manager, name or Path(sys.argv[0]).name or "python", interval, paths=paths)
    publication.start()
    return publication.end


class _Publication:
    """The report of one manager, and the thread that replaces it."""

    def __init__(self, manager: SecretsManager, name: str, interval: float, *, paths: bool) -> None:
        self._manager = ref(manager)
        self._name, self._paths, self._interval = name, paths, interval
        self._started = datetime.now(UTC)
        self._pid = os.getpid()
        self._ended = threading.Event()
        self._lock = threading.RLock()
        self._file = Path(f"{self._pid}-{random_names.token_hex(4)}.json")

    def start(self) -> None:
        try:
            self._file = folder() / self._file
            private_file.make_folder(self._file.parent)
            _remove_old(self._file.parent)
        except OSError as error:
            logger.warning("No status report: %s: %s", self._file.parent, error.strerror)
            return
        except ConfigurationError as error:
            logger.warning("No status report: %s", error)
            return
        if self._write():
            threading.Thread(target=self._run, name="strongroom status", daemon=True).start()

    def end(self) -> None:
        """Remove the report. Harmless when called twice, and in the child of a fork, whose parent has the report."""
        if os.getpid() == self._pid:
            self._ended.set()
            with self._lock, suppress(OSError):
                self._file.unlink()

    def _run(self) -> None:
        while not self._ended.wait(self._interval):
            if not self._write():
                self.end()

    def _write(self) -> bool:
        """Write the report. Return False if there is nothing more to report."""
        manager = self._manager()
        if manager is None:
            return False
        report = _report(manager, self._name, self._started, self._interval, paths=self._paths)
        document = {"format": _FORMAT, "version": _FORMAT_VERSION, **asdict(report)}
        content = json.dumps(document, default=datetime.isoformat).encode()
        try:
            with self._lock:
                if not self._ended.is_set():
                    private_file.replace(self._file, content)
        except OSError as error:
            logger.warning("No status report: %s: %s", self._file, error.strerror)
            return False
        return True


def _report(manager: SecretsManager, name: str, started: datetime, interval: float, *, paths: bool) -> ProcessReport:
    caches, watches = usage_of(manager)
    hits = events.cache_hits()
    return ProcessReport(
        pid=os.getpid(),
        name=name,
        started=started,
        updated=datetime.now(UTC),
        interval=interval,
        caches=tuple(
            CacheReport(store, usage.secrets, usage.absences, usage.size, hits.get(store, 0), outage)
            for store, (usage, outage) in caches.items()
        ),
        watches=tuple(WatchReport(len(watch.paths), watch.interval, watch.paths if paths else ()) for watch in watches),
    )


def folder() -> Path:
    """Return the folder of this user's reports.

    Raises:
        ConfigurationError: the user has no home folder.
    """
    return private_file.user_folder("state") / "status"


def reports() -> list[ProcessReport]:
    """Return the reports of this user's processes on this machine, by name. Other files are skipped."""
    now = datetime.now(UTC)
    try:
        files = sorted(folder().glob("*.json"))
    except ConfigurationError as error:
        logger.warning("No status reports: %s", error)
        return []
    found = map(_parsed, files)
    present = [report for report in found if report and (now - report.updated).total_seconds() < _LONGEST_SILENCE]
    return sorted(present, key=lambda report: (report.name, report.pid))


def _parsed(file: Path) -> ProcessReport | None:
    try:
        content, _ = read_bytes(file, _LARGEST, follow_links=False)
        if len(content) > _LARGEST:
            return None
        document = json.loads(content)
        if (document["format"], document["version"]) != (_FORMAT, _FORMAT_VERSION):
            return None
        return _process(document)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _process(document: Any) -> ProcessReport:
    started, updated = (datetime.fromisoformat(document[name]).astimezone(UTC) for name in ("started", "updated"))
    return ProcessReport(
        pid=int(document["pid"]),
        name=str(document["name"]),
        started=started,
        updated=updated,
        interval=float(document["interval"]),
        caches=tuple(CacheReport(**cache) for cache in document["caches"]),
        watches=tuple(WatchReport(**{**watch, "paths": tuple(watch["paths"])}) for watch in document["watches"]),
    )


def _remove_old(reports_folder: Path) -> None:
    """Remove the reports of processes that were killed."""
    for file in reports_folder.glob("*.json"):
        with suppress(OSError):
            if time.time() - file.lstat().st_mtime > _LONGEST_SILENCE:
                file.unlink()
