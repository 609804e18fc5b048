"""Delete at the source the migrated secrets that the target verifiably holds."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from strongroom._boundary.guard import GuardedStore
from strongroom.errors import (
    MigrationError,
    PermissionDeniedError,
    SecretNotFoundError,
    StoreError,
    StrongroomError,
    UnsupportedOperationError,
    shown,
)
from strongroom.migrate._execution.parallel import OutageWatch, SecretWrite, groups, read_each, write_one
from strongroom.migrate._execution.results import Results
from strongroom.migrate._ledger.runs import OpenRun
from strongroom.migrate._plans.comparison import differing
from strongroom.migrate._plans.labels import form_of, lacking
from strongroom.migrate._plans.plan import PlannedState
from strongroom.migrate.report import ItemState
from strongroom.migrate.sources import Source, labels_of
from strongroom.secret import Secret

_REFUSALS = (PermissionDeniedError, UnsupportedOperationError)
"""Errors after which the source certainly still has the secret."""


def migrated_items(run: OpenRun) -> list[int]:
    """Return the indices of the items that the target holds by this run, or held before it."""
    entries = run.journal.entries
    return [
        index
        for index, item in enumerate(run.plan.items)
        if item.state is PlannedState.EQUAL or (index in entries and entries[index].done)
    ]


class SourceDeletion:
    """Deletes the migrated secrets of one source."""

    def __init__(self, run: OpenRun, source: Source, target: GuardedStore, results: Results) -> None:
        self._plan, self._journal = run.plan, run.journal
        self._source, self._target, self._results = source, target, results
        self._separate = False
        self._watch = OutageWatch()

    def run(self, indices: list[int]) -> None:
        """Delete these items at the source, if the target holds them.

        Raises:
            StoreUnavailableError: a store is down.
            MigrationError: source and target are one place, or the journal cannot be written.
        """
        for group in groups(indices, local=self._source.local):
            self._run_group(group)

    def _run_group(self, indices: Sequence[int]) -> None:
        """Delete one by one until one deletion has shown that the target keeps the secret; then the rest."""
        self._results.begin(indices)
        safe = self._safe(indices)
        while safe and not self._separate:
            index = next(iter(safe))
            before = safe.pop(index)
            if self._delete([index]):
                self._check_separate(index, before)
                self._separate = True
        self._delete(list(safe))

    def _safe(self, indices: Sequence[int]) -> dict[int, Secret]:
        """Return the target's secret for each item that it holds completely, and report all other items."""
        items = self._plan.items
        there = dict(read_each(self._target, [items[index].path for index in indices], self._watch))
        here = dict(self._source.read_again([items[index].source_path for index in indices]))
        safe: dict[int, Secret] = {}
        for index in indices:
            source_secret, target_secret = here[items[index].source_path], there[items[index].path]
            if isinstance(source_secret, SecretNotFoundError):
                self._results.put(index, ItemState.SKIPPED, "the source no longer has it")
            elif isinstance(source_secret, StrongroomError):
                self._results.fail(index, source_secret)
            elif isinstance(target_secret, StrongroomError):
                self._results.fail(index, target_secret)
            elif differing(target_secret.data, source_secret.data):
                self._results.put(index, ItemState.CONFLICT, "the target differs from the source")
            elif self._labels_copied(index, source_secret, target_secret):
                safe[index] = target_secret
        return safe

    def _delete(self, indices: list[int]) -> list[int]:
        """Delete these items, each in the journal before, and return the deleted ones."""
        deleted: list[int] = []
        # The other items were equal before the run, so that there is nothing to undo.
        noted = [index for index in indices if index in self._journal.entries]
        for index in noted:
            self._journal.source_deleted(index)
        self._journal.sync()
        at = {self._plan.items[index].source_path: index for index in indices}
        for path, failure in self._source.delete_many(list(at)):
            index = at[path]
            if isinstance(failure, _REFUSALS) and index in noted:
                self._journal.source_kept(index)
            self._watch.observe(failure)
            if failure is not None:
                self._results.fail(index, failure)
            else:
                self._results.put(index, ItemState.DONE)
                deleted.append(index)
        return deleted

    def _labels_copied(self, index: int, source_secret: Secret, target_secret: Secret) -> bool:
        """Return True if the target has the planned labels; otherwise report the item."""
        names = self._plan.items[index].labels
        if not names:
            return True
        try:
            missing = lacking(self._source.labels(source_secret), labels_of(self._target, target_secret), names)
        except StoreError as error:
            self._results.fail(index, error)
            return False
        if missing:
            reason = f"labels missing at the target: {', '.join(map(shown, missing))}"
            self._results.put(index, ItemState.CONFLICT, reason)
        return not missing

    def _check_separate(self, index: int, before: Secret) -> None:
        """Check that the target still has the secret just deleted at the source; otherwise restore it."""
        self._results.settle(index, ItemState.FAILED, "deleted, and the target could not be read afterwards")
        try:
            self._target.read(before.path)
        except SecretNotFoundError:
            pass
        else:
            self._results.settle(index, ItemState.DONE)
            return
        one_place = "source and target are one place"
        self._results.settle(index, ItemState.FAILED, f"{one_place}: it was deleted, and not restored")
        _restore(self._target, before)
        if index in self._journal.entries:
            self._journal.source_kept(index)
        self._results.settle(index, ItemState.FAILED, f"{one_place}: it was restored")
        raise MigrationError(
            f"Source and target are one place: {shown(before.path)} was restored, and nothing is deleted"
        )


def _restore(target: GuardedStore, secret: Secret) -> None:
    """Restore a secret deleted at the target: undelete its version if possible, otherwise write its data."""
    if "versioned" in target.capabilities and secret.version is not None:
        with suppress(StoreError):  # destroyed, deleted with the secret, or denied: write it
            target.undelete(secret.path, secret.version)
            return
    write_one(target, SecretWrite(secret.path, secret.data, None, form_of(secret.metadata)))
