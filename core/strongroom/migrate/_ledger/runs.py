"""The folder of all migrations on this machine, and the runs in it.

::

    migrations/             0700, below the user's state folder
      key                   the random key of every digest
      plans/ID              digests of the secrets when a plan was made
      plans/ID.seal         the digest of the plan itself, which shows edits of its file
      locks/TARGET          held by the run that writes to that target
      RUN/plan              the plan that a run applies
      RUN/locations         where its stores were
      RUN/journal           its intents and their results
      RUN/progress          how far the run is, for a journal of that size and digest
      RUN/finished          exists once everything in the plan is written
      RUN/backup, RUN/backup.key    the overwritten data, encrypted
      RUN/ACTION.report     the last report of each action

These are files and not one SQLite database, which was built and measured: the journal, the backup and the plan digests
on sqlite3 take 75 lines less of 950, and that journal passes all kill tests. A commit costs the same in WAL mode, which
no network file system has, and five times as much without it. One database for all runs would make two migrations wait
for each other: its one write lock is held while a group is sent. A journal is also readable with `less`.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from strongroom._redaction.digest import Digester
from strongroom.errors import ConfigurationError, MigrationError, NewerFormatError, newer_format, shown
from strongroom.files import private
from strongroom.migrate._ledger.backup import Backup
from strongroom.migrate._ledger.journal import UNKNOWN, Journal, RunProgress, first_line, progress_in, steps_in
from strongroom.migrate._ledger.plan_digests import PlanDigests, is_sealed
from strongroom.migrate._plans.document import PlanHeader, parse_header, parse_lines, plan_digest, plan_lines
from strongroom.migrate._plans.plan import Plan
from strongroom.migrate.endpoints import Locations
from strongroom.migrate.report import FORMAT, FORMAT_VERSION, MigrationAction, Report

_PLAN = "plan"
_LOCATIONS = "locations"
_JOURNAL = "journal"
_PROGRESS = "progress"
_FINISHED = "finished"
_NOTHING = "; nothing was written"
_KEPT = ("done", "deleted", "undone", "wrote")
_NAME = re.compile(r"\d{8}T\d{12}-[0-9a-f]{8}")


@dataclass(frozen=True)
class Run:
    """One application of a plan.

    Attributes:
        name: its name for `resume`, `verify`, `undo` and `delete_source`.
        started: when it began, in UTC.
        finished: True once everything that the plan can write is written; until then `resume` continues it.
        folder: the folder of its files.
    """

    name: str
    started: datetime
    finished: bool
    folder: Path

    @property
    def journal(self) -> Path:
        return self.folder / _JOURNAL

    @property
    def undone(self) -> bool:
        """True if the run was undone, at least in part, and not resumed since."""
        return self.progress().undone

    def progress(self) -> RunProgress:
        """Return how far it is: as its last step recorded it, or from the journal if a step was killed since."""
        kept = self._kept()
        with suppress(OSError, KeyError, TypeError):
            if kept["size"] == self.journal.stat().st_size and kept["sha256"] == self._journal_digest():
                return RunProgress(*(kept[name] for name in _KEPT))
        found = progress_in(self.journal, self.name)
        lost = "" if found.fault else self._lost_end()
        return found._replace(wrote=None, fault=lost) if lost else found

    def check_journal(self) -> None:
        """Raise MigrationError if the journal has lost lines that it had when the last step ended."""
        if fault := self._lost_end():
            raise MigrationError(fault)

    def keep_progress(self) -> None:
        """Store how far it is, so that nobody has to read the whole journal for it."""
        with suppress(OSError):
            about = {"size": self.journal.stat().st_size, "sha256": self._journal_digest()}
            if about.items() <= self._kept().items() or (progress := self.progress()).fault:
                return
            document = {**about, **{name: getattr(progress, name) for name in _KEPT}}
            private.replace(self.folder / _PROGRESS, json.dumps(document).encode())

    def _kept(self) -> dict[str, Any]:
        with suppress(OSError, ValueError, RecursionError):
            document = json.loads(private.read(self.folder / _PROGRESS))
            return document if isinstance(document, dict) else {}
        return {}

    def _journal_digest(self) -> str:
        return hashlib.sha256(private.read(self.journal)).hexdigest()

    def _lost_end(self) -> str:
        """Return the fault of a journal that is shorter than when the last step ended, or an empty string."""
        kept = self._kept()
        with suppress(OSError, KeyError, TypeError):
            size, was = self.journal.stat().st_size, kept["size"]
            if 0 < size < was and kept["wrote"] is not None:  # else an earlier release counted a torn last line
                return f"{self.journal}: its end is missing: it has {size:,} of {was:,} bytes{UNKNOWN}"
        return ""

    def header(self) -> PlanHeader:
        """Return the header of its plan. Only in the first form of version 1 are the items read for it.

        Raises:
            MigrationError: it cannot be read.
            ConfigurationError: it is not a plan, or has a later format.
        """
        file = self.folder / _PLAN
        with private.faults_as(MigrationError, file), private.open_lines(file) as lines:
            header = parse_header(next(lines, b""), str(file))
        if header is None:
            plan = self.plan()
            return PlanHeader(plan.id, plan.sources, plan.target, len(plan.pending))
        return header

    def plan(self) -> Plan:
        """Return its plan.

        Raises:
            MigrationError: it cannot be read.
            ConfigurationError: it is not a plan, or has a later format.
        """
        file = self.folder / _PLAN
        with private.faults_as(MigrationError, file), private.open_lines(file) as lines:
            return parse_lines(lines, str(file))

    def keep_report(self, report: Report) -> None:
        """Store a report, replacing the last one of that action. On a full disk only the report is lost."""
        file = self.folder / f"{report.action.value}.report"
        with suppress(OSError):
            private.replace(file, json.dumps(report.to_json(), ensure_ascii=False).encode())

    def reports(self) -> list[Report]:
        """Return the last report of each action, oldest first.

        Raises:
            MigrationError: one cannot be read.
            NewerFormatError: one has a later format.
        """
        files = (self.folder / f"{action.value}.report" for action in MigrationAction)
        return sorted((_read_report(file) for file in files if file.is_file()), key=lambda report: report.finished)


@dataclass(frozen=True)
class OpenRun:
    """A run whose files are open, for one step of it.

    Attributes:
        journal: its intents and results. An item with an entry continues from there.
        planned: digests of the secrets when the plan was made, if this machine has them.
    """

    ledger: RunLedger
    run: Run
    plan: Plan
    journal: Journal
    backup: Backup
    digester: Digester
    planned: PlanDigests | None

    @cached_property
    def undone_paths(self) -> frozenset[str]:
        """The paths that an earlier run of the plan wrote, and that were undone."""
        return self.ledger.undone_of(self.plan.id)


def default_folder() -> Path:
    """Return the folder of all migrations of this user.

    Raises:
        MigrationError: the user has no home folder.
    """
    try:
        return private.user_folder("state") / "migrations"
    except ConfigurationError as error:
        fault = str(error)
    raise MigrationError(fault)


def runs(state_folder: Path | None = None) -> list[Run]:
    """Return the migrations of this machine, oldest first: also one whose files are missing or damaged.

    Args:
        state_folder: the folder of all migrations; by default that of this user.

    Raises:
        MigrationError: the user has no home folder.
    """
    folder = state_folder or default_folder()
    names = sorted(entry.name for entry in folder.iterdir() if _NAME.fullmatch(entry.name)) if folder.is_dir() else []
    return [_run(folder, name) for name in names]


class RunLedger:
    """The record of all migrations, in one folder. None is the folder of this user.

    Raises:
        MigrationError: it cannot be created, or other users have access to it.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = _private_folder(folder or default_folder())

    def digester(self) -> Digester:
        """Return the digester with this machine's key."""
        file = self.folder / "key"
        with private.faults_as(MigrationError, file, _NOTHING):
            return Digester(private.read_or_create_key(file))

    def remember(self, plan: Plan, digests: Iterable[bytes]) -> None:
        """Keep the digests of a new plan's secrets, a record for each item, and of the plan itself.

        Raises:
            OSError, MigrationError: they cannot be kept. The plan works without them.
        """
        private.create(self._plan_file(plan.id), digests)
        private.create(self._plan_file(plan.id, ".seal"), [plan_digest(plan)])

    def is_as_made(self, plan: Plan) -> bool | None:
        """Return False if a plan was edited since it was made, or None if this machine does not know it."""
        try:
            seal = private.read(self._plan_file(plan.id, ".seal"))
        except OSError:
            return None
        return is_sealed(plan, seal, self.digester())

    def _plan_file(self, plan_id: str, suffix: str = "") -> Path:
        return _private_folder(self.folder / "plans") / f"{plan_id}{suffix}"

    def remembered(self, plan: Plan) -> PlanDigests | None:
        """Return the digests of a plan's secrets, or None if this machine has none."""
        try:
            return PlanDigests(self._plan_file(plan.id), self.digester())
        except OSError:
            return None

    @contextmanager
    def lock(self, identity: str, target: str) -> Iterator[None]:
        """Hold the lock of a target, so that one run at a time writes to it.

        Raises:
            MigrationError: another run holds it, or the file system has no locks.
        """
        file = _private_folder(self.folder / "locks") / identity
        with ExitStack() as stack:
            with private.faults_as(MigrationError, file, _NOTHING):
                descriptor = private.open_file(file, os.O_RDWR | os.O_CREAT)
                stack.callback(os.close, descriptor)
                locked = stack.enter_context(private.lock(descriptor, 0))
            if not locked:
                raise MigrationError(f"Another migration is writing to {shown(target)}. Wait until it ends")
            yield

    def begin(self, plan: Plan, locations: Locations) -> Run:
        """Create a run of the plan.

        Raises:
            MigrationError: it cannot be written to disk.
        """
        now = datetime.now(UTC)
        if (known := runs(self.folder)) and known[-1].started >= now:
            # The clock was set back. Names are the order of the runs, so a new one always sorts last.
            now = known[-1].started + timedelta(microseconds=1)
        name = f"{now:%Y%m%dT%H%M%S%f}-{secrets.token_hex(4)}"
        folder = _private_folder(self.folder / f".{name}")
        with private.faults_as(MigrationError, self.folder / name, _NOTHING):
            try:
                private.create(folder / _LOCATIONS, [json.dumps(locations._asdict()).encode()])
                private.create(folder / _PLAN, plan_lines(plan))
                private.create(folder / _JOURNAL, [first_line(name)])
                folder.rename(self.folder / name)  # a folder of this name is a run, and has all its files
                private.sync_folder(self.folder)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
        return _run(self.folder, name)

    def finish(self, run: Run) -> None:
        with suppress(OSError):  # then `resume` finds nothing to do
            private.create(run.folder / _FINISHED, [])

    def find(self, name: str | None, *, unfinished: bool = False, wrote: bool = False) -> Run:
        """Return the run of that name; None is the last run, the last unfinished one, or the last one that wrote.

        A finished run that wrote nothing counts as the last one only if no other exists: it has nothing to undo. An
        undone run does count, so that a second undo does not undo an earlier run; `resume` skips it unless it is named.

        Raises:
            MigrationError: there is no such run.
        """
        known = runs(self.folder)
        if name is None:
            if unfinished:
                known = [run for run in known if not (run.finished or run.undone)]
            last = (run for run in reversed(known) if not (wrote or run.finished) or run.progress().wrote != 0)
            if (found := next(last, None)) is not None:
                return found
            if known and not wrote:
                return known[-1]
            what = " to resume" if unfinished else " that wrote a secret" if wrote and known else ""
            raise MigrationError(f"There is no migration{what} in {self.folder}")
        for run in known:
            if run.name == name:
                return run
        raise MigrationError(f"There is no migration {shown(name)} in {self.folder}")

    def undone_of(self, plan_id: str) -> frozenset[str]:
        """Return the target paths of a plan whose last run was undone."""
        undone: set[str] = set()
        for run in runs(self.folder):
            if self._carries_out(run, plan_id):
                items = run.plan().items  # the run's own plan: a person may have edited the other
                for kind, index in steps_in(run.journal):
                    paths = {item.path for item in items[index : index + 1]}  # none if the line is damaged
                    if kind == "undone":
                        undone |= paths
                    elif kind == "done":
                        undone -= paths
        return frozenset(undone)

    @staticmethod
    def _carries_out(run: Run, plan_id: str) -> bool:
        try:
            return run.header().id == plan_id
        except (MigrationError, ConfigurationError):  # opening it reports the fault
            return False

    def locations_of(self, run: Run) -> Locations:
        """Return where the stores of a run were when it began.

        Raises:
            MigrationError: the record cannot be read.
        """
        file = run.folder / _LOCATIONS
        with private.faults_as(MigrationError, file):
            content = private.read(file)
        try:
            return Locations(**json.loads(content))
        except (ValueError, TypeError):
            raise MigrationError(f"{file}: it is not a record of store locations") from None

    @contextmanager
    def open(self, run: Run, plan: Plan) -> Iterator[OpenRun]:
        """Open the files of a run, and create those of its backup.

        Raises:
            MigrationError: one cannot be read or created.
            NewerFormatError: one has a later format.
        """
        with ExitStack() as stack:
            stack.callback(run.keep_progress)
            with naming(run):
                run.check_journal()
                journal = stack.enter_context(closing(Journal(run.journal, run.name)))
                if max(journal.entries, default=-1) >= len(plan.items):
                    raise MigrationError(f"{run.journal}: it has an item that the plan does not have")
            backup = stack.enter_context(closing(Backup(run.folder, run.name)))
            if (planned := self.remembered(plan)) is not None:
                stack.callback(planned.close)
            yield OpenRun(self, run, plan, journal, backup, self.digester(), planned)


