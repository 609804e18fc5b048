"""Apply a plan batch by batch: read, vet, journal, write, record.

Each write is in the journal before it is sent, and again once the target holds it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from functools import partial
from typing import NamedTuple

from strongroom._boundary.guard import GuardedStore
from strongroom.errors import (
    ConflictError,
    InvalidDataError,
    InvalidPathError,
    PermissionDeniedError,
    SecretNotFoundError,
    StoreError,
    StrongroomError,
    UnsupportedOperationError,
)
from strongroom.migrate._execution.parallel import (
    OutageWatch,
    SecretWrite,
    batch_size,
    batches,
    read_each,
    write_each,
)
from strongroom.migrate._execution.results import Results
from strongroom.migrate._ledger.journal import JournalEntry, Part
from strongroom.migrate._ledger.runs import OpenRun
from strongroom.migrate._plans.comparison import HAS_ALL, SOURCE_CHANGED, Do, decide, source_changed, target_changed
from strongroom.migrate._plans.labels import LabelChanges, after, form_of, kept, record_of, to_write
from strongroom.migrate._plans.plan import PlannedState
from strongroom.migrate.report import ItemState
from strongroom.migrate.sources import Source
from strongroom.secret import Secret, Value, Version
from strongroom.store.concurrency import map_concurrently, result_or_error

_REFUSALS = (PermissionDeniedError, InvalidPathError, InvalidDataError, UnsupportedOperationError)
"""Errors after which the target certainly does not hold the data that was sent."""

_SLOWEST = 1 / 86_400
"""The lowest rate, in writes a second: one a day."""


class _VettedItem(NamedTuple):
    """An item that was compared with the plan and the target, and not refused.

    Attributes:
        item: its index in the plan.
        secret: the source's secret.
        intent: the entry for the journal, before the write; None if it has one.
        overwritten: the target's data that the write replaces, for the backup.
        write: the write; None if the target holds the data.
        version: the version of the data at the target, once it holds them.
    """

    item: int
    secret: Secret
    intent: JournalEntry | None = None
    overwritten: Mapping[str, Value] | None = None
    write: SecretWrite | None = None
    version: Version | None = None


class PlanTransfer:
    """Writes the secrets of a plan.

    `rate` is the most writes a second, on the average of each second; None is unlimited.
    """

    def __init__(self, run: OpenRun, target: GuardedStore, results: Results, rate: float | None) -> None:
        self._run, self._plan, self._journal = run, run.plan, run.journal
        self._target, self._results, self._rate = target, results, rate
        self._free = time.monotonic()
        self._size = batch_size(target, labels=any(item.labels for item in run.plan.items))
        if rate is not None:
            self._size = max(1, min(self._size, int(rate)))
        self._begun = {index: entry for index, entry in run.journal.entries.items() if not entry.done}
        self._raced: dict[int, bytes] = {}
        self._unlabelled: dict[int, _VettedItem] = {}
        self._label_transfer = LabelTransfer(run, target)

    def run(self, source: Source, indices: Sequence[int]) -> None:
        """Write the items of one source, and put the result of each into the results.

        Raises:
            MigrationError: the journal or the backup cannot be written. Nothing is sent after that.
            StrongroomError: the source as a whole cannot be read.
            StoreUnavailableError: a store is down.
        """
        with self._results.retries() as rounds:
            self._transfer(source, indices, again=False)
            raced, self._raced = self._raced, {}
            for index, digest in raced.items():
                self._undelete(index, digest)
            if raced:  # another writer was faster: its secret decides, once more
                self._transfer(source, list(raced), again=True)
            for failed in rounds:
                self._transfer(source, failed, again=True)
        self._journal.sync()

    def _transfer(self, source: Source, indices: Sequence[int], *, again: bool) -> None:
        """Read, vet, journal, write and record these items, one batch after the other.

        With a rate, a batch is not read ahead: its secrets could change until they are written.
        """
        at, watch = {self._plan.items[index].source_path: index for index in indices}, OutageWatch()
        ahead = self._rate is None and not source.local
        with closing(batches(source.read_again(list(at)), self._size, ahead=ahead)) as read:
            for batch in read:
                secrets = {at[path]: secret for path, secret in batch}
                self._wait()
                vetted = self._vet(secrets, again=again)
                self._intend(vetted)
                self._write(vetted, watch, again=again)
                self._copy_labels(source, watch)

    def _wait(self) -> None:
        """Wait until the rate admits the next writes."""
        if self._rate is not None and (now := time.monotonic()) < self._free:
            time.sleep(self._free - now)

    # --- vet ----------------------------------------------------------------------------------------------------------

    def _vet(self, secrets: Mapping[int, Secret | StrongroomError], *, again: bool) -> list[_VettedItem]:
        """Compare a batch with the plan and the target. Report the items that are not written, and return the rest."""
        self._results.begin(secrets)
        readable = {index: secret for index, secret in secrets.items() if isinstance(secret, Secret)}
        there, vetted = self._read_target(readable, again=again), []
        for index, secret in secrets.items():
            current = there.get(index)
            if isinstance(secret, StrongroomError):
                self._results.fail_or_retry(index, secret)
            elif isinstance(current, StrongroomError):
                self._results.fail_or_retry(index, current)
            elif (item := self._vet_item(index, secret, current)) is not None:
                vetted.append(item)
        return vetted

    def _read_target(self, indices: Iterable[int], *, again: bool) -> dict[int, Secret | StoreError]:
        """Read those items at the target for which a check-and-set write alone does not decide. Leave absent ones out.

        Raises:
            StoreUnavailableError, AuthenticationError: the target is down.
        """
        items, checked = self._plan.items, "checked" in self._target.capabilities
        at = {
            items[index].path: index
            for index in indices
            if again or not checked or index in self._begun or items[index].state is not PlannedState.CREATE
        }
        found = read_each(self._target, list(at), OutageWatch())
        return {at[path]: outcome for path, outcome in found if not isinstance(outcome, SecretNotFoundError)}

    def _vet_item(self, index: int, secret: Secret, current: Secret | None) -> _VettedItem | None:
        """Return the item with its write, or None if its result is known without one."""
        item, digest = self._plan.items[index], self._run.digester.digest
        source_digest, target_digest = (None, None)
        if self._run.planned is not None:
            source_digest, target_digest = self._run.planned.get(index, item)
        wanted, there = digest(secret.data), None if current is None else digest(current.data)
        begun = self._begun.get(index)
        if begun is not None and current is not None and there == begun.digest:
            return _VettedItem(index, secret, version=current.version)  # the write whose answer was lost
        if source_changed(item, secret, same=None if source_digest is None else source_digest == wanted):
            self._results.put(index, ItemState.CONFLICT, SOURCE_CHANGED)
            return None
        if begun is not None and current is not None and begun.is_half(self._run.digester.each(current.data)):
            # Its entry keeps the digests of the first attempt.
            data = decide(secret, current, self._plan.on_conflict, changed=False).data
            return _VettedItem(index, secret, begun, write=SecretWrite(item.path, data, None))
        if begun is not None:
            changed = there != begun.before
        else:
            same = None if target_digest is None or there is None else target_digest == there
            changed = target_changed(item, secret, current, same=same)
        decision = decide(secret, current, self._plan.on_conflict, changed=changed)
        if decision.do is Do.KEEP and item.labels:
            before = None if current is None else current.version
            return _VettedItem(index, secret, JournalEntry(there or wanted, there, before, None), version=before)
        if decision.do is not Do.WRITE:
            state = ItemState.CONFLICT if decision.do is Do.CONFLICT else ItemState.SKIPPED
            self._results.put(index, state, decision.reason)
            return None
        data = decision.data
        intent = JournalEntry(wanted, there, None, None, form=form_of(secret.metadata))
        if current is not None:
            intent.digest, intent.before_version = digest(data), current.version
            intent.before_form = form_of(current.metadata)
        return self._with_write(index, secret, intent, current, data)

    def _with_write(
        self, index: int, secret: Secret, intent: JournalEntry, current: Secret | None, data: Mapping[str, Value]
    ) -> _VettedItem:
        """Return the item with a write of these data, which replace those of `current`."""
        overwritten = None if current is None else current.data
        if self._target.traits.piecewise:
            intent.parts = self._parts(overwritten or {}, data)
        form = intent.form or None if current is None else None
        write = SecretWrite(self._plan.items[index].path, data, intent.before_version, form)
        return _VettedItem(index, secret, intent, overwritten, write)

    def _parts(self, before: Mapping[str, Value], after: Mapping[str, Value]) -> dict[str, Part]:
        old, new = self._run.digester.each(before), self._run.digester.each(after)
        return {key: (old.get(key), new.get(key)) for key in {**old, **new}}

    # --- journal ------------------------------------------------------------------------------------------------------

    def _intend(self, vetted: Iterable[_VettedItem]) -> None:
        """Put the intents on disk, and the data that the writes replace.

        A retry within the run starts from the intents, as a resumed run does.

        Raises:
            MigrationError: the journal or the backup cannot be written.
        """
        for item in vetted:
            if (intent := item.intent) is not None:
                if item.overwritten is not None and self._plan.backup:
                    intent.backup = self._run.backup.put(self._plan.items[item.item].path, item.overwritten)
                self._journal.intend(item.item, intent)
                self._begun[item.item] = intent
        self._run.backup.sync()
        self._journal.sync()

    # --- write and record ---------------------------------------------------------------------------------------------

    def _write(self, vetted: Iterable[_VettedItem], watch: OutageWatch, *, again: bool) -> None:
        """Send the writes, and record the outcome of each. The journal has it on disk with the next intents.

        Raises:
            StoreUnavailableError, AuthenticationError: the target is down.
        """
        writes: list[SecretWrite] = []
        sent: dict[str, _VettedItem] = {}
        for item in vetted:
            if item.write is None:
                self._record_held(item)
            else:
                writes.append(item.write)
                sent[item.write.path] = item
        if self._rate is not None:
            self._free = max(time.monotonic(), self._free) + len(writes) / self._rate
        with closing(write_each(self._target, writes)) as outcomes:
            for path, outcome in outcomes:
                if (written := sent.pop(path, None)) is not None:
                    self._record(written, outcome, again=again)
                    watch.observe(outcome)

    def _record(self, vetted: _VettedItem, outcome: Version | StoreError | None, *, again: bool) -> None:
        index = vetted.item
        if isinstance(outcome, ConflictError):
            self._journal.refused(index)  # the target's secret is not ours, even if it is equal
            self._begun.pop(index, None)
            if not again:
                self._raced[index] = self._run.digester.digest(vetted.secret.data)
            else:
                self._results.put(index, ItemState.CONFLICT, outcome.reason, error=outcome)
        elif isinstance(outcome, StoreError):
            if isinstance(outcome, _REFUSALS) and not again and self._is_first_attempt(index):
                self._journal.refused(index)
                self._begun.pop(index, None)
            self._results.fail_or_retry(index, outcome)
        else:
            self._record_held(vetted._replace(version=outcome))

    def _record_held(self, vetted: _VettedItem) -> None:
        """Record the item as done, or keep it until its labels are written."""
        if self._plan.items[vetted.item].labels:
            self._unlabelled[vetted.item] = vetted
        else:
            self._record_done(vetted.item, vetted.version)

    def _record_done(self, index: int, version: Version | None, reason: str = "") -> None:
        self._begun.pop(index, None)
        self._journal.done(index, version)
        self._results.put(index, ItemState.DONE, reason, version=version)

    def _is_first_attempt(self, index: int) -> bool:
        """Return True if no earlier attempt and no part of this one can have written anything of the item."""
        return index not in self._run.journal.entries and not self._target.traits.piecewise

    def _copy_labels(self, source: Source, watch: OutageWatch) -> None:
        """Copy the labels of a batch, after its data. Writes in flight would run out of time meanwhile."""
        held, self._unlabelled = self._unlabelled, {}
        secrets = [(index, item.secret) for index, item in held.items()]
        for index, failure in self._label_transfer.carry(source, secrets) if secrets else ():
            watch.observe(failure)
            if failure is None:
                self._record_done(index, held[index].version)
            elif isinstance(failure, PermissionDeniedError):  # labels need another permission, which is optional
                self._record_done(index, held[index].version, f"labels not copied: {failure}")
            else:
                self._results.fail_or_retry(index, failure, f"data written, labels not: {failure}")

    def _undelete(self, index: int, digest: bytes) -> None:
        """Undelete a secret that an undo of this plan deleted, if the service keeps it and refuses a new one.

        It counts as begun, so the next read of the target decides.
        """
        path = self._plan.items[index].path
        if "versioned" not in self._target.capabilities or path not in self._run.undone_paths:
            return
        with suppress(StoreError):  # then the second write reports the cause
            newest = self._target.versions(path)[-1]
            if newest.deleted:
                self._begun[index] = JournalEntry(digest, None, None, None)
                self._journal.intend(index, self._begun[index])
                self._journal.sync()
                self._target.undelete(path, newest.version)


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
        find = partial(result_or_error, self._found, source)
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
        for (index, _), failure in map_concurrently(lambda each: result_or_error(self._write, *each), writes):
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


def check_rate(rate: float | None) -> float | None:
    """Return the rate if it is usable.

    Raises:
        ValueError: it is not finite, or below one write a day.
    """
    if rate is not None and (not math.isfinite(rate) or rate < _SLOWEST):
        raise ValueError("the rate must be a number of writes a second, at least one a day")
    return rate


def report_unwritten(run: OpenRun, results: Results) -> None:
    """Report the items that a run does not write: those outside the policy of the plan, and those already done."""
    for index, item in enumerate(run.plan.items):
        if run.plan.writes(item):
            if (entry := run.journal.entries.get(index)) is not None and entry.done:
                results.settle(index, ItemState.DONE, version=entry.version)
        elif item.state is PlannedState.EQUAL:
            results.settle(index, ItemState.SKIPPED, HAS_ALL)
        else:
            state = ItemState.FAILED if item.state is PlannedState.IMPOSSIBLE else ItemState.SKIPPED
            results.settle(index, state, item.reason)
