"""Apply a plan: each write is in the journal before it is sent, and again once the target holds it."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from enum import Enum
from typing import Final, Literal, NamedTuple, TypeAlias, TypeVar

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
from strongroom.migrate._execution.label_transfer import LabelTransfer
from strongroom.migrate._execution.parallel import OutageWatch, SecretWrite, read_each, write_each
from strongroom.migrate._execution.results import Results
from strongroom.migrate._ledger.journal import JournalEntry, Part
from strongroom.migrate._ledger.runs import OpenRun
from strongroom.migrate._plans.comparison import HAS_ALL, SOURCE_CHANGED, Do, decide, source_changed, target_changed
from strongroom.migrate._plans.labels import form_of
from strongroom.migrate._plans.plan import PlannedState
from strongroom.migrate.report import ItemState
from strongroom.migrate.sources import Source
from strongroom.secret import Secret, Value, Version

_T = TypeVar("_T")

_GROUP = 256
"""How many writes share one sync of the journal."""

_GROUP_UNCHECKED = 32
"""The same without check-and-set, so that little time passes between reading a target and replacing it. Also used with
labels, which are written after each group."""

_REFUSALS = (PermissionDeniedError, InvalidPathError, InvalidDataError, UnsupportedOperationError)
"""Errors after which the target certainly does not hold the data that was sent."""

_SLOWEST = 1 / 86_400
"""The lowest rate, in writes a second: one a day."""


class _HeldItem(NamedTuple):
    """An item whose data the target holds, with the source's secret and the version of the write."""

    item: int
    secret: Secret
    version: Version | None


class _Mark(Enum):
    ON_DISK = "the intents of all writes so far are on disk"


_ON_DISK: Final = _Mark.ON_DISK
_Prepared: TypeAlias = "SecretWrite | Literal[_Mark.ON_DISK] | None"
"""A prepared write, the mark that all writes so far may be sent, or None for other work."""