@contextmanager
def naming(run: Run) -> Iterator[None]:
    """Name the run in an error of its files."""
    try:
        yield
    except (MigrationError, ConfigurationError) as error:
        fault = f"Migration {run.name} cannot be read: {error}"
        kind = type(error)
    else:
        return
    raise kind(fault)


def _run(ledger: Path, name: str) -> Run:
    started = datetime.strptime(name.partition("-")[0], "%Y%m%dT%H%M%S%f").replace(tzinfo=UTC)
    return Run(name, started, (ledger / name / _FINISHED).exists(), ledger / name)


def _read_report(file: Path) -> Report:
    with private.faults_as(MigrationError, file):
        content = private.read(file)
    try:
        document = json.loads(content)
        version = document["version"] if document["format"] == FORMAT else None
        if type(version) is int and version > FORMAT_VERSION:
            raise NewerFormatError(f"{file}: {newer_format(version, FORMAT_VERSION)}")
        if version == FORMAT_VERSION:
            return Report.from_json(document)
    except (ValueError, TypeError, KeyError):
        pass
    raise MigrationError(f"{file}: it is not a report")


def _private_folder(folder: Path) -> Path:
    """Create or check a folder that no other user has access to.

    Raises:
        MigrationError: it cannot be used.
    """
    with private.faults_as(MigrationError, folder, _NOTHING):
        return private.make_folder(folder)
