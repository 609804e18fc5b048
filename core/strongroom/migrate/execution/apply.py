"""Applying a plan, and going on with a run that broke off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from functools import cache
from pathlib import Path

from strongroom.config import Config
from strongroom.errors import MigrationError, StrongroomError
from strongroom.migrate.endpoints.opening import Endpoint, Endpoints
from strongroom.migrate.endpoints.places import check_places, places_of
from strongroom.migrate.execution.throttle import Rate
from strongroom.migrate.execution.transfer import Memory, Transfer
from strongroom.migrate.ledger.backup import Backup
from strongroom.migrate.ledger.runs import Home, Run
from strongroom.migrate.plans.comparison import HAS_ALL
from strongroom.migrate.plans.plan import Item, Plan, State
from strongroom.migrate.reports.outcomes import Results
from strongroom.migrate.reports.report import Action, ItemState, OnProgress, Report


def apply(
    plan: Plan,
    *,
    rate: float | None = None,
    config: Config | None = None,
    stores: Mapping[str, Endpoint] | None = None,
    home: Path | None = None,
    progress: OnProgress | None = None,
) -> Report:
    """Writes what a plan says, and nothing that was changed since.

    Each secret is read again at the source, and is left alone where it is not what the plan was made of. It is written
    under check-and-set where the target has it; else the target is read just before, which leaves a moment in which
    another writer's change would be lost. One that cannot be written ends nothing: the others follow. A store that is
    out as a whole ends the run, and `resume` goes on with it.

    Args:
        plan: what `plan` or `parse_plan` returned.
        rate: the most writes a second, at least one a day; None is as many as the target takes.
        config: the configuration; None loads it as `SecretsManager` does.
        stores: stores that are open already, by the names that the plan has for them.
        home: where migrations are remembered; by default the user's state folder.
        progress: is told how far it is.

    Returns:
        What became of each item; its `run` is the name for `verify` and `undo`.

    Raises:
        MigrationError: the plan has a conflict that is to fail, another run writes to the target, or the journal cannot
            be written: then nothing was written, or no more. Else not everything was done; `report` says what was.
        ConfigurationError, PluginError, StoreError: a store cannot be opened. Nothing was written.
        ValueError: the rate is none.
    """
    pace = Rate(rate)
    if plan.is_blocked:
        count = plan.count(State.CONFLICT)
        raise MigrationError(
            f"The plan has {count:,} secret{'s' if count > 1 else ''} in conflict, and nothing was written. "
            "Plan again with another policy for conflicts, or resolve them at the target"
        )
    with Endpoints(config, stores, plan.mapping, plan.encrypt_to) as ends:
        opened = Home(home)
        with opened.lock(ends.identity(plan.target), plan.target):
            # Before the run is begun: what cannot be opened leaves none behind.
            ends.open(dict.fromkeys(item.source for item in plan.pending), plan.target)
            return _carry_out(opened, opened.begin(plan, places_of(ends, plan)), plan, ends, pace, progress)


def resume(
    run: str | None = None,
    *,
    rate: float | None = None,
    encrypt_to: Sequence[str] = (),
    config: Config | None = None,
    stores: Mapping[str, Endpoint] | None = None,
    home: Path | None = None,
    progress: OnProgress | None = None,
) -> Report:
    """Goes on with a run that is not finished: with what broke off, and with what failed or was in conflict.

    A run whose plan has only what is impossible left is finished: nothing of that is ever written by it.

    What the journal says is done is not touched. A write of which nobody saw the end is looked for at the target: where
    it is, it counts, and it is never written twice.

    Args:
        run: its name; None is the last one that is not finished, and was not undone.
        rate: as `apply` has it.
        encrypt_to: recipients in place of those of the plan, for this time.
        config: as `apply` has it.
        stores: as `apply` has it.
        home: as `apply` has it.
        progress: as `apply` has it.

    Raises:
        MigrationError: there is no such run, or a store is not where it was when it was begun; and as `apply` does.
        ConfigurationError, PluginError, StoreError, ValueError: as `apply` does.
    """
    pace = Rate(rate)
    opened = Home(home)
    found = opened.find(run, unfinished=True)
    plan = opened.plan_of(found)
    with Endpoints(config, stores, plan.mapping, encrypt_to or plan.encrypt_to) as ends:
        check_places(opened.places_of(found), ends, plan)
        with opened.lock(ends.identity(plan.target), plan.target):
            return _carry_out(opened, found, plan, ends, pace, progress)


def _carry_out(  # noqa: PLR0917  # what apply and resume have in common
    home: Home, run: Run, plan: Plan, ends: Endpoints, pace: Rate, progress: OnProgress | None
) -> Report:
    with ExitStack() as stack:
        journal = stack.enter_context(closing(home.journal_of(run)))
        backup = stack.enter_context(closing(Backup(run.folder, run.name)))
        remembered = home.remembered(plan.id, new=False)
        if remembered is not None:
            stack.enter_context(closing(remembered))
        entries = journal.entries
        by_source: dict[str, list[int]] = {}
        for index, item in enumerate(plan.items):
            if plan.writes(item) and not (index in entries and entries[index].done):
                by_source.setdefault(item.source, []).append(index)
        target = ends.open(by_source, plan.target)
        results = Results(Action.APPLY, run.name, plan, sum(map(len, by_source.values())), progress)
        for index, item in enumerate(plan.items):
            if not plan.writes(item):
                results.settle(index, *_known(item))
            elif index in entries and entries[index].done:
                results.settle(index, ItemState.DONE, version=entries[index].version)
        memory = Memory(journal, backup, home.digester(), remembered, cache(lambda: home.undone_of(plan.id)))
        stopped: StrongroomError | None = None
        try:
            transfer = Transfer(plan, ends.source, target, memory, results, pace)
            for name, indices in by_source.items():
                transfer.run(name, indices)
        except StrongroomError as error:
            stopped = error
        finally:
            _keep(memory)
        if stopped is None and results.is_through(index for indices in by_source.values() for index in indices):
            home.finish(run)
        return results.report(stopped)


def _keep(memory: Memory) -> None:
    """What was done goes to disk also where the run breaks off; where it cannot, `resume` finds it out."""
    with suppress(MigrationError):
        memory.journal.sync()


def _known(item: Item) -> tuple[ItemState, str]:
    """What becomes of an item that no run writes."""
    if item.state is State.EQUAL:
        return ItemState.SKIPPED, HAS_ALL
    if item.state is State.IMPOSSIBLE:
        return ItemState.FAILED, item.reason
    return ItemState.SKIPPED, item.reason