class PlanTransfer:
    """Writes the secrets of a plan.

    `rate` is the most writes a second, on the average of each second; None is unlimited.
    """

    def __init__(self, run: OpenRun, target: GuardedStore, results: Results, rate: float | None) -> None:
        self._run, self._plan, self._journal = run, run.plan, run.journal
        self._target, self._results, self._rate = target, results, rate
        self._free = time.monotonic()
        self._labels = any(item.labels for item in run.plan.items)
        self._size = _GROUP if "checked" in target.capabilities and not self._labels else _GROUP_UNCHECKED
        if rate is not None:
            self._size = max(1, min(self._size, int(rate)))
        self._begun = {index: entry for index, entry in run.journal.entries.items() if not entry.done}
        self._under_way: dict[str, tuple[int, Secret]] = {}
        self._raced: dict[int, bytes] = {}
        self._unlabelled: list[_HeldItem] = []
        self._label_transfer = LabelTransfer(run, target)

    def run(self, source: Source, indices: Sequence[int]) -> None:
        """Write the items of one source, and put the result of each into the results.

        Raises:
            MigrationError: the journal or the backup cannot be written. Nothing is sent after that.
            StrongroomError: the source as a whole cannot be read.
            StoreUnavailableError: a store is down.
        """
        with self._results.retries() as rounds:
            self._write(source, indices, again=False)
            raced, self._raced = self._raced, {}
            for index, digest in raced.items():
                self._undelete(index, digest)
            if raced:  # another writer was faster: its secret decides, once more
                self._write(source, list(raced), again=True)
            for failed in rounds:
                self._write(source, failed, again=True)
        self._journal.sync()

    def _write(self, source: Source, indices: Sequence[int], *, again: bool) -> None:
        steps, watch = self._prepare(source, indices, again=again), OutageWatch()
        # A batch looks ahead, and would send writes that still wait for the rate limit, so each group becomes a batch.
        # Labels are written after a group. Inside a batch, the writes in flight would run out of time meanwhile.
        for batch in _grouped(steps) if self._rate is not None or self._labels else (_interleaved(steps),):
            self._send(batch, watch, again=again)
            if self._unlabelled:
                self._carry_labels(source, watch)

    def _send(self, writes: Iterable[SecretWrite], watch: OutageWatch, *, again: bool) -> None:
        with closing(_closable(write_each(self._target, writes))) as outcomes:
            for path, outcome in outcomes:
                if (sent := self._under_way.pop(path, None)) is None:
                    continue
                index, secret = sent
                if isinstance(outcome, ConflictError):
                    self._journal.refused(index)  # the target's secret is not ours, even if it is equal
                    self._begun.pop(index, None)
                    if not again:
                        self._raced[index] = self._run.digester.digest(secret.data)
                    else:
                        self._results.put(index, ItemState.CONFLICT, outcome.reason, error=outcome)
                elif isinstance(outcome, StrongroomError):
                    if isinstance(outcome, _REFUSALS) and not again and self._is_first_attempt(index):
                        self._journal.refused(index)
                        self._begun.pop(index, None)
                    self._results.fail_or_retry(index, outcome)
                else:
                    self._data_written(_HeldItem(index, secret, outcome))
                watch.observe(outcome)

    def _is_first_attempt(self, index: int) -> bool:
        """Return True if no earlier attempt and no part of this one can have written anything of the item."""
        return index not in self._run.journal.entries and not self._target.traits.piecewise

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
                self._intend(index, JournalEntry(digest, None, None, None))
                self._journal.sync()
                self._target.undelete(path, newest.version)

    def _prepare(self, source: Source, indices: Sequence[int], *, again: bool) -> Iterator[_Prepared]:
        """Read the items at the source and prepare their writes, in small steps."""
        at = {self._plan.items[index].source_path: index for index in indices}
        group: list[tuple[int, Secret]] = []
        for path, outcome in source.read_again(list(at)):
            yield None
            index = at.pop(path)
            self._results.begin([index])
            if isinstance(outcome, StrongroomError):
                self._results.fail_or_retry(index, outcome)
                continue
            group.append((index, outcome))
            if len(group) >= self._size:
                yield from self._prepare_group(group, again=again)
                group = []
        yield from self._prepare_group(group, again=again)

    def _prepare_group(self, group: list[tuple[int, Secret]], *, again: bool) -> Iterator[_Prepared]:
        there, count = self._read_targets(group, again=again), 0
        for index, secret in group:
            current = there.get(index)
            if isinstance(current, StrongroomError):
                self._results.fail_or_retry(index, current)
            else:
                write = self._write_for(index, secret, current)
                count += write is not None
                yield write
        self._run.backup.sync()
        self._journal.sync()
        self._wait(count)
        yield _ON_DISK

    def _wait(self, count: int) -> None:
        """Wait until the rate allows `count` more writes."""
        if self._rate is not None:
            now = time.monotonic()
            if now < self._free:
                time.sleep(self._free - now)
            self._free = max(now, self._free) + count / self._rate

    def _read_targets(self, group: list[tuple[int, Secret]], *, again: bool) -> dict[int, Secret | StrongroomError]:
        """Read at the target the items of a group for which a check-and-set write alone does not decide."""
        items, begun = self._plan.items, self._begun
        asked = {
            items[index].path: index
            for index, _ in group
            if again
            or "checked" not in self._target.capabilities
            or index in begun
            or items[index].state is not PlannedState.CREATE
        }
        found: dict[int, Secret | StrongroomError] = {}
        for path, outcome in read_each(self._target, list(asked), OutageWatch()):
            if not isinstance(outcome, SecretNotFoundError):
                found[asked[path]] = outcome
        return found

    def _write_for(self, index: int, secret: Secret, current: Secret | None) -> SecretWrite | None:
        """Return the write of an item, with its intent in the journal, or None if its result is already known."""
        item, digest = self._plan.items[index], self._run.digester.digest
        source_digest, target_digest = (None, None)
        if self._run.planned is not None:
            source_digest, target_digest = self._run.planned.get(index, item)
        wanted, there = digest(secret.data), None if current is None else digest(current.data)
        changed = False
        if (begun := self._begun.get(index)) is not None:
            if current is not None and there == begun.digest:
                self._data_written(_HeldItem(index, secret, current.version))  # the write whose answer was raced
                return None
            changed = there != begun.before
        if source_changed(item, secret, same=None if source_digest is None else source_digest == wanted):
            self._results.put(index, ItemState.CONFLICT, SOURCE_CHANGED)
            return None
        if begun is not None and current is not None and begun.is_half(self._run.digester.each(current.data)):
            return self._complete_write(index, secret, current, begun)
        if begun is None:
            same = None if target_digest is None or there is None else target_digest == there
            changed = target_changed(item, secret, current, same=same)
        decision = decide(secret, current, self._plan.on_conflict, changed=changed)
        before = None if current is None else current.version
        if decision.do is Do.KEEP and item.labels:
            self._intend(index, JournalEntry(there or wanted, there, before, None))
            self._data_written(_HeldItem(index, secret, before))
            return None
        if decision.do is not Do.WRITE:
            state = ItemState.CONFLICT if decision.do is Do.CONFLICT else ItemState.SKIPPED
            self._results.put(index, state, decision.reason)
            return None
        return self._new_write(index, secret, current, decision.data, wanted)

    def _new_write(
        self, index: int, secret: Secret, current: Secret | None, data: Mapping[str, Value], wanted: bytes
    ) -> SecretWrite:
        """Return the write of these data, with its intent in the journal."""
        path = self._plan.items[index].path
        if current is None:
            entry = JournalEntry(wanted, None, None, None, form=form_of(secret.metadata))
        else:
            entry = self._back_up(path, secret, current, data)
        if self._target.traits.piecewise:
            entry.parts = self._parts({} if current is None else current.data, data)
        self._intend(index, entry)
        self._under_way[path] = index, secret
        return SecretWrite(path, data, entry.before_version, entry.form or None if current is None else None)

    def _back_up(self, path: str, secret: Secret, current: Secret, data: Mapping[str, Value]) -> JournalEntry:
        """Back up the target's data, if the plan wants it, and return the journal entry of the overwrite."""
        digest = self._run.digester.digest
        place = self._run.backup.put(path, current.data) if self._plan.backup else None
        entry = JournalEntry(digest(data), digest(current.data), current.version, place, form=form_of(secret.metadata))
        entry.before_form = form_of(current.metadata)
        return entry

    def _complete_write(self, index: int, secret: Secret, current: Secret, begun: JournalEntry) -> SecretWrite:
        """Return the write that completes a half-written secret. Its entry keeps the digests of the first attempt."""
        path = self._plan.items[index].path
        self._intend(index, begun)
        self._under_way[path] = index, secret
        return SecretWrite(path, decide(secret, current, self._plan.on_conflict, changed=False).data, None)

    def _parts(self, before: Mapping[str, Value], after: Mapping[str, Value]) -> dict[str, Part]:
        old, new = self._run.digester.each(before), self._run.digester.each(after)
        return {key: (old.get(key), new.get(key)) for key in {**old, **new}}

    def _data_written(self, held: _HeldItem) -> None:
        """Report the item as done, or keep it until its labels are written."""
        if self._plan.items[held.item].labels:
            self._unlabelled.append(held)
        else:
            self._done(held.item, held.version)

    def _carry_labels(self, source: Source, watch: OutageWatch) -> None:
        waiting = {held.item: held for held in self._unlabelled}
        self._unlabelled.clear()
        for index, failure in self._label_transfer.carry(source, [held[:2] for held in waiting.values()]):
            watch.observe(failure)
            version = waiting[index].version
            if failure is None:
                self._done(index, version)
            elif isinstance(failure, PermissionDeniedError):  # labels need another permission, which is optional
                self._done(index, version, f"labels not copied: {failure}")
            else:
                self._results.fail_or_retry(index, failure, f"data written, labels not: {failure}")

    def _intend(self, index: int, entry: JournalEntry) -> None:
        """Add the intent to the journal. A retry within the run starts from it, as a resumed run does."""
        self._journal.intend(index, entry)
        self._begun[index] = entry

    def _done(self, index: int, version: Version | None, reason: str = "") -> None:
        self._begun.pop(index, None)
        self._journal.done(index, version)
        self._results.put(index, ItemState.DONE, reason, version=version)


