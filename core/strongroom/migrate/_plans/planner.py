"""Plan a migration by reading both stores. Nothing is written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice

from strongroom._boundary.guard import GuardedStore
from strongroom._redaction.digest import Digester
from strongroom.errors import (
    ConflictError,
    InvalidDataError,
    PermissionDeniedError,
    SecretNotFoundError,
    StoreError,
    StrongroomError,
    UnsupportedOperationError,
    shown,
)
from strongroom.migrate._execution.parallel import OUTAGES, OutageWatch, read_each
from strongroom.migrate._ledger.plan_digests import NO_RECORD, digest_record
from strongroom.migrate._plans.comparison import planned_keys, state_of
from strongroom.migrate._plans.labels import LabelChanges, carried, lacking, to_write
from strongroom.migrate._plans.plan import OnConflict, PlannedItem, PlannedKey, PlannedState
from strongroom.migrate.sources import RESERVED, Selection, Source, labels_of
from strongroom.migrate.spi import Failure
from strongroom.paths import check_path, is_rotation_record
from strongroom.secret import Secret, Value

_MOST_LISTED = 20_000

RECORD_STAYS = "the record of its rotations, which stays at the source"


def _list_target(target: GuardedStore, selection: Selection) -> frozenset[str] | None:
    """Return the paths that the target lists, so that absent secrets need no read, or None if that is not possible.

    A store lists all its paths, including unreadable ones, or raises. Only targets with check-and-set qualify, since
    their writes refuse a secret that came later. None also stands for a listing that fails or is too long.
    """
    if selection.paths or "local" in target.capabilities or not {"checked", "listable"} <= target.capabilities:
        return None
    prefix = "" if selection.rename else selection.to_prefix
    try:
        found = list(islice(target.walk(prefix), _MOST_LISTED + 1))
    except StoreError:
        return None
    return frozenset(found) if len(found) <= _MOST_LISTED else None


class Planner:
    """Creates the items of a plan, source by source."""

    def __init__(
        self,
        target: GuardedStore,
        selection: Selection,
        on_conflict: OnConflict,
        digester: Digester | None,
        advance: Callable[[], None],
        *,
        backup: bool,
    ) -> None:
        self.items: list[PlannedItem] = []
        self._target = target
        self._has_labels = "versioned" in target.capabilities
        self._selection = selection
        self._on_conflict = on_conflict
        self._digester = digester
        self._digests: dict[int, bytes] = {}
        self._advance = advance
        self._backup = backup
        self._claims: dict[str, int] = {}
        self._waiting: dict[str, tuple[int, Secret]] = {}
        self._together: dict[str, tuple[int, Mapping[str, Value]]] = {}
        self._there = _list_target(target, selection)
        self._checks = OutageWatch()
        self._keys: dict[tuple[PlannedKey, ...], tuple[PlannedKey, ...]] = {}

    def add(self, source: Source) -> None:
        """Add the items of one source. Both stores are read in step, so that few secrets are in memory."""
        for path, outcome in read_each(self._target, self._paths_to_read(source), OutageWatch()):
            if (found := self._waiting.pop(path, None)) is None:
                continue
            index, secret = found
            if self.items[index].state is not PlannedState.IMPOSSIBLE:
                self.items[index] = self._compare(source, index, secret, outcome)
            self._advance()
        self._judge_rotations(source)

    def result(self, sources: Sequence[str]) -> tuple[tuple[PlannedItem, ...], Iterator[bytes]]:
        """Return the items, ordered by source and path, and the record of digests of each."""
        self._vet_together()
        rank = {name: number for number, name in enumerate(sources)}
        items = self.items
        order = sorted(range(len(items)), key=lambda index: (rank[items[index].source], items[index].source_path))
        return tuple(items[index] for index in order), (self._digests.get(index, NO_RECORD) for index in order)

    def _vet_together(self) -> None:
        """Refuse the secrets that the target can hold alone and not together."""
        items = ((path, data) for path, (_, data) in self._together.items())
        for path, fault in self._target.vet_many(items):
            index, item = self._together[path][0], self.items[self._together[path][0]]
            if fault is not None and self._on_conflict.writes(item.state):
                self.items[index] = self._impossible(item, fault, "the secrets together: ")
        self._together.clear()

    def _judge_rotations(self, source: Source) -> None:
        """Refuse the secrets of a source whose rotation is unfinished, and caution that other records stay there."""
        indices: dict[str, int] | None = None
        for path, error in source.rotated():
            if indices is None:
                indices = {item.source_path: at for at, item in enumerate(self.items) if item.source == source.name}
            index = indices.get(path)
            if error is not None:
                if self._selection.paths:
                    if isinstance(error, PermissionDeniedError):  # the record was not listed, and may not exist
                        continue
                    raise error
                if index is None:
                    index = len(self.items)
                    self.items.append(PlannedItem(source.name, path, "", PlannedState.IMPOSSIBLE))
                if isinstance(error, ConflictError):
                    self._refuse(index, f"{error.reason}. {error.hint}")
                else:
                    self._refuse(index, f"its rotation record cannot be read: {_reason(error)}")
            elif index is not None:
                item = self.items[index]
                self.items[index] = replace(item, cautions=(*item.cautions, RECORD_STAYS))

    def _paths_to_read(self, source: Source) -> Iterator[str]:
        """Yield the target paths to read. Secrets that need no comparison become items at once."""
        for found in source.items(self._selection):
            if isinstance(found, Failure):
                if self._selection.paths:
                    raise found.error
                state = PlannedState.UNMAPPED if found.unmapped else PlannedState.IMPOSSIBLE
                self.items.append(PlannedItem(source.name, found.name, "", state, _reason(found.error)))
                self._advance()
                continue
            path, index = self._selection.target_path(found.path), len(self.items)
            self.items.append(
                PlannedItem(source.name, found.path, path, PlannedState.CREATE, source_version=found.version)
            )
            try:
                check_path(path)
                if is_rotation_record(path):
                    raise UnsupportedOperationError(path, RESERVED)
            except StoreError as error:
                self.items[index] = self._impossible(self.items[index], error)
                self._advance()
                continue
            if fault := self._claim(path, index):
                self._refuse(index, fault)
                self._advance()
                continue
            if self._there is not None and path not in self._there:
                self.items[index] = self._compare(source, index, found, SecretNotFoundError(path))
                self._advance()
                continue
            self._waiting[path] = index, found
            yield path

    def _claim(self, path: str, index: int) -> str:
        """Return the fault if another item has the path already, and refuse that item too."""
        first = self._claims.setdefault(path, index)
        if first == index:
            return ""
        one, other = self.items[first], self.items[index]
        fault = f"two sources for one target: {_origin(one)} and {_origin(other)}"
        self._refuse(first, fault)
        return fault

    def _refuse(self, index: int, fault: str) -> None:
        self.items[index] = replace(self.items[index], state=PlannedState.IMPOSSIBLE, reason=fault)

    def _compare(self, source: Source, index: int, secret: Secret, outcome: Secret | StoreError) -> PlannedItem:
        item = self.items[index]
        if isinstance(outcome, Secret):
            there: Secret | None = outcome
        elif isinstance(outcome, SecretNotFoundError):
            there = None
        else:
            return self._impossible(item, outcome, "the target cannot be read: ")
        keys = planned_keys(secret, there)
        item = replace(
            item,
            state=state_of(secret, there),
            keys=self._keys.setdefault(keys, keys),
            target_version=None if there is None else there.version,
        )
        if self._digester is not None:
            data = None if there is None else there.data
            self._digests[index] = digest_record(self._digester, item, secret.data, data)
        reasons = ["the target has another value for a key of it"] if item.state is PlannedState.CONFLICT else []
        writes_data = item.state is not PlannedState.EQUAL
        if labels := carried(secret.metadata, formed="write_formed" in self._target.operations):
            item = self._with_labels(item, labels, there)
        try:
            if writes_data:
                data = {**({} if there is None else there.data), **secret.data}
                self._target.vet(item.path, data)
                if "vet_many" in self._target.operations and self._on_conflict.writes(item.state):
                    self._together[item.path] = index, data
            item = replace(item, cautions=(*source.cautions(item.source_path), *item.cautions))
            self._checks.observe(item)
        except OUTAGES as error:
            self._checks.observe(error)  # ends the plan after many in a row
            reasons.append(f"it could not be checked: {_reason(error)}")
        except StoreError as error:
            return self._impossible(item, error)
        if there is not None and writes_data and not self._backup and (fault := self._irreversible(item)):
            return replace(item, state=PlannedState.IMPOSSIBLE, reason=fault, labels=())
        return replace(item, reason="; ".join(reasons)) if reasons else item

    def _impossible(self, item: PlannedItem, error: StoreError, what: str = "") -> PlannedItem:
        """Return an item that cannot be migrated, or raise the error if the selection names each secret."""
        if self._selection.paths:
            raise error
        return replace(item, state=PlannedState.IMPOSSIBLE, reason=f"{what}{_reason(error)}", labels=())

    def _irreversible(self, item: PlannedItem) -> str:
        """Return why a write without a backup could not be undone, or an empty text if it could."""
        if not self._on_conflict.writes(item.state):
            return ""
        try:
            kept = self._target.kept_versions(item.path)
        except StoreError as error:
            self._checks.observe(error)
            return f"without a backup it could not be undone: the number of kept versions is unknown: {_reason(error)}"
        return "" if kept > 1 else "the target keeps too few versions to undo it without a backup"

    def _with_labels(self, item: PlannedItem, labels: dict[str, str], there: Secret | None) -> PlannedItem:
        """Return the item with the labels to write. An equal item becomes a change if it gets labels."""
        if item.state is PlannedState.CONFLICT and self._on_conflict is OnConflict.SKIP:
            return item
        if not self._has_labels:
            return _with_caution(item, "labels, which the target does not support", labels)
        held: dict[str, str] = {}
        if there is not None:
            try:
                held = labels_of(self._target, there)
            except StoreError as error:  # the write reads them again
                self._checks.observe(error)
        wanted = to_write(labels, held, self._on_conflict)
        if others := [name for name in lacking(labels, held, labels) if name not in wanted]:
            item = _with_caution(item, "labels, for which the target keeps its own text", others)
        names = self._accepted_labels(item.path, held, wanted)
        if refused := [name for name in wanted if name not in names]:
            item = _with_caution(item, "labels, which the target refuses", refused)
        if names and item.state is PlannedState.EQUAL:
            item = replace(item, state=PlannedState.CHANGE)
        return replace(item, labels=names)

    def _accepted_labels(self, path: str, held: Mapping[str, str], wanted: LabelChanges) -> tuple[str, ...]:
        """Return the names of the labels that the target accepts."""
        names: list[str] = []
        labels = dict(held)
        for name, written in wanted.items():
            beside = {**labels, name: written.after}
            try:
                self._target.vet_labels(path, beside)
            except InvalidDataError:
                continue
            names.append(name)
            labels = beside
        return tuple(names)


def _with_caution(item: PlannedItem, what: str, labels: Iterable[str]) -> PlannedItem:
    return replace(item, cautions=(*item.cautions, f"{what}: {', '.join(map(shown, labels))}"))


def _origin(item: PlannedItem) -> str:
    return f"{shown(item.source_path)} of {shown(item.source)}"


def _reason(error: StrongroomError) -> str:
    """Return the error in one line, without the path and the store, which the item has."""
    if not isinstance(error, StoreError):
        return str(error)
    return f"{error.summary[0].lower()}{error.summary[1:]}{f': {error.reason}' if error.reason else ''}"
