"""Migrations as methods of one object that opens each store once."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Self

from strongroom._config import Config
from strongroom._redaction.digest import Digester
from strongroom.errors import (
    ConfigurationError,
    MigrationError,
    StrongroomError,
    shown,
)
from strongroom.migrate._execution.results import Results
from strongroom.migrate._execution.source_deletion import SourceDeletion, migrated_items
from strongroom.migrate._execution.transfer import PlanTransfer, check_rate, report_unwritten
from strongroom.migrate._execution.undo import Undo
from strongroom.migrate._execution.verify import TargetVerification
from strongroom.migrate._ledger.runs import OpenRun, Run, RunLedger, naming, runs
from strongroom.migrate._plans.mapping_file import planned_mapping
from strongroom.migrate._plans.plan import OnConflict, Plan, PlannedMapping, PlannedState
from strongroom.migrate._plans.planner import Planner
from strongroom.migrate.endpoints import Endpoint, Endpoints, Locations
from strongroom.migrate.report import ItemState, MigrationAction, OnProgress, Report, progress_counter
from strongroom.migrate.sources import Selection, Source, read_only

logger = logging.getLogger("strongroom.migrate")

_EVERYTHING = Selection()


class Migrator:
    """Plans, applies, verifies and undoes migrations. Each store is opened once, and closed at the end of the block.

    ::

        with Migrator() as migrator:
            plan = migrator.plan("dotenv:.env", "vault:secret/billing")
            run = migrator.apply(plan).run
            migrator.verify(run)

    A run is named by its `Report.run`; None is the last one that is unfinished or wrote something, and for `undo` the
    last one that wrote something. Methods that continue a run raise
    `MigrationError` if it does not exist, if another run writes to its target, or if a store has another location than
    when the run began. All methods raise `ConfigurationError`, `PluginError` or `StoreError` if a store cannot be
    opened; nothing is written then. If a step is not complete, it raises `MigrationError` with that `report`.

    Args:
        config: the configuration; None loads the default one.
        stores: opened stores, by the names that plans have for them. The caller closes them.
        state_folder: where migrations are recorded; by default the user's state folder.
    """

    def __init__(
        self,
        config: Config | None = None,
        *,
        stores: Mapping[str, Endpoint] | None = None,
        state_folder: Path | None = None,
    ) -> None:
        self._config = config
        self._stores = stores
        self._state_folder = state_folder
        self._opened: dict[tuple[PlannedMapping | None, tuple[str, ...]], Endpoints] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the stores that this object opened."""
        self._opened.clear()
        self._stack.close()

    def runs(self) -> list[Run]:
        """Return the migrations of this machine, oldest first."""
        return runs(self._state_folder)

    def has_prefix(self, source: str) -> bool:
        """Return True if the source takes only the secrets below a prefix, such as `vault:secret/billing`."""
        return self._endpoints(None, ()).has_prefix(source)

    def plan(
        self,
        sources: str | Sequence[str],
        target: str,
        *,
        selection: Selection = _EVERYTHING,
        on_conflict: OnConflict = OnConflict.FAIL,
        mapping_file: Path | None = None,
        backup: bool = True,
        encrypt_to: Sequence[str] = (),
        progress: OnProgress | None = None,
    ) -> Plan:
        """Return a plan: the step that a migration would take for each secret. No store is written.

        The plan holds names and sizes, never a value or a digest of one. Digests of the secrets stay on this machine,
        so that `apply` notices any later change. Without them, `apply` compares versions, names and sizes.

        Args:
            sources: the stores to read, each `NAME` or `PLUGIN:LOCATION`, in the order of the plan.
            target: the store to write.
            selection: which secrets are migrated, and to which paths.
            on_conflict: what to do if the target has another value.
            mapping_file: a file with the path and key of each variable, for sources of variables. It must not change
                until the plan is applied.
            backup: keep an encrypted copy of overwritten data on this machine. Without it a secret is impossible if
                the target keeps too few versions to undo the write.
            encrypt_to: age recipients of a target that is a file, in place of the configured ones.
            progress: is called with the progress.

        Raises:
            ConfigurationError: no source takes the mapping file, or the target cannot encrypt to recipients.
            UnsupportedOperationError: a source cannot be listed, or the target is read-only.
            StoreError: a source cannot be listed completely, or a store is down. A single secret that cannot be
                migrated is an item of the plan, unless the selection names it in `paths`.
        """
        names = (sources,) if isinstance(sources, str) else tuple(sources)
        if not names or len(set(names)) != len(names):
            raise ConfigurationError("A migration needs at least one source, and each source only once")
        mapping = None if mapping_file is None else planned_mapping(mapping_file)
        endpoints = self._endpoints(mapping, encrypt_to)
        store = endpoints.target(target)
        opened = [endpoints.source(name) for name in names]
        if mapping is not None and not endpoints.mapped:
            reason = "no source takes a mapping file. Sources of variables do"
            raise ConfigurationError(f"{shown(mapping.file)}: {reason}")
        digester: Digester | None = None
        with _noted_only():
            digester = RunLedger(self._state_folder).digester()
        advance = progress_counter("plan", None, progress)
        planner = Planner(store, selection, on_conflict, digester, advance, backup=backup)
        for source in opened:
            planner.add(source)
        items, digests = planner.result(names)
        plan = Plan(secrets.token_hex(8), names, target, on_conflict, items, mapping, backup, tuple(encrypt_to))
        if digester is not None:
            with _noted_only():
                RunLedger(self._state_folder).remember(plan, digests)
        return plan

    def apply(self, plan: Plan, *, rate: float | None = None, progress: OnProgress | None = None) -> Report:
        """Apply a plan, except to secrets that changed since.

        Each secret is read again at the source, and skipped if it differs from the plan. The write is a check-and-set
        if the target has that; otherwise the target is read just before, and a change by another writer in between
        would be lost. One failed secret does not stop the others. A store that is down ends the run, and `resume`
        continues it.

        Args:
            plan: the result of `plan` or `parse_plan`.
            rate: the most writes a second, at least one a day; None is unlimited.
            progress: is called with the progress.

        Raises:
            MigrationError: the plan has a conflict and its policy is to fail (nothing was written), the journal cannot
                be written (nothing more was written), or not everything was done.
            ValueError: the rate is invalid.
        """
        check_rate(rate)
        if plan.is_blocked:
            count = plan.count(PlannedState.CONFLICT)
            raise MigrationError(
                f"The plan has {count:,} secret{'s' if count > 1 else ''} in conflict, and nothing was written. "
                "Plan again with another policy for conflicts, or resolve them at the target"
            )
        endpoints, ledger = self._endpoints(plan.mapping, plan.encrypt_to), RunLedger(self._state_folder)
        with ledger.lock(endpoints.identity(plan.target), plan.target):
            # Open the stores before the run begins: if one cannot be opened, no run is left behind.
            endpoints.open(dict.fromkeys(item.source for item in plan.pending), plan.target)
            run = ledger.begin(plan, Locations.of(endpoints, plan))
            with ledger.open(run, plan) as opened:
                return self._transfer(opened, endpoints, rate, progress)

    def resume(
        self,
        run: str | None = None,
        *,
        rate: float | None = None,
        encrypt_to: Sequence[str] = (),
        progress: OnProgress | None = None,
    ) -> Report:
        """Continue an unfinished run: write the secrets that were interrupted, failed or were in conflict.

        Secrets that the journal has as done are not touched. A write without a recorded result is looked up at the
        target, and never sent twice. A run is finished if all that is left is impossible.

        Args:
            run: its name; None is the last run that is neither finished nor undone.
            rate: as for `apply`.
            encrypt_to: recipients in place of those of the plan, for this time.
            progress: is called with the progress.

        Raises:
            MigrationError, ValueError: see `apply`.
        """
        check_rate(rate)
        with self._continued(run, unfinished=True, encrypt_to=encrypt_to) as (opened, endpoints):
            return self._transfer(opened, endpoints, rate, progress)

    def verify(self, run: str | None = None, *, progress: OnProgress | None = None) -> Report:
        """Read back the secrets that a run wrote, past every cache, and compare them with the source as it is now.

        A secret is verified if the target has every key of the source with the same value, and the labels that were
        carried. If the source cannot be read any more, or if a conflict was merged, it is verified if the target still
        holds the written data, by the digests in the journal.
        """
        with self._continued(run, locked=False) as (opened, endpoints):
            plan = opened.plan
            checked = [index for index, item in enumerate(plan.items) if plan.covers(item)]
            endpoints.reopen_local(plan.target)
            target = endpoints.open(dict.fromkeys(plan.items[index].source for index in checked), plan.target)
            results = Results(MigrationAction.VERIFY, opened, len(checked), progress)
            for index, item in enumerate(plan.items):
                if item.state is PlannedState.IMPOSSIBLE:
                    results.settle(index, ItemState.FAILED, item.reason)
                elif not plan.covers(item):
                    results.settle(index, ItemState.SKIPPED, item.reason)
            verification = TargetVerification(opened, target, results)
            return results.report(_run_sources(endpoints, plan, checked, verification.run))

    def undo(self, run: str | None = None, *, progress: OnProgress | None = None) -> Report:
        """Restore the target to its state before a run, the last secret first.

        Only secrets that still are as the run wrote them are touched, by version if the target has versions, and by
        data. A secret that the run created is deleted. A changed one gets its old data from the target's old version
        or from the run's encrypted backup, after its labels are restored. A later change of data or of such a label is
        kept and reported, and so is a secret whose source was deleted since. Without check-and-set, and for labels and
        deletions, a change between reading and writing would be lost. An interrupted undo is continued by another.

        Raises:
            UnsupportedOperationError: the target is an exporter.
        """
        with self._continued(run, wrote=True, target_only=True) as (opened, endpoints):
            entries = opened.journal.entries
            results = Results(MigrationAction.UNDO, opened, len(entries), progress)
            for index in range(len(opened.plan.items)):
                if index not in entries:
                    results.settle(index, ItemState.SKIPPED, "it was not written, or is already undone")
            undo = Undo(opened, endpoints.restorable(opened.plan.target), results)
            stopped: StrongroomError | None = None
            try:
                undo.run()
            except StrongroomError as error:
                stopped = error
            return results.report(stopped)

    def check_undoable(self, run: str | None = None) -> None:
        """Raise an error if the target of a run cannot be restored, before anybody confirms it.

        Raises:
            UnsupportedOperationError: the target is an exporter.
        """
        with self._continued(run, wrote=True, target_only=True) as (opened, endpoints):
            endpoints.restorable(opened.plan.target)

    def delete_source(self, run: str | None = None, *, progress: OnProgress | None = None) -> Report:
        """Delete at the source each secret of a run that the target holds completely.

        Both stores are read just before. A secret is deleted if the target has every key of it with the same value,
        and the labels that were to be carried; all others stay and are reported. Nothing is deleted if source and
        target are configured as one place. As they can be one place all the same, one secret of each source is deleted
        first, and the target is read again. If it is gone there too, it is restored, and nothing more is deleted. Each
        deletion is in the journal before it is sent, and `undo` leaves that secret alone.

        Raises:
            MigrationError: source and target are one place.
            UnsupportedOperationError: every source is read-only.
        """
        with self._continued(run) as (opened, endpoints):
            plan, chosen = opened.plan, migrated_items(opened)
            sources = dict.fromkeys(plan.items[index].source for index in chosen)
            _deletable(endpoints, sources)
            target = endpoints.open(sources, plan.target)
            for name in sources:
                if endpoints.are_same(name, plan.target):
                    raise MigrationError(f"{shown(name)} and {shown(plan.target)} are one place: nothing was deleted")
            results = Results(MigrationAction.DELETE_SOURCE, opened, len(chosen), progress)
            for index in set(range(len(plan.items))) - set(chosen):
                results.settle(index, ItemState.SKIPPED, "it was not migrated")

            def delete(source: Source, indices: list[int]) -> None:
                SourceDeletion(opened, source, target, results).run(indices)

            try:
                stopped = _run_sources(endpoints, plan, chosen, delete)
            finally:
                with suppress(MigrationError):  # then the journal has more secrets as deleted than are
                    opened.journal.sync()
            return results.report(stopped)

    def deletable_sources(self, run: str | None = None) -> list[str]:
        """Return the sources of a run's migrated secrets that can delete them.

        Raises:
            UnsupportedOperationError: every source is read-only.
        """
        with self._continued(run) as (opened, endpoints):
            plan = opened.plan
            return _deletable(endpoints, dict.fromkeys(plan.items[index].source for index in migrated_items(opened)))

    def _endpoints(self, mapping: PlannedMapping | None, encrypt_to: Sequence[str]) -> Endpoints:
        key = mapping, tuple(encrypt_to)
        if key not in self._opened:
            endpoints = Endpoints(self._config, self._stores, mapping, tuple(encrypt_to))
            self._opened[key] = self._stack.enter_context(endpoints)
        return self._opened[key]

    @contextmanager
    def _continued(
        self,
        name: str | None,
        *,
        unfinished: bool = False,
        wrote: bool = False,
        encrypt_to: Sequence[str] = (),
        target_only: bool = False,
        locked: bool = True,
    ) -> Iterator[tuple[OpenRun, Endpoints]]:
        """Open a run for a later step, after a check of the locations of its stores."""
        ledger = RunLedger(self._state_folder)
        run = ledger.find(name, unfinished=unfinished, wrote=wrote)
        with naming(run):
            plan = run.plan()
        endpoints = self._endpoints(plan.mapping, encrypt_to or plan.encrypt_to)
        ledger.locations_of(run).check(endpoints, plan, target_only=target_only)
        lock = ledger.lock(endpoints.identity(plan.target), plan.target) if locked else nullcontext()
        with lock, ledger.open(run, plan) as opened:
            yield opened, endpoints

    @staticmethod
    def _transfer(run: OpenRun, endpoints: Endpoints, rate: float | None, progress: OnProgress | None) -> Report:
        plan, entries = run.plan, run.journal.entries
        done = {index for index, entry in entries.items() if entry.done}
        left = [index for index, item in enumerate(plan.items) if plan.writes(item) and index not in done]
        target = endpoints.open(dict.fromkeys(plan.items[index].source for index in left), plan.target)
        results = Results(MigrationAction.APPLY, run, len(left), progress)
        report_unwritten(run, results)
        try:
            stopped = _run_sources(endpoints, plan, left, PlanTransfer(run, target, results, rate).run)
        finally:
            with suppress(MigrationError):  # an interrupted run keeps its results; if it cannot, `resume` finds out
                run.journal.sync()
        if stopped is None and results.all_done(left):
            run.ledger.finish(run.run)
        return results.report(stopped)


def _run_sources(
    endpoints: Endpoints, plan: Plan, indices: Iterable[int], step: Callable[[Source, list[int]], None]
) -> StrongroomError | None:
    """Perform a step on these items, source by source, and return the error that ended it, or None."""
    by_source: dict[str, list[int]] = {}
    for index in indices:
        by_source.setdefault(plan.items[index].source, []).append(index)

    try:
        for name, items in by_source.items():
            step(endpoints.source(name), items)
    except StrongroomError as error:
        return error
    return None


def _deletable(endpoints: Endpoints, sources: Iterable[str]) -> list[str]:
    """Return the sources that can delete secrets.

    Raises:
        UnsupportedOperationError: none can.
    """
    names = list(sources)
    found = [name for name in names if endpoints.source(name).deletable]
    if names and not found:
        raise read_only(" and ".join(names))
    return found


@contextmanager
def _noted_only() -> Iterator[None]:
    """Log that the digests of a plan cannot be kept. The plan works without them."""
    try:
        yield
    except (OSError, MigrationError) as error:
        logger.warning("Digests of the planned secrets are not kept: %s", getattr(error, "strerror", error))
