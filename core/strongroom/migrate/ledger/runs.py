"""Where migrations keep what they remember, and which there were.

::

    migrations/             0700, below the user's state folder
      key                   the random key of every digest
      plans/ID              what the secrets were when a plan was made: digests
      locks/TARGET          held by who writes to that target
      RUN/plan              the plan that a run carries out
      RUN/places            where its stores were
      RUN/journal           what it was about to do, and what it did
      RUN/finished          is there when all that the plan would write is written
      RUN/backup, RUN/backup.key    what it overwrote, encrypted
"""

from __future__ import annotations

import json
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from strongroom.errors import MigrationError, shown
from strongroom.files import private_file
from strongroom.migrate.endpoints.places import Places
from strongroom.migrate.ledger.digests import Digester, Remembered
from strongroom.migrate.ledger.journal import Journal, has_written, steps_in, was_undone
from strongroom.migrate.plans.document import parse_lines, plan_lines
from strongroom.migrate.plans.plan import Plan

_PLAN = "plan"
_PLACES = "places"
_JOURNAL = "journal"
_FINISHED = "finished"
_NAME = re.compile(r"\d{8}T\d{12}-[0-9a-f]{8}")


@dataclass(frozen=True)
class Run:
    """One migration that was begun.

    Attributes:
        name: what `resume`, `verify`, `undo` and `delete_source` call it.
        started: when it began, in UTC.
        finished: everything that the plan would write was written; else `resume` goes on with the rest. What the plan
            calls impossible is none of it.
        folder: where it keeps what it remembers.
    """

    name: str
    started: datetime
    finished: bool
    folder: Path


def default_home() -> Path:
    """The folder of all migrations of this user."""
    from platformdirs import user_state_path

    return user_state_path("strongroom") / "migrations"


def runs(home: Path | None = None) -> list[Run]:
    """The migrations that were begun here, oldest first.

    Args:
        home: the folder of all migrations; by default that of this user.
    """
    home = home or default_home()
    names = sorted(entry.name for entry in home.iterdir() if _NAME.fullmatch(entry.name)) if home.is_dir() else []
    return [_run(home, name) for name in names if (home / name / _PLAN).is_file()]


