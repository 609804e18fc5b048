"""Undoing a migration: the target gets back what it held before, wherever it still holds what the run wrote."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from strongroom.config import Config
from strongroom.errors import ConflictError, MigrationError, SecretNotFoundError, StoreError, StrongroomError
from strongroom.migrate.endpoints.opening import Endpoint, Endpoints
from strongroom.migrate.endpoints.places import check_target_place
from strongroom.migrate.execution.label_transfer import give_back
from strongroom.migrate.execution.parallel import OutageWatch, Write, in_threads, read_each, write_each
from strongroom.migrate.ledger.backup import Backup
from strongroom.migrate.ledger.digests import Digester
from strongroom.migrate.ledger.journal import Entry, Journal
from strongroom.migrate.ledger.runs import Home
from strongroom.migrate.plans.labels import Record, record_of
from strongroom.migrate.plans.plan import Plan
from strongroom.migrate.reports.outcomes import Results
from strongroom.migrate.reports.report import Action, ItemState, OnProgress, Report
from strongroom.secret import Secret, Value, Version
from strongroom.store.guard import GuardedStore

_GROUP = 128
_LATER_CHANGE = "the target was changed after the migration"
_ONLY_COPY = "its source was deleted after the migration: the target may have the only copy"


def undo(
    run: str | None = None,
    *,
    config: Config | None = None,
    stores: Mapping[str, Endpoint] | None = None,
    home: Path | None = None,
    progress: OnProgress | None = None,
) -> Report:
    """Gives the target back what it held before a run, the last secret first.

    Only what still is as the run wrote it is touched: by its version where the target has versions, and by its data. A
    secret that the run made is deleted; one that it changed gets its old data, from the version that the target kept,
    else from the run's encrypted backup. Its labels come first: those that the run wrote are as they were. A later
    change, of data or of such a label, is left alone and reported, with all of the secret. So is what was deleted at
    its source since. Where the target has no check-and-set, for labels and for every deletion, a change in the moment
    between reading and writing would be lost. To undo what broke off, undo again.

    Args:
        run: its name; None is the last one that had something to write.
        config: as `apply` has it.
        stores: as `apply` has it.
        home: as `apply` has it.
        progress: as `apply` has it.

    Raises:
        MigrationError: there is no such run, another one writes to the target, or the target is not where it was when
            the run was begun; or not everything was undone: `report` says what was.
        UnsupportedOperationError: the target is an exporter.
        ConfigurationError, PluginError, StoreError: the target cannot be opened.
    """
    opened = Home(home)
    found = opened.find(run)
    plan = opened.plan_of(found)
    with (
        Endpoints(config, stores, encrypt_to=plan.encrypt_to) as ends,
        opened.lock(ends.identity(plan.target), plan.target),
        closing(opened.journal_of(found)) as journal,
        closing(Backup(found.folder, found.name)) as backup,
    ):
        check_target_place(opened.places_of(found), ends, plan)
        results = Results(Action.UNDO, found.name, plan, len(journal.entries), progress)
        for index in range(len(plan.items)):
            if index not in journal.entries:
                results.settle(index, ItemState.SKIPPED, "it was not written, or is undone")
        undoer = _Undoer(plan, ends.restorable(plan.target), journal, backup, opened.digester(), results)
        stopped: StrongroomError | None = None
        try:
            undoer.run()
        except StrongroomError as error:
            stopped = error
        return results.report(stopped)


class _Step(NamedTuple):
    """What undoes an item.

    Attributes:
        path: the secret.
        labels: what the run made of its labels, where it made anything of them.
        write: what it held before.
        deletes: it is deleted.
    """

    path: str
    labels: Record | None
    write: Write | None = None
    deletes: bool = False


class _Undoer:
    def __init__(  # noqa: PLR0917  # each is one thing that undoing needs
        self, plan: Plan, target: GuardedStore, journal: Journal, backup: Backup, digester: Digester, results: Results
    ) -> None:
        self._plan = plan
        self._target = target
        self._journal = journal
        self._backup = backup
        self._digester = digester
        self._results = results
        self._watch = OutageWatch()

    def run(self) -> None:
        """Undoes every item of the journal, the last one first.

        Raises:
            MigrationError: the journal cannot be written.
            StoreUnavailableError: the target is out as a whole.
        """
        entries = self._journal.entries
        for index in entries:
            if entries[index].source_deleted:
                self._results.put(index, ItemState.CONFLICT, _ONLY_COPY)
        indices = sorted((index for index in entries if not entries[index].source_deleted), reverse=True)
        for start in range(0, len(indices), _GROUP):
            self._undo(indices[start : start + _GROUP])
            self._journal.sync()

    def _undo(self, indices: list[int]) -> None:
        at = {self._plan.items[index].path: index for index in indices}
        there: dict[int, Secret | StoreError] = {}
        for path, outcome in read_each(self._target, list(at), self._watch):
            there[at[path]] = outcome
        steps: dict[int, _Step] = {}
        for index in indices:
            current = there[index]
            if isinstance(current, StoreError) and not isinstance(current, SecretNotFoundError):
                self._results.fail(index, current)
            elif (step := self._step(index, current if isinstance(current, Secret) else None)) is not None:
                steps[index] = step
        self._give_labels_back(steps)
        for path, made in write_each(self._target, [step.write for step in steps.values() if step.write is not None]):
            self._settle(at[path], made)
        for path, failure in in_threads(self._delete, [step.path for step in steps.values() if step.deletes]):
            self._settle(at[path], failure)
        for index, step in steps.items():
            if step.write is None and not step.deletes:
                self._journal.undone(index)
                if step.labels is None:
                    self._results.put(index, ItemState.SKIPPED, "the target holds what it held before")
                else:
                    self._results.put(index, ItemState.DONE)

    def _step(self, index: int, current: Secret | None) -> _Step | None:
        """What undoes an item; None where its result is known."""
        entry, path = self._journal.entries[index], self._plan.items[index].path
        digest = None if current is None else self._digester.digest(current.data)
        try:
            labels = None if entry.labels is None else record_of(self._backup.get(entry.labels, path))
            if current is not None and entry.digest == entry.before:  # its labels alone were written
                return _Step(path, labels)
            if current is not None and (
                (digest == entry.digest and _is_ours(current.version, entry))
                or (digest != entry.before and entry.is_half(self._digester.each(current.data)))
            ):
                if entry.before is None:
                    return _Step(path, labels, deletes=True)
                return _Step(path, labels, Write(path, self._before(path, entry), current.version, entry.before_form))
        except StrongroomError as error:
            self._results.fail(index, error)
            return None
        if digest == entry.before:  # never written, or undone by a run that broke off
            return _Step(path, labels)
        gone = ": it was deleted" if current is None else ""
        self._results.put(index, ItemState.CONFLICT, f"{_LATER_CHANGE}{gone}")
        return None

    def _give_labels_back(self, steps: dict[int, _Step]) -> None:
        """Before the data: a service may take no label of what is deleted. What cannot be done is a step no more."""
        given = [(index, step.path, step.labels) for index, step in steps.items() if step.labels is not None]
        for index, failure in in_threads(lambda each: (each[0], give_back(self._target, *each[1:])), given):
            self._watch.saw(failure)
            if failure is not None:
                del steps[index]
            if isinstance(failure, ConflictError):
                self._results.put(index, ItemState.CONFLICT, failure.reason, error=failure)
            elif failure is not None:
                self._results.fail(index, failure)

    def _before(self, path: str, entry: Entry) -> Mapping[str, Value]:
        """What the secret held before: the target's own old version, where it still is what it was; else the backup."""
        if "versioned" in self._target.capabilities and entry.before_version is not None:
            try:
                kept = self._target.read_version(path, entry.before_version)
            except StoreError:
                pass  # pruned, destroyed or denied: the backup has it
            else:
                if self._digester.digest(kept.data) == entry.before:
                    return kept.data
        if entry.backup is None:
            raise MigrationError("what the target held before is not kept any more")
        return self._backup.get(entry.backup, path)

    def _delete(self, path: str) -> tuple[str, StoreError | None]:
        try:
            self._target.delete(path)
        except SecretNotFoundError:
            pass  # that is what was wanted
        except StoreError as error:
            return path, error
        return path, None

    def _settle(self, index: int, outcome: Version | StoreError | None) -> None:
        if isinstance(outcome, ConflictError):
            self._results.put(index, ItemState.CONFLICT, _LATER_CHANGE, error=outcome)
        elif isinstance(outcome, StoreError):
            self._results.fail(index, outcome)
        else:
            self._journal.undone(index)
            self._results.put(index, ItemState.DONE, version=outcome)
        self._watch.saw(outcome)


def _is_ours(version: Version | None, entry: Entry) -> bool:
    """Whether this is the version that the run made. Of a write whose end nobody saw, it is any but the one before."""
    if version is None:
        return True
    return version == entry.version if entry.done else version != entry.before_version