def check_rate(rate: float | None) -> float | None:
    """Return the rate if it is usable.

    Raises:
        ValueError: it is not finite, or below one write a day.
    """
    if rate is not None and (not math.isfinite(rate) or rate < _SLOWEST):
        raise ValueError("the rate must be a number of writes a second, at least one a day")
    return rate


def _grouped(steps: Iterable[_Prepared]) -> Iterator[list[SecretWrite]]:
    """Yield the writes of each group, once its intents are on disk."""
    group: list[SecretWrite] = []
    for step in steps:
        if step is _ON_DISK:
            yield group
            group = []
        elif step is not None:
            group.append(step)


def _interleaved(steps: Iterable[_Prepared]) -> Iterator[SecretWrite]:
    """Yield each write, once its group is on disk, and take two steps towards the next group in between.

    The consumer sends nothing while it waits for this generator, so preparing a whole group at once would leave the
    target idle. A write takes two steps: reading the source, and preparation.
    """
    safe: deque[SecretWrite] = deque()
    group: list[SecretWrite] = []
    for number, step in enumerate(steps):
        if step is _ON_DISK:
            yield from safe
            safe, group = deque(group), []
        elif step is not None:
            group.append(step)
        if safe and number % 2:
            yield safe.popleft()
    yield from safe


def _closable(outcomes: Iterator[_T]) -> Generator[_T, None, None]:
    yield from outcomes


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
