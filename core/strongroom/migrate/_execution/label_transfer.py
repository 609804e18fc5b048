"""Copy labels to the target after the data, and restore the earlier labels when a migration is undone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial

from strongroom._boundary import answers
from strongroom._boundary.guard import GuardedStore
from strongroom.errors import ConflictError, PermissionDeniedError, SecretNotFoundError, StoreError
from strongroom.migrate._ledger.runs import OpenRun
from strongroom.migrate._plans.labels import LabelChanges, after, kept, record_of, restored, to_write
from strongroom.migrate.sources import Source
from strongroom.secret import Secret
from strongroom.store.concurrency import map_concurrently


class LabelTransfer:
    """Adds the planned labels to those that the target has.

    Each write is in the journal before it is sent, with the target's earlier labels in the backup.
    """

    def __init__(self, run: OpenRun, target: GuardedStore) -> None:
        self._plan, self._journal, self._backup = run.plan, run.journal, run.backup
        self._target = target
        self._recorded: dict[int, int] = {}

    def carry(self, source: Source, secrets: Sequence[tuple[int, Secret]]) -> Iterator[tuple[int, StoreError | None]]:
        """Write the labels of items whose data the target holds, and yield each item with its error or None.

        Raises:
            MigrationError: the journal or the backup cannot be written. Nothing is sent then.
        """
        writes: list[tuple[int, dict[str, str]]] = []
        find = partial(answers.outcome, self._found, source)
        for (index, _), found in map_concurrently(lambda each: find(*each), secrets):
            if isinstance(found, StoreError):
                yield index, found
                continue
            wanted, current = found
            if record := to_write(wanted, current, self._plan.on_conflict):
                self._intend(index, record)
                writes.append((index, after(current, record)))
            else:
                yield index, None
        self._backup.sync()
        self._journal.sync()
        for (index, _), failure in map_concurrently(lambda each: answers.outcome(self._write, *each), writes):
            if isinstance(failure, PermissionDeniedError):
                entry = self._journal.entries.get(index)
                self._journal.label(index, None if entry is None else entry.labels)
                self._recorded.pop(index, None)
            yield index, failure

    def _found(self, source: Source, index: int, secret: Secret) -> tuple[dict[str, str], dict[str, str]]:
        """Return the planned labels of the source, and all labels of the target."""
        item = self._plan.items[index]
        wanted = source.labels(secret)
        return {name: wanted[name] for name in item.labels if name in wanted}, self._target.read_metadata(item.path)

    def _intend(self, index: int, record: LabelChanges) -> None:
        """Record the labels before and after. An interrupted attempt's record stays: it has the true earlier labels."""
        path, earlier = self._plan.items[index].path, self._earlier(index)
        before = {} if earlier is None else record_of(self._backup.get(earlier, path))
        self._recorded[index] = self._backup.put(path, kept({**before, **record}))
        self._journal.label(index, self._recorded[index])

    def _earlier(self, index: int) -> int | None:
        entry = self._journal.entries.get(index)
        return self._recorded.get(index, None if entry is None else entry.labels)

    def _write(self, index: int, labels: Mapping[str, str]) -> None:
        self._target.write_metadata(self._plan.items[index].path, labels)


def restore_labels(target: GuardedStore, path: str, record: LabelChanges) -> None:
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
