"""Undo a migration: restore each secret at the target that still is as the run wrote it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import NamedTuple

from strongroom._boundary.guard import GuardedStore
from strongroom.errors import ConflictError, MigrationError, SecretNotFoundError, StoreError, StrongroomError
from strongroom.migrate._execution.parallel import (
    OutageWatch,
    SecretWrite,
    delete_each,
    groups,
    newest_readable,
    read_each,
    write_each,
)
from strongroom.migrate._execution.results import Results
from strongroom.migrate._ledger.journal import JournalEntry
from strongroom.migrate._ledger.runs import OpenRun
from strongroom.migrate._plans.labels import LabelChanges, record_of, restored
from strongroom.migrate.report import ItemState
from strongroom.secret import Secret, Value, Version
from strongroom.store.concurrency import map_concurrently, result_or_error

_LATER_CHANGE = "the target was changed after the migration"
_ONLY_COPY = "its source was deleted after the migration, so the target may have the only copy"


class _UndoStep(NamedTuple):
    """The operations that undo an item: of its labels, a write of its earlier data, or its deletion."""

    path: str
    labels: LabelChanges | None
    write: SecretWrite | None = None
    deletes: bool = False


class Undo:
    """Restores the secrets of one run."""

    def __init__(self, run: OpenRun, target: GuardedStore, results: Results) -> None:
        self._plan, self._journal, self._backup, self._digester = run.plan, run.journal, run.backup, run.digester
        self._target, self._results = target, results
        self._watch = OutageWatch()

    def run(self) -> None:
        """Undo every item of the journal, the last one first.

        Raises:
            MigrationError: the journal cannot be written.
            StoreUnavailableError: the target is down.
        """
        entries = self._journal.entries
        for index in entries:
            if entries[index].source_deleted:
                self._results.put(index, ItemState.CONFLICT, _ONLY_COPY)
        indices = sorted((index for index in entries if not entries[index].source_deleted), reverse=True)
        for group in groups(indices, local="local" in self._target.capabilities):
            with self._results.retries() as rounds:
                self._undo(group)
                for failed in rounds:
                    self._undo(failed)
            self._journal.sync()

    def _undo(self, indices: Sequence[int]) -> None:
        self._results.begin(indices)
        at = {self._plan.items[index].path: index for index in indices}
        there: dict[int, Secret | StoreError] = {}
        for path, outcome in read_each(self._target, list(at), self._watch):
            there[at[path]] = newest_readable(self._target, path, outcome, self._journal.entries[at[path]].version)
        steps: dict[int, _UndoStep] = {}
        for index in indices:
            current = there[index]
            if isinstance(current, StoreError) and not isinstance(current, SecretNotFoundError):
                self._results.fail_or_retry(index, current)
            elif (step := self._step(index, current if isinstance(current, Secret) else None)) is not None:
                steps[index] = step
        self._restore_labels(steps)
        for path, made in write_each(self._target, [step.write for step in steps.values() if step.write is not None]):
            self._settle(at[path], made)
        for path, failure in delete_each(self._target, [step.path for step in steps.values() if step.deletes]):
            self._settle(at[path], failure)
        for index, step in steps.items():
            if step.write is None and not step.deletes:
                self._journal.undone(index)
                if step.labels is None:
                    self._results.put(index, ItemState.SKIPPED, "the target holds what it held before")
                else:
                    self._results.put(index, ItemState.DONE)

    def _step(self, index: int, current: Secret | None) -> _UndoStep | None:
        """Return the operations that undo an item, or None if its result is already known."""
        entry, path = self._journal.entries[index], self._plan.items[index].path
        digest = None if current is None else self._digester.digest(current.data)
        try:
            labels = None if entry.labels is None else record_of(self._backup.get(entry.labels, path))
            if current is not None and entry.digest == entry.before:  # only its labels were written
                return _UndoStep(path, labels)
            if current is not None and (
                (digest == entry.digest and _written_by_run(current.version, entry))
                or (digest != entry.before and entry.is_half(self._digester.each(current.data)))
            ):
                if entry.before is None:
                    return _UndoStep(path, labels, deletes=True)
                return _UndoStep(
                    path, labels, SecretWrite(path, self._earlier_data(path, entry), current.version, entry.before_form)
                )
        except StrongroomError as error:
            self._results.fail(index, error)
            return None
        if digest == entry.before:  # never written, or undone by an interrupted undo
            return _UndoStep(path, labels)
        gone = ": it was deleted" if current is None else ""
        self._results.put(index, ItemState.CONFLICT, f"{_LATER_CHANGE}{gone}")
        return None

    def _restore_labels(self, steps: dict[int, _UndoStep]) -> None:
        """Restore labels before data: a service may refuse labels of a deleted secret. Drop the steps that fail."""
        changed = [(index, step.path, step.labels) for index, step in steps.items() if step.labels is not None]
        restore = partial(result_or_error, _restore_labels, self._target)
        for (index, *_), failure in map_concurrently(lambda each: restore(*each[1:]), changed):
            self._watch.observe(failure)
            if failure is not None:
                del steps[index]
            if isinstance(failure, ConflictError):
                self._results.put(index, ItemState.CONFLICT, failure.reason, error=failure)
            elif failure is not None:
                self._results.fail_or_retry(index, failure)

    def _earlier_data(self, path: str, entry: JournalEntry) -> Mapping[str, Value]:
        """Return the earlier data, from the target's old version if its digest matches, otherwise from the backup."""
        if "versioned" in self._target.capabilities and entry.before_version is not None:
            try:
                kept = self._target.read_version(path, entry.before_version)
            except StoreError:
                pass  # pruned, destroyed or denied: use the backup
            else:
                if self._digester.digest(kept.data) == entry.before:
                    return kept.data
        if entry.backup is None:
            raise MigrationError("the earlier data are no longer kept")
        return self._backup.get(entry.backup, path)

    def _settle(self, index: int, outcome: Version | StoreError | None) -> None:
        if isinstance(outcome, ConflictError):
            self._results.put(index, ItemState.CONFLICT, _LATER_CHANGE, error=outcome)
        elif isinstance(outcome, StoreError):
            self._results.fail_or_retry(index, outcome)
        else:
            self._journal.undone(index)
            self._results.put(index, ItemState.DONE, version=outcome)
        self._watch.observe(outcome)


def _written_by_run(version: Version | None, entry: JournalEntry) -> bool:
    """Return True if the run wrote this version. If the answer to the write was lost, any later version counts."""
    if version is None:
        return True
    return version == entry.version if entry.done else version != entry.before_version


def _restore_labels(target: GuardedStore, path: str, record: LabelChanges) -> None:
    """Restore the labels that the target had before a run. A deleted secret has none.

    Raises:
        ConflictError: they were changed after the run.
        StoreError: they cannot be restored.
    """
    with suppress(SecretNotFoundError):
        there = target.read_metadata(path)
        before = restored(there, record)
        if before is None:
            raise ConflictError(path, "its labels were changed after the migration", store=target.name)
        if before != there:
            target.write_metadata(path, before)
