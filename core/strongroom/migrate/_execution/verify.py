"""Read the target back, and compare it with the source or with the digests of the written data."""

from __future__ import annotations

from contextlib import closing

from strongroom._boundary.guard import GuardedStore
from strongroom.errors import PermissionDeniedError, SecretNotFoundError, StoreError, StrongroomError, shown
from strongroom.migrate._execution.parallel import OutageWatch, batches, newest_readable, read_each
from strongroom.migrate._execution.results import Results
from strongroom.migrate._ledger.journal import JournalEntry
from strongroom.migrate._ledger.runs import OpenRun
from strongroom.migrate._plans.comparison import HAS_ALL, differing
from strongroom.migrate._plans.labels import lacking
from strongroom.migrate._plans.plan import OnConflict, PlannedState
from strongroom.migrate.report import ItemState
from strongroom.migrate.sources import Source, labels_of
from strongroom.secret import Secret

_BATCH = 64
"""How many secrets of each store are in memory. A source is read one batch ahead."""


class TargetVerification:
    """Compares the target with the sources."""

    def __init__(self, run: OpenRun, target: GuardedStore, results: Results) -> None:
        self._plan, self._entries, self._digester = run.plan, run.journal.entries, run.digester
        self._target, self._results = target, results

    def run(self, source: Source, indices: list[int]) -> None:
        """Verify the items of one source, in bounded memory.

        Raises:
            StoreUnavailableError: a store is down.
            StrongroomError: the source as a whole cannot be read.
        """
        items, watch = self._plan.items, OutageWatch()
        at = {items[index].source_path: index for index in indices}
        with closing(batches(source.read_again(list(at)), _BATCH, ahead=not source.local)) as read:
            for batch in read:
                secrets = {items[at[path]].path: (at[path], secret) for path, secret in batch}
                self._results.begin(index for index, _ in secrets.values())
                for path, outcome in read_each(self._target, list(secrets), watch):
                    self._compare(source, *secrets[path], outcome)

    def _compare(
        self, source: Source, index: int, secret: Secret | StrongroomError, outcome: Secret | StoreError
    ) -> None:
        """Put the result of one item into the results."""
        written = None if (entry := self._entries.get(index)) is None else entry.version
        outcome = newest_readable(self._target, self._plan.items[index].path, outcome, written)  # it may be shown late
        state, reason = self._verdict(index, secret, outcome)
        if state is ItemState.DONE and isinstance(secret, Secret) and isinstance(outcome, Secret):
            state, reason = self._with_labels(source, index, secret, outcome, reason)
        self._results.put(index, state, reason, error=outcome if isinstance(outcome, StrongroomError) else None)

    def _verdict(  # noqa: PLR0911  # one return for each verdict
        self, index: int, source: Secret | StrongroomError, target: Secret | StrongroomError
    ) -> tuple[ItemState, str]:
        item, entry = self._plan.items[index], self._entries.get(index)
        if isinstance(target, SecretNotFoundError):
            return ItemState.FAILED, f"not found at the target: {target.reason}" if entry else "it was not written"
        if isinstance(target, StrongroomError):
            return ItemState.FAILED, str(target)
        if isinstance(source, StrongroomError):
            if self._is_as_written(entry, target):
                return ItemState.DONE, "the source can no longer be read; the target holds what was written"
            return ItemState.FAILED, f"the source cannot be read: {source}"
        if not (keys := differing(target.data, source.data)):
            return ItemState.DONE, "" if entry else HAS_ALL
        merged = item.state is PlannedState.CONFLICT and self._plan.on_conflict is OnConflict.MERGE
        if merged and not set(source.data) - set(target.data):
            return ItemState.DONE, "merged: the target keeps its own values"
        written = self._is_as_written(entry, target)
        since = "the source was changed since" if written else "the target differs from the source"
        return ItemState.FAILED, f"{since}: {', '.join(keys)}"

    def _with_labels(
        self, source: Source, index: int, source_secret: Secret, target_secret: Secret, reason: str
    ) -> tuple[ItemState, str]:
        """Return the verdict on a secret whose data are right. Denied labels are not a failure, as in `apply`."""
        item, entry = self._plan.items[index], self._entries.get(index)
        if not item.labels:
            return ItemState.DONE, reason
        denied = "labels not copied" if entry and entry.done and entry.labels is None else ""
        try:
            missing = lacking(source.labels(source_secret), labels_of(self._target, target_secret), item.labels)
        except PermissionDeniedError as error:
            return ItemState.DONE, denied or f"labels unknown: {error}"
        except StoreError as error:
            return ItemState.FAILED, f"labels cannot be read: {error}"
        if not missing or denied:
            return ItemState.DONE, denied if missing else reason
        return ItemState.FAILED, f"labels missing at the target: {', '.join(map(shown, missing))}"

    def _is_as_written(self, entry: JournalEntry | None, target: Secret) -> bool:
        return entry is not None and self._digester.digest(target.data) == entry.digest