class Home:
    """The folder of all migrations.

    Args:
        folder: None is that of this user.

    Raises:
        MigrationError: it cannot be made, or is open to others.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = _private_folder(folder or default_home())

    def digester(self) -> Digester:
        """What makes the digests."""
        file = self.folder / "key"
        try:
            return Digester(private_file.read_or_create_key(file))
        except OSError as error:
            fault = error.strerror or "it cannot be read"
        raise MigrationError(f"{file}: {fault}; nothing was written")

    def remembered(self, plan_id: str, *, new: bool) -> Remembered | None:
        """What the secrets of a plan were; None where the plan was made elsewhere, or nothing can be kept."""
        file = _private_folder(self.folder / "plans") / plan_id
        try:
            return Remembered(file) if new or file.exists() else None
        except OSError:
            return None

    @contextmanager
    def lock(self, identity: str, target: str) -> Iterator[None]:
        """The right to write to that target, for one run at a time.

        Raises:
            MigrationError: another run has it.
        """
        from filelock import FileLock, Timeout

        lock = FileLock(_private_folder(self.folder / "locks") / identity, mode=0o600)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            busy = True
        else:
            busy = False
        if busy:
            raise MigrationError(f"Another migration is writing to {shown(target)} now: wait until it is through")
        try:
            yield
        finally:
            lock.release()

    def begin(self, plan: Plan, places: Places) -> Run:
        """A new run of that plan, with its stores at these places.

        Raises:
            MigrationError: it cannot be kept on disk.
        """
        now = datetime.now(UTC)
        name = f"{now:%Y%m%dT%H%M%S%f}-{secrets.token_hex(4)}"
        folder = _private_folder(self.folder / name)
        try:
            private_file.create(folder / _PLACES, [json.dumps(places._asdict()).encode()])
            unfinished = folder / f".{_PLAN}"
            private_file.create(unfinished, plan_lines(plan))
            unfinished.rename(folder / _PLAN)  # what has a plan is a run, so that it has all of it
            private_file.sync_folder(folder)
        except OSError as error:
            fault = error.strerror or "it cannot be written"
            shutil.rmtree(folder, ignore_errors=True)
        else:
            return _run(self.folder, name)
        raise MigrationError(f"{folder / _PLAN}: {fault}; nothing was written")

    def finish(self, run: Run) -> None:
        """Everything that the run would write is written."""
        with suppress(OSError):  # then `resume` finds nothing to do, and says so
            private_file.create(run.folder / _FINISHED, [])

    def find(self, name: str | None, *, unfinished: bool = False) -> Run:
        """The run of that name; None is the last one, or the last that is not finished.

        A run that is finished and wrote nothing, as of a plan that was carried out before, is the last one only where
        there is no other: it has nothing to undo, and its journal has nothing of what the run before it wrote. One that
        was undone counts: to undo again must not take an earlier one back; but `resume` is to name it.

        Raises:
            MigrationError: there is none.
        """
        known = runs(self.folder)
        if name is None:
            if unfinished:
                known = [run for run in known if not (run.finished or was_undone(run.folder / _JOURNAL))]
            if not known:
                what = "no migration to go on with" if unfinished else "no migration"
                raise MigrationError(f"There is {what} in {self.folder}")
            wrote = (run for run in reversed(known) if not run.finished or has_written(run.folder / _JOURNAL))
            return next(wrote, known[-1])
        for run in known:
            if run.name == name:
                return run
        raise MigrationError(f"There is no migration {shown(name)} in {self.folder}")

    def plan_of(self, run: Run) -> Plan:
        """The plan that a run carries out.

        Raises:
            MigrationError: it cannot be read.
            ConfigurationError: it is none.
        """
        file = run.folder / _PLAN
        try:
            with private_file.open_lines(file) as lines:
                return parse_lines(lines, str(file))
        except OSError as error:
            fault = error.strerror or "it cannot be read"
        raise MigrationError(f"{file}: {fault}")

    def undone_of(self, plan_id: str) -> frozenset[str]:
        """The paths of a plan's target of which the last run that wrote them was undone."""
        undone: set[str] = set()
        for run in runs(self.folder):
            if self._carries_out(run, plan_id):
                items = self.plan_of(run).items  # a plan may have lost some of them since, by hand
                for kind, index in steps_in(run.folder / _JOURNAL):
                    if kind == "undone":
                        undone.add(items[index].path)
                    elif kind == "done":
                        undone.discard(items[index].path)
        return frozenset(undone)

    @staticmethod
    def _carries_out(run: Run, plan_id: str) -> bool:
        try:
            with private_file.open_lines(run.folder / _PLAN) as lines:
                return bool(json.loads(next(iter(lines)))["id"] == plan_id)
        except (OSError, ValueError, KeyError, TypeError, StopIteration):  # whoever opens it says what is wrong with it
            return False

    def places_of(self, run: Run) -> Places:
        """Where the stores of a run were when it was begun.

        Raises:
            MigrationError: it cannot be read.
        """
        file = run.folder / _PLACES
        try:
            return Places(**json.loads(private_file.read(file)))
        except OSError as error:
            fault = error.strerror or "it cannot be read"
        except (ValueError, TypeError):
            fault = "it does not say where the stores were"
        raise MigrationError(f"{file}: {fault}")

    def journal_of(self, run: Run) -> Journal:
        """The journal of a run, which is made where there is none.

        Raises:
            MigrationError: it cannot be read, or is of a later format.
        """
        return Journal(run.folder / _JOURNAL, run.name)


def _run(home: Path, name: str) -> Run:
    started = datetime.strptime(name.partition("-")[0], "%Y%m%dT%H%M%S%f").replace(tzinfo=UTC)
    return Run(name, started, (home / name / _FINISHED).exists(), home / name)


def _private_folder(folder: Path) -> Path:
    """Create or check a folder that no other user has access to.

    Raises:
        MigrationError: it cannot be used.
    """
    try:
        return private_file.make_folder(folder)
    except OSError as error:
        fault = error.strerror or "it cannot be created"
    raise MigrationError(f"{folder}: {fault}; nothing was written")
