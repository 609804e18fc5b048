"""Carrying out a plan: each write is in the journal before it is sent, and again once the target holds it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from enum import Enum
from typing import Final, Literal, NamedTuple, TypeAlias, TypeVar

from strongroom.errors import ConflictError, PermissionDeniedError, SecretNotFoundError, StoreError, StrongroomError
from strongroom.migrate.endpoints.sources import Source
from strongroom.migrate.execution.label_transfer import Labeller
from strongroom.migrate.execution.parallel import OutageWatch, Retries, Write, read_each, write_each
from strongroom.migrate.execution.throttle import Rate
from strongroom.migrate.ledger.backup import Backup
from strongroom.migrate.ledger.digests import Digester, Remembered
from strongroom.migrate.ledger.journal import Entry, Journal, Part
from strongroom.migrate.plans.comparison import SOURCE_CHANGED, Do, decide, source_changed, target_changed
from strongroom.migrate.plans.labels import form_of
from strongroom.migrate.plans.plan import Plan, State
from strongroom.migrate.reports.outcomes import Results
from strongroom.migrate.reports.report import ItemState
from strongroom.secret import Secret, Value, Version
from strongroom.store.guard import GuardedStore

_T = TypeVar("_T")

_GROUP = 256
"""How many writes share one wait for the disk."""

_GROUP_UNCHECKED = 32
"""The same without check-and-set: what was read of the target is to be young when it is replaced. So it is where labels
are written after each group, while all else waits."""


class _Held(NamedTuple):
    """An item whose data the target has, with the secret of the source and the version that it made."""

    item: int
    secret: Secret
    version: Version | None


class _Mark(Enum):
    ON_DISK = "the intents of all writes so far are on disk"


_ON_DISK: Final = _Mark.ON_DISK
_Step: TypeAlias = "Write | Literal[_Mark.ON_DISK] | None"
"""A write that is prepared, that all so far may be sent, or some other work."""


@dataclass(frozen=True)
class Memory:
    """What a run remembers.

    Attributes:
        journal: what it does.
        backup: what it overwrites.
        digester: makes the digests in the journal.
        remembered: what the secrets were when the plan was made, if this machine knows.
        undone: tells the paths that an earlier run of the plan wrote, and that were undone.
    """

    journal: Journal
    backup: Backup
    digester: Digester
    remembered: Remembered | None
    undone: Callable[[], frozenset[str]]


class Transfer:
    """Writes what a plan says.

    Args:
        plan: the plan.
        source: opens a source.
        target: the store to write.
        memory: what the run remembers; an item that its journal knows already goes on from there.
        results: are told of each item.
        rate: holds the writes to a rate.
    """

    def __init__(  # noqa: PLR0917  # each is one thing that a transfer needs
        self,
        plan: Plan,
        source: Callable[[str], Source],
        target: GuardedStore,
        memory: Memory,
        results: Results,
        rate: Rate,
    ) -> None:
        self._plan = plan
        self._source = source
        self._target = target
        self._memory = memory
        self._results = results
        self._rate = rate
        self._labels = any(item.labels for item in plan.items)
        self._size = rate.at_once(_GROUP if target.checked and not self._labels else _GROUP_UNCHECKED)
        self._begun = {index: entry for index, entry in memory.journal.entries.items() if not entry.done}
        self._retries = Retries[int]()
        self._reasons: dict[int, str] = {}
        self._under_way: dict[str, tuple[int, Secret]] = {}
        self._lost: dict[int, bytes] = {}
        self._unlabelled: list[_Held] = []
        self._labeller = Labeller(plan, target, memory.journal, memory.backup)

    def run(self, name: str, indices: Sequence[int]) -> None:
        """Writes the items of one source. What becomes of each is in the results.

        Raises:
            MigrationError: the journal or the backup cannot be written. Nothing is sent after that.
            StrongroomError: the source as a whole cannot be read.
            StoreUnavailableError: a store is out as a whole.
        """
        source = self._source(name)
        try:
            self._write(source, indices, again=False)
            lost, self._lost = self._lost, {}
            for index, digest in lost.items():
                self._bring_back(index, digest)
            if lost:  # another writer was faster: its secret decides, once more
                self._write(source, list(lost), again=True)
            for failed in self._retries.rounds():
                self._write(source, failed, again=True)
        finally:
            for index, error in self._retries.failed.items():
                self._results.put(index, ItemState.FAILED, self._reasons.get(index, str(error)), error=error)
            self._retries = Retries[int]()
        self._memory.journal.sync()

    def _write(self, source: Source, indices: Sequence[int], *, again: bool) -> None:
        steps, watch = self._steps(source, indices, again=again), OutageWatch()
        # A batch looks ahead, and would send at once what waits for the rate: then each group is a batch of its own.
        # Labels follow a group: within a batch, what is under way would run out of time meanwhile.
        for batch in _groups(steps) if self._rate.is_limited or self._labels else (_evenly(steps),):
            self._send(batch, watch, again=again)
            if self._unlabelled:
                self._carry_labels(source, watch)

    def _send(self, writes: Iterable[Write], watch: OutageWatch, *, again: bool) -> None:
        with closing(_closable(write_each(self._target, writes))) as outcomes:
            for path, outcome in outcomes:
                if (sent := self._under_way.pop(path, None)) is None:
                    continue
                index, secret = sent
                if isinstance(outcome, ConflictError):
                    self._memory.journal.refused(index)  # what is there is not ours, even where it is the same
                    self._begun.pop(index, None)
                    if not again:
                        self._lost[index] = self._memory.digester.digest(secret.data)
                    else:
                        self._settle(index, ItemState.CONFLICT, outcome.reason, error=outcome)
                elif isinstance(outcome, StrongroomError):
                    self._fail(index, outcome)
                else:
                    self._held(_Held(index, secret, outcome))
                watch.saw(outcome)

    def _bring_back(self, index: int, digest: bytes) -> None:
        """Brings a secret back that the plan's undoing deleted, where its service keeps it and takes no new one.

        It counts as begun: what the target holds then decides.
        """
        path = self._plan.items[index].path
        if "versioned" not in self._target.capabilities or path not in self._memory.undone():
            return
        with suppress(StoreError):  # then the second write says what is the matter
            newest = self._target.versions(path)[-1]
            if newest.deleted:
                self._intend(index, Entry(digest, None, None, None))
                self._memory.journal.sync()
                self._target.undelete(path, newest.version)

    def _steps(self, source: Source, indices: Sequence[int], *, again: bool) -> Iterator[_Step]:
        """All that it takes until each write may be sent, in small steps."""
        at = {self._plan.items[index].source_path: index for index in indices}
        group: list[tuple[int, Secret]] = []
        for path, outcome in source.read_again(list(at)):
            yield None
            index = at.pop(path)
            if isinstance(outcome, StrongroomError):
                self._fail(index, outcome)
                continue
            group.append((index, outcome))
            if len(group) >= self._size:
                yield from self._prepared(group, again=again)
                group = []
        yield from self._prepared(group, again=again)

    def _prepared(self, group: list[tuple[int, Secret]], *, again: bool) -> Iterator[_Step]:
        there, count = self._there(group, again=again), 0
        for index, secret in group:
            current = there.get(index)
            if isinstance(current, StrongroomError):
                self._fail(index, current)
            else:
                write = self._decided(index, secret, current)
                count += write is not None
                yield write
        self._memory.backup.sync()
        self._memory.journal.sync()
        self._rate.wait(count)
        yield _ON_DISK

    def _there(self, group: list[tuple[int, Secret]], *, again: bool) -> dict[int, Secret | StrongroomError]:
        """What the target holds, of those for which a write under check-and-set would not tell by itself."""
        items = self._plan.items
        asked = {
            items[index].path: index
            for index, _ in group
            if again or not self._target.checked or index in self._begun or items[index].state is not State.CREATE
        }
        found: dict[int, Secret | StrongroomError] = {}
        for path, outcome in read_each(self._target, list(asked), OutageWatch()):
            if not isinstance(outcome, SecretNotFoundError):
                found[asked[path]] = outcome
        return found

    def _decided(self, index: int, secret: Secret, current: Secret | None) -> Write | None:
        """The write that an item comes to, with its intent in the journal; None where its result is known instead."""
        item, digest = self._plan.items[index], self._memory.digester.digest
        source_digest, target_digest = (None, None)
        if self._memory.remembered is not None:
            name = self._memory.digester.name(item.source, item.source_path)
            source_digest, target_digest = self._memory.remembered.get(index, name)
        mine, there = digest(secret.data), None if current is None else digest(current.data)
        changed = False
        if (begun := self._begun.get(index)) is not None:
            if current is not None and there == begun.digest:
                self._held(_Held(index, secret, current.version))  # the write that nobody saw the end of
                return None
            changed = there != begun.before
        if source_changed(item, secret, same=None if source_digest is None else source_digest == mine):
            self._settle(index, ItemState.CONFLICT, SOURCE_CHANGED)
            return None
        if begun is not None and current is not None and begun.is_half(self._memory.digester.each(current.data)):
            return self._write_again(index, secret, current, begun)
        if begun is None:
            same = None if target_digest is None or there is None else target_digest == there
            changed = target_changed(item, secret, current, same=same)
        decision = decide(secret, current, self._plan.on_conflict, changed=changed)
        before = None if current is None else current.version
        if decision.do is Do.KEEP and item.labels:
            self._intend(index, Entry(there or mine, there, before, None))
            self._held(_Held(index, secret, before))
            return None
        if decision.do is not Do.WRITE:
            state = ItemState.CONFLICT if decision.do is Do.CONFLICT else ItemState.SKIPPED
            self._settle(index, state, decision.reason)
            return None
        return self._intended(index, secret, current, decision.data, mine)

    def _intended(
        self, index: int, secret: Secret, current: Secret | None, data: Mapping[str, Value], mine: bytes
    ) -> Write:
        """The write of these data, with its intent in the journal."""
        path = self._plan.items[index].path
        if current is None:
            entry = Entry(mine, None, None, None, form=form_of(secret.metadata))
        else:
            entry = self._overwriting(path, secret, current, data)
        if self._target.traits.piecewise:
            entry.parts = self._parts({} if current is None else current.data, data)
        self._intend(index, entry)
        self._under_way[path] = index, secret
        return Write(path, data, entry.before_version, entry.form or None if current is None else None)

    def _overwriting(self, path: str, secret: Secret, current: Secret, data: Mapping[str, Value]) -> Entry:
        """What the journal says of a write over what is there; that is in the backup then, where one is made."""
        digest = self._memory.digester.digest
        place = self._memory.backup.put(path, current.data) if self._plan.backup else None
        entry = Entry(digest(data), digest(current.data), current.version, place, form=form_of(secret.metadata))
        entry.before_form = form_of(current.metadata)
        return entry

    def _write_again(self, index: int, secret: Secret, current: Secret, begun: Entry) -> Write:
        """The write of a secret of which some keys are written: what it held before is what it was found to be then."""
        path = self._plan.items[index].path
        self._intend(index, begun)
        self._under_way[path] = index, secret
        return Write(path, decide(secret, current, self._plan.on_conflict, changed=False).data, None)

    def _parts(self, before: Mapping[str, Value], after: Mapping[str, Value]) -> dict[str, Part]:
        old, new = self._memory.digester.each(before), self._memory.digester.each(after)
        return {key: (old.get(key), new.get(key)) for key in {**old, **new}}

    def _held(self, held: _Held) -> None:
        """The target has the item's data; it is done, unless labels are to follow."""
        if self._plan.items[held.item].labels:
            self._unlabelled.append(held)
        else:
            self._done(held.item, held.version)

    def _carry_labels(self, source: Source, watch: OutageWatch) -> None:
        waiting = {held.item: held for held in self._unlabelled}
        self._unlabelled.clear()
        for index, failure in self._labeller.carry(source, [held[:2] for held in waiting.values()]):
            watch.saw(failure)
            version = waiting[index].version
            if failure is None:
                self._done(index, version)
            elif isinstance(failure, PermissionDeniedError):  # a right of its own, which no migration needs
                self._done(index, version, f"its labels are not carried: {failure}")
            else:
                self._fail(index, failure, f"its data are written, and its labels are not: {failure}")

    def _intend(self, index: int, entry: Entry) -> None:
        """Add the intent to the journal. A retry within the run starts from it, as a resumed run does."""
        self._memory.journal.intend(index, entry)
        self._begun[index] = entry

    def _settle(
        self,
        index: int,
        state: ItemState,
        reason: str = "",
        *,
        version: Version | None = None,
        error: StrongroomError | None = None,
    ) -> None:
        self._retries.keep(index, None)
        self._results.put(index, state, reason, version=version, error=error)

    def _fail(self, index: int, error: StrongroomError, reason: str = "") -> None:
        """Report the item as failed, unless it is retried first."""
        if self._retries.keep(index, error):
            self._reasons[index] = reason or str(error)
        else:
            self._results.put(index, ItemState.FAILED, reason or str(error), error=error)

    def _done(self, index: int, version: Version | None, reason: str = "") -> None:
        self._begun.pop(index, None)
        self._memory.journal.done(index, version)
        self._settle(index, ItemState.DONE, reason, version=version)


def _groups(steps: Iterable[_Step]) -> Iterator[list[Write]]:
    """The writes of each group, once it is on disk."""
    group: list[Write] = []
    for step in steps:
        if step is _ON_DISK:
            yield group
            group = []
        elif step is not None:
            group.append(step)


def _evenly(steps: Iterable[_Step]) -> Iterator[Write]:
    """Each write, once its group is on disk. With each that is taken two steps are made towards the next group.

    Whoever takes them sends nothing meanwhile, so that a group made at once would leave the target without work. Two
    are what a write takes: it is read at the source, and prepared.
    """
    safe: deque[Write] = deque()
    group: list[Write] = []
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
