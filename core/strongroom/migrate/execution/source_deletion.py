"""Deleting at the source what a migration has brought to the target: what is verified, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path

from strongroom.config import Config
from strongroom.errors import (
    MigrationError,
    PermissionDeniedError,
    SecretNotFoundError,
    StoreError,
    StrongroomError,
    UnsupportedOperationError,
    shown,
)
from strongroom.migrate.endpoints.opening import Endpoint, Endpoints
from strongroom.migrate.endpoints.places import check_places
from strongroom.migrate.endpoints.sources import Source, labels_of
from strongroom.migrate.execution.parallel import OutageWatch, Write, in_threads, read_each, write_one
from strongroom.migrate.ledger.journal import Journal
from strongroom.migrate.ledger.runs import Home
from strongroom.migrate.plans.comparison import covers
from strongroom.migrate.plans.labels import form_of, lacking
from strongroom.migrate.plans.plan import Plan, State
from strongroom.migrate.reports.outcomes import Results
from strongroom.migrate.reports.report import Action, ItemState, OnProgress, Report
from strongroom.secret import Secret
from strongroom.store.guard import GuardedStore

_GROUP = 128
_REFUSALS = (PermissionDeniedError, UnsupportedOperationError)
"""After these the source surely has what it had."""


def delete_source(
    run: str | None = None,
    *,
    config: Config | None = None,
    stores: Mapping[str, Endpoint] | None = None,
    home: Path | None = None,
    progress: OnProgress | None = None,
) -> Report:
    """Deletes at the source each secret of a run that the target has, whole, at this moment.

    Both ends are read just before. A secret is deleted when the target has every key of it with the same value, and the
    labels that were to be carried; every other one stays, and is reported. Nothing is deleted where source and target
    are configured as one place. They may be one all the same: so of each source one secret is deleted alone, and the
    target read again. Where it is gone there too, it is given back, and nothing more is deleted. Each deletion is in
    the journal before it is sent: `undo` leaves that secret alone.

    Args:
        run: its name; None is the last one that had something to write.
        config: as `apply` has it.
        stores: as `apply` has it.
        home: as `apply` has it.
        progress: as `apply` has it.

    Raises:
        MigrationError: there is no such run, another one writes to its target, a store is not where it was when the run
            was begun, or source and target are one place; or not everything was deleted: `report` says what was.
        UnsupportedOperationError: a source cannot be written.
        ConfigurationError, PluginError, StoreError: a store cannot be opened.
    """
    opened = Home(home)
    found = opened.find(run)
    plan = opened.plan_of(found)
    with (
        Endpoints(config, stores, plan.mapping) as ends,
        opened.lock(ends.identity(plan.target), plan.target),
        closing(opened.journal_of(found)) as journal,
    ):
        check_places(opened.places_of(found), ends, plan)
        chosen = [
            index
            for index, item in enumerate(plan.items)
            if item.state is State.EQUAL or (index in journal.entries and journal.entries[index].done)
        ]
        sources = dict.fromkeys(plan.items[index].source for index in chosen)
        target = ends.open(sources, plan.target)
        for name in sources:
            if ends.are_one(name, plan.target):
                raise MigrationError(f"{shown(name)} and {shown(plan.target)} are one place: nothing was deleted")
        results = Results(Action.DELETE_SOURCE, found.name, plan, len(chosen), progress)
        for index in set(range(len(plan.items))) - set(chosen):
            results.settle(index, ItemState.SKIPPED, "it was not migrated")
        stopped: StrongroomError | None = None
        try:
            for name in sources:
                indices = [index for index in chosen if plan.items[index].source == name]
                deleter = _Deleter(plan, ends.source(name), target, journal, results)
                for start in range(0, len(indices), _GROUP):
                    deleter.run(indices[start : start + _GROUP])
        except StrongroomError as error:
            stopped = error
        finally:
            with suppress(MigrationError):  # then more counts as deleted than is
                journal.sync()
        return results.report(stopped)


class _Deleter:
    """Deletes at one source."""

    def __init__(self, plan: Plan, source: Source, target: GuardedStore, journal: Journal, results: Results) -> None:
        self._plan = plan
        self._source = source
        self._target = target
        self._journal = journal
        self._results = results
        self._apart = False
        self._watch = OutageWatch()

    def run(self, indices: list[int]) -> None:
        """Deletes what the target has of these: one by one until one has shown that the target does not lose it too.

        Raises:
            StoreUnavailableError: a store is out as a whole.
            MigrationError: source and target are one place, or the journal cannot be written.
        """
        safe = self._safe(indices)
        while safe and not self._apart:
            index = next(iter(safe))
            before = safe.pop(index)
            if self._delete([index]):
                self._check_apart(index, before)
                self._apart = True
        self._delete(list(safe))

    def _safe(self, indices: list[int]) -> dict[int, Secret]:
        """Those that the target has whole, as it has them; the result of every other one is known."""
        items = self._plan.items
        there = dict(read_each(self._target, [items[index].path for index in indices], self._watch))
        here = dict(self._source.read_again([items[index].source_path for index in indices]))
        safe: dict[int, Secret] = {}
        for index in indices:
            mine, its = here[items[index].source_path], there[items[index].path]
            if isinstance(mine, SecretNotFoundError):
                self._results.put(index, ItemState.SKIPPED, "the source has none any more")
            elif isinstance(mine, StrongroomError):
                self._results.fail(index, mine)
            elif isinstance(its, StrongroomError):
                self._results.fail(index, its)
            elif not covers(its.data, mine.data):
                self._results.put(index, ItemState.CONFLICT, "the target does not hold what the source holds now")
            elif self._has_labels(index, mine, its):
                safe[index] = its
        return safe

    def _delete(self, indices: list[int]) -> list[int]:
        """Deletes these, each of which is in the journal before; those that are deleted."""
        deleted: list[int] = []
        noted = [index for index in indices if index in self._journal.entries]  # the others were there: nothing to undo
        for index in noted:
            self._journal.source_deleted(index)
        self._journal.sync()
        paths = [(index, self._plan.items[index].source_path) for index in indices]
        for index, failure in in_threads(lambda each: (each[0], _delete(self._source, each[1])), paths):
            if isinstance(failure, _REFUSALS) and index in noted:
                self._journal.source_kept(index)
            self._watch.saw(failure)
            if failure is not None:
                self._results.fail(index, failure)
            else:
                self._results.put(index, ItemState.DONE)
                deleted.append(index)
        return deleted

    def _has_labels(self, index: int, mine: Secret, its: Secret) -> bool:
        """Whether the target has what was to be carried of the labels; its result is known where it has not."""
        names = self._plan.items[index].labels
        try:
            missing = lacking(self._source.labels(mine), labels_of(self._target, its), names) if names else []
        except StoreError as error:
            self._results.fail(index, error)
            return False
        if missing:
            reason = f"the target does not have the source's labels: {', '.join(map(shown, missing))}"
            self._results.put(index, ItemState.CONFLICT, reason)
        return not missing

    def _check_apart(self, index: int, before: Secret) -> None:
        """Whether the target still has what has just been deleted at the source; else it is given back."""
        self._results.settle(index, ItemState.FAILED, "it was deleted, and the target could not be read after that")
        try:
            self._target.read(before.path)
        except SecretNotFoundError:
            pass
        else:
            self._results.settle(index, ItemState.DONE)
            return
        one_place = "source and target are one place"
        self._results.settle(index, ItemState.FAILED, f"{one_place}: it was deleted, and is not given back")
        _give_back(self._target, before)
        if index in self._journal.entries:
            self._journal.source_kept(index)
        self._results.settle(index, ItemState.FAILED, f"{one_place}: it was given back")
        raise MigrationError(
            f"Source and target are one place: {shown(before.path)} was given back, nothing is deleted"
        )


def _give_back(target: GuardedStore, secret: Secret) -> None:
    """Gives the target what was deleted there: that version, where the target still has it, else the same data."""
    if "versioned" in target.capabilities and secret.version is not None:
        with suppress(StoreError):  # destroyed, gone with the secret, or denied: it is written
            target.undelete(secret.path, secret.version)
            return
    write_one(target, Write(secret.path, secret.data, None, form_of(secret.metadata)))


def _delete(source: Source, path: str) -> StoreError | None:
    try:
        source.delete(path)
    except SecretNotFoundError:
        pass  # that is what was wanted
    except StoreError as error:
        return error
    return None
