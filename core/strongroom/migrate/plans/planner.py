"""Planning a migration: what is to become of each secret, found by reading both ends. Nothing is written."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from strongroom.config import Config
from strongroom.errors import (
    ConfigurationError,
    InvalidDataError,
    MigrationError,
    SecretNotFoundError,
    StoreError,
    StrongroomError,
    shown,
)
from strongroom.migrate.endpoints.opening import Endpoint, Endpoints
from strongroom.migrate.endpoints.selection import Selection
from strongroom.migrate.endpoints.sources import Source, labels_of
from strongroom.migrate.execution.parallel import OUTAGES, OutageWatch, read_each
from strongroom.migrate.execution.throttle import Pace
from strongroom.migrate.ledger.digests import Digester, Remembered
from strongroom.migrate.ledger.runs import Home
from strongroom.migrate.plans.comparison import planned_keys, state_of
from strongroom.migrate.plans.labels import Record, carried, lacking, to_write
from strongroom.migrate.plans.mapping import planned_mapping
from strongroom.migrate.plans.plan import Item, OnConflict, Plan, PlannedKey, State
from strongroom.migrate.reports.report import OnProgress
from strongroom.migrate.spi import Failure
from strongroom.paths import check_path
from strongroom.secret import Secret
from strongroom.store.guard import GuardedStore

logger = logging.getLogger("strongroom.migrate")

_EVERYTHING = Selection()

_MOST_LISTED = 20_000


def plan(
    sources: str | Sequence[str],
    target: str,
    *,
    selection: Selection = _EVERYTHING,
    on_conflict: OnConflict = OnConflict.FAIL,
    mapping_file: Path | None = None,
    backup: bool = True,
    encrypt_to: Sequence[str] = (),
    config: Config | None = None,
    stores: Mapping[str, Endpoint] | None = None,
    home: Path | None = None,
    progress: OnProgress | None = None,
) -> Plan:
    """What a migration would do with each secret. It writes to no store.

    The plan holds names and sizes, never a value or a digest of one. What the secrets were is remembered on this
    machine, as digests under a key of its own, so that `apply` notices any change since; where that cannot be kept,
    versions, names and sizes are what it goes by.

    Args:
        sources: the stores to read, each `NAME` or `PLUGIN:LOCATION`, in the order of the plan.
        target: the store to write.
        selection: which secrets are taken, and where each belongs.
        on_conflict: what becomes of a secret for which the target has another value.
        mapping_file: says where each variable goes, to the sources that are variables. The plan names it, and it is to
            stay as it is until the plan is carried out.
        backup: `apply` keeps what it overwrites, encrypted, on its machine. Without it a secret is impossible where the
            target keeps too few versions to undo what would be overwritten.
        encrypt_to: the age recipients to whom the target is encrypted, which is a file. The plan names them, so that no
            step writes in plain; none leaves it as it is configured.
        config: the configuration; None loads it as `SecretsManager` does.
        stores: stores that are open already, by the names that `sources` and `target` have for them.
        home: where migrations are remembered; by default the user's state folder.
        progress: is told how far it is.

    Raises:
        ConfigurationError, PluginError: a store is not configured, or wrongly so; no source takes the mapping file; or
            the target takes no recipients.
        UnsupportedOperationError: a source cannot be listed, or the target cannot be written.
        StoreError: a source cannot be listed to its end, or a store as a whole gives no answer. A single secret that
            cannot be read is an item of the plan.
    """
    names = (sources,) if isinstance(sources, str) else tuple(sources)
    if not names or len(set(names)) != len(names):
        raise ConfigurationError("A migration has at least one source, and each once")
    identifier = secrets.token_hex(8)
    mapping = None if mapping_file is None else planned_mapping(mapping_file)
    with Endpoints(config, stores, mapping, encrypt_to) as ends, ExitStack() as stack:
        front = ends.target(target)
        opened = [ends.source(name) for name in names]
        if mapping is not None and not ends.mapped:
            raise ConfigurationError(f"{shown(mapping.file)}: none of the sources takes a mapping, as variables do")
        memory = _memory(home, identifier)
        if memory is not None:
            stack.callback(memory.kept.close)
        pace = Pace("plan", None, progress)
        planner = _Planner(front, selection, on_conflict, memory, pace, backup=backup)
        planner.expect(_listed(front, selection))
        for source in opened:
            planner.add(source)
        items = planner.finished(names)
    return Plan(identifier, names, target, on_conflict, items, mapping, backup, tuple(encrypt_to))


def _listed(target: GuardedStore, selection: Selection) -> frozenset[str] | None:
    """What the target has, where one listing tells it: most secrets of a first migration are not there yet.

    A store lists all that it has, or raises: what exists and may not be read is on the list. Only with check-and-set,
    where the write itself refuses what came since. None where it cannot be listed, or has more than are worth holding.
    """
    if target.local or not (target.checked and target.listable):
        return None
    prefix = "" if selection.rename else selection.to_prefix
    try:
        found = list(islice(target.walk(prefix), _MOST_LISTED + 1))
    except StoreError:
        return None
    return frozenset(found) if len(found) <= _MOST_LISTED else None


class _Memory(NamedTuple):
    digester: Digester
    kept: Remembered


def _memory(home: Path | None, identifier: str) -> _Memory | None:
    """Where the digests of a plan are kept, if they can be: a plan is made where nothing can be written, too."""
    try:
        opened = Home(home)
        kept = opened.remembered(identifier, new=True)
        if kept is not None:
            return _Memory(opened.digester(), kept)
    except MigrationError as error:
        logger.warning("What the secrets are now is not remembered: %s", error)
    return None


class _Planner:
    """Makes the items, source by source.

    Args:
        target: the store that would be written.
        selection: where each secret belongs.
        on_conflict: what becomes of those in conflict.
        memory: keeps the digests.
        pace: is told of each secret.
        backup: a run would keep what it overwrites.
    """

    def __init__(
        self,
        target: GuardedStore,
        selection: Selection,
        on_conflict: OnConflict,
        memory: _Memory | None,
        pace: Pace,
        *,
        backup: bool,
    ) -> None:
        self.items: list[Item] = []
        self._target = target
        self._has_labels = "versioned" in target.capabilities
        self._selection = selection
        self._on_conflict = on_conflict
        self._memory = memory
        self._pace = pace
        self._backup = backup
        self._claims: dict[str, int] = {}
        self._waiting: dict[str, tuple[int, Secret]] = {}
        self._there: frozenset[str] | None = None
        self._checks = OutageWatch()
        self._keys: dict[tuple[PlannedKey, ...], tuple[PlannedKey, ...]] = {}

    def expect(self, there: frozenset[str] | None) -> None:
        """Takes every path that is not among these for absent at the target, without a read; None knows nothing."""
        self._there = there

    def add(self, source: Source) -> None:
        """Adds the items of one source. Both ends are read as they answer, so that few secrets are held at a time."""
        for path, outcome in read_each(self._target, self._asked(source), OutageWatch()):
            if (found := self._waiting.pop(path, None)) is None:
                continue
            index, secret = found
            if self.items[index].state is not State.IMPOSSIBLE:
                self.items[index] = self._compared(source, index, secret, outcome)
            self._pace.step()

    def finished(self, sources: Sequence[str]) -> tuple[Item, ...]:
        """The items, in the order of the sources and of their paths, whatever the order in which stores answered."""
        rank = {name: number for number, name in enumerate(sources)}
        items = self.items
        order = sorted(range(len(items)), key=lambda index: (rank[items[index].source], items[index].source_path))
        if self._memory is not None:
            try:
                self._memory.kept.reorder(order)
            except OSError as error:
                logger.warning("What the secrets are now is not remembered: %s", error.strerror)
        return tuple(items[index] for index in order)

    def _asked(self, source: Source) -> Iterator[str]:
        """The paths at the target of what the source has; what cannot be compared becomes an item at once."""
        for found in source.items(self._selection):
            if isinstance(found, Failure):
                state = State.UNMAPPED if found.unmapped else State.IMPOSSIBLE
                self.items.append(Item(source.name, found.name, "", state, _words(found.error)))
                self._pace.step()
                continue
            path, index = self._selection.target_path(found.path), len(self.items)
            self.items.append(Item(source.name, found.path, path, State.CREATE, source_version=found.version))
            if (fault := _fault(path)) or (fault := self._claimed(path, index)):
                self._refuse(index, fault)
                self._pace.step()
                continue
            if self._there is not None and path not in self._there:
                self.items[index] = self._compared(source, index, found, SecretNotFoundError(path))
                self._pace.step()
                continue
            self._waiting[path] = index, found
            yield path

    def _claimed(self, path: str, index: int) -> str:
        """Why the path cannot be this item's: another one has it, which then cannot have it either."""
        first = self._claims.setdefault(path, index)
        if first == index:
            return ""
        one, other = self.items[first], self.items[index]
        fault = f"two sources for one target: {_called(one)} and {_called(other)}"
        self._refuse(first, fault)
        return fault

    def _refuse(self, index: int, fault: str) -> None:
        self.items[index] = replace(self.items[index], state=State.IMPOSSIBLE, reason=fault)

    def _compared(self, source: Source, index: int, secret: Secret, outcome: Secret | StoreError) -> Item:
        item = self.items[index]
        if isinstance(outcome, Secret):
            there: Secret | None = outcome
        elif isinstance(outcome, SecretNotFoundError):
            there = None
        else:
            return replace(item, state=State.IMPOSSIBLE, reason=f"the target cannot be read: {_words(outcome)}")
        keys = planned_keys(secret, there)
        item = replace(
            item,
            state=state_of(secret, there),
            keys=self._keys.setdefault(keys, keys),
            target_version=None if there is None else there.version,
        )
        if self._memory is not None:
            digest, name = self._memory.digester.digest, self._memory.digester.name(item.source, item.source_path)
            try:
                self._memory.kept.put(index, name, digest(secret.data), None if there is None else digest(there.data))
            except OSError as error:
                logger.warning("What the secrets are now is not remembered: %s", error.strerror)
                self._memory = None
        reasons = ["the target has another value for a key of it"] if item.state is State.CONFLICT else []
        writes_data = item.state is not State.EQUAL
        if labels := carried(secret.metadata, formed=self._target.formed):
            item = self._labelled(item, labels, there)
        try:
            if writes_data:
                self._target.vet(item.path, {**({} if there is None else there.data), **secret.data})
            item = replace(item, cautions=(*source.cautions(item.source_path), *item.cautions))
            self._checks.saw(item)
        except OUTAGES as error:
            self._checks.saw(error)  # which ends the plan where it is one of many in a row
            reasons.append(f"it could not be checked: {_words(error)}")
        except StoreError as error:
            return replace(item, state=State.IMPOSSIBLE, reason=_words(error), labels=())
        if there is not None and writes_data and not self._backup and (fault := self._irrevocable(item)):
            return replace(item, state=State.IMPOSSIBLE, reason=fault, labels=())
        return replace(item, reason="; ".join(reasons))

    def _irrevocable(self, item: Item) -> str:
        """Why nothing would be left of what the target holds, once the item is written; empty where that is sure."""
        if not self._on_conflict.writes(item.state):
            return ""
        try:
            kept = self._target.kept_versions(item.path)
        except StoreError as error:
            self._checks.saw(error)
            return f"without a backup it could not be undone: how many versions are kept is unknown: {_words(error)}"
        return "" if kept > 1 else "too few versions kept to undo it, and there is to be no backup"

    def _labelled(self, item: Item, labels: dict[str, str], there: Secret | None) -> Item:
        """The item with the labels that it is to get: where its data are all there, it is changed by them alone."""
        if item.state is State.CONFLICT and self._on_conflict is OnConflict.SKIP:
            return item
        if not self._has_labels:
            return _cautioned(item, "labels, of which the target has none", labels)
        held: dict[str, str] = {}
        if there is not None:
            try:
                held = labels_of(self._target, there)
            except StoreError as error:  # whoever writes them asks again
                self._checks.saw(error)
        wanted = to_write(labels, held, self._on_conflict)
        if others := [name for name in lacking(labels, held, labels) if name not in wanted]:
            item = _cautioned(item, "labels, of which the target's own stay", others)
        names = self._taken(item.path, held, wanted)
        if refused := [name for name in wanted if name not in names]:
            item = _cautioned(item, "labels, which the target does not take", refused)
        if names and item.state is State.EQUAL:
            item = replace(item, state=State.CHANGE)
        return replace(item, labels=names)

    def _taken(self, path: str, held: Mapping[str, str], wanted: Record) -> tuple[str, ...]:
        """The names of the labels that the target would take beside those that it has."""
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


def _cautioned(item: Item, what: str, labels: Iterable[str]) -> Item:
    return replace(item, cautions=(*item.cautions, f"{what}: {', '.join(map(shown, labels))}"))


def _fault(path: str) -> str:
    try:
        check_path(path)
    except StoreError as error:
        return _words(error)
    return ""


def _called(item: Item) -> str:
    return f"{shown(item.source_path)} of {shown(item.source)}"


def _words(error: StrongroomError) -> str:
    """The error in one line, without the path and the store, which the item names."""
    if not isinstance(error, StoreError):
        return str(error)
    return f"{error.summary[0].lower()}{error.summary[1:]}{f': {error.reason}' if error.reason else ''}"
