"""Verifying a migration: the target is read back and compared with the source, or with what was written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

from strongroom.config import Config
from strongroom.errors import PermissionDeniedError, SecretNotFoundError, StoreError, StrongroomError, shown
from strongroom.migrate.endpoints.opening import Endpoint, Endpoints
from strongroom.migrate.endpoints.places import check_places
from strongroom.migrate.endpoints.sources import Source, labels_of
from strongroom.migrate.execution.parallel import OutageWatch, read_each
from strongroom.migrate.ledger.digests import Digester
from strongroom.migrate.ledger.journal import Entry
from strongroom.migrate.ledger.runs import Home
from strongroom.migrate.plans.comparison import HAS_ALL, covers, differing
from strongroom.migrate.plans.labels import lacking
from strongroom.migrate.plans.plan import Item, OnConflict, Plan, State
from strongroom.migrate.reports.outcomes import Results
from strongroom.migrate.reports.report import Action, ItemState, OnProgress, Report
from strongroom.secret import Secret
from strongroom.store.guard import GuardedStore


def verify(
    run: str | None = None,
    *,
    config: Config | None = None,
    stores: Mapping[str, Endpoint] | None = None,
    home: Path | None = None,
    progress: OnProgress | None = None,
) -> Report:
    """Reads what a run wrote back from the target, and compares it with the source as it is now.

    The stores themselves are asked, past every cache. A secret is verified when the target has every key that the
    source has, with the same value, and the labels that were carried. Where the source cannot be read any more, and
    where a conflict was merged, it is verified when the target holds what was written, by the digests in the journal.

    Args:
        run: its name; None is the last one that had something to write.
        config: as `apply` has it.
        stores: as `apply` has it.
        home: as `apply` has it.
        progress: as `apply` has it.

    Raises:
        MigrationError: there is no such run, or a store is not where it was when it was begun; or something is not
            verified: `report` says what, and why.
        ConfigurationError, PluginError, StoreError: a store cannot be opened.
    """
    opened = Home(home)
    found = opened.find(run)
    plan = opened.plan_of(found)
    with Endpoints(config, stores, plan.mapping) as ends, closing(opened.journal_of(found)) as journal:
        check_places(opened.places_of(found), ends, plan)
        checked = [index for index, item in enumerate(plan.items) if plan.writes(item) or item.state is State.EQUAL]
        target = ends.open(dict.fromkeys(plan.items[index].source for index in checked), plan.target)
        results = Results(Action.VERIFY, found.name, plan, len(checked), progress)
        for index, item in enumerate(plan.items):
            if item.state is State.IMPOSSIBLE:
                results.settle(index, ItemState.FAILED, item.reason)
            elif not (plan.writes(item) or item.state is State.EQUAL):
                results.settle(index, ItemState.SKIPPED, item.reason)
        verifier = Verifier(plan, target, opened.digester(), journal.entries, results)
        stopped: StrongroomError | None = None
        try:
            for name in plan.sources:
                indices = [index for index in checked if plan.items[index].source == name]
                if indices:
                    verifier.run(ends.source(name), indices)
        except StrongroomError as error:
            stopped = error
        return results.report(stopped)


class Verifier:
    """Compares what is at the target.

    Args:
        plan: the plan.
        target: the store that was written.
        digester: makes the digests in the journal.
        entries: what the journal says.
        results: are told of each item.
    """

    def __init__(
        self, plan: Plan, target: GuardedStore, digester: Digester, entries: Mapping[int, Entry], results: Results
    ) -> None:
        self._plan = plan
        self._target = target
        self._digester = digester
        self._entries = entries
        self._results = results
        self._waiting: dict[str, tuple[int, Secret | StrongroomError]] = {}

    def run(self, source: Source, indices: list[int]) -> None:
        """Verifies the items of one source. Both ends are read as they answer.

        Raises:
            StoreUnavailableError: a store is out as a whole.
            StrongroomError: the source as a whole cannot be read.
        """
        for path, outcome in read_each(self._target, self._asked(source, indices), OutageWatch()):
            if (found := self._waiting.pop(path, None)) is not None:
                index, secret = found
                state, reason = self._verdict(index, secret, outcome)
                if state is ItemState.DONE and isinstance(secret, Secret) and isinstance(outcome, Secret):
                    state, reason = self._with_labels(source, index, secret, outcome, reason)
                self._results.put(index, state, reason, error=_error(outcome))

    def _asked(self, source: Source, indices: list[int]) -> Iterator[str]:
        at = {self._plan.items[index].source_path: index for index in indices}
        for source_path, outcome in source.read_again(list(at)):
            index = at[source_path]
            path = self._plan.items[index].path
            self._waiting[path] = index, outcome
            yield path

    def _verdict(  # noqa: PLR0911  # one for each thing that can be said
        self, index: int, source: Secret | StrongroomError, target: Secret | StrongroomError
    ) -> tuple[ItemState, str]:
        item, entry = self._plan.items[index], self._entries.get(index)
        if isinstance(target, SecretNotFoundError):
            return ItemState.FAILED, f"the target has none: {target.reason}" if entry else "it was not written"
        if isinstance(target, StrongroomError):
            return ItemState.FAILED, str(target)
        if isinstance(source, StrongroomError):
            if self._is_as_written(entry, target):
                return ItemState.DONE, "the source cannot be read any more; the target holds what was written"
            return ItemState.FAILED, f"the source cannot be read: {source}"
        if covers(target.data, source.data):
            return ItemState.DONE, "" if entry else HAS_ALL
        if self._kept_on_purpose(item) and not set(source.data) - set(target.data):
            return ItemState.DONE, "it was merged: the target keeps its own values"
        keys = ", ".join(differing(target.data, source.data))
        written = self._is_as_written(entry, target)
        since = "the source was changed since" if written else "the target is not what the source is"
        return ItemState.FAILED, f"{since}: {keys}"

    def _with_labels(self, source: Source, index: int, mine: Secret, its: Secret, reason: str) -> tuple[ItemState, str]:
        """The verdict on a secret whose data are right. Denied labels fail nothing, as when they are carried."""
        item, entry = self._plan.items[index], self._entries.get(index)
        if not item.labels:
            return ItemState.DONE, reason
        denied = "its labels were not carried" if entry and entry.done and entry.labels is None else ""
        try:
            missing = lacking(source.labels(mine), labels_of(self._target, its), item.labels)
        except PermissionDeniedError as error:
            return ItemState.DONE, denied or f"its labels are not known: {error}"
        except StoreError as error:
            return ItemState.FAILED, f"its labels cannot be read: {error}"
        if not missing or denied:
            return ItemState.DONE, denied if missing else reason
        return ItemState.FAILED, f"the target does not have the source's labels: {', '.join(map(shown, missing))}"

    def _is_as_written(self, entry: Entry | None, target: Secret) -> bool:
        return entry is not None and self._digester.digest(target.data) == entry.digest

    def _kept_on_purpose(self, item: Item) -> bool:
        return item.state is State.CONFLICT and self._plan.on_conflict is OnConflict.MERGE


def _error(outcome: Secret | StrongroomError) -> StrongroomError | None:
    return outcome if isinstance(outcome, StrongroomError) else None
