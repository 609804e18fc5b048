"""The progress of a step, its report on the terminal, in a pipe and as a document, and `strongroom migrate report`."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from strongroom._cli.exit_codes import ExitCode, code_of_all
from strongroom._cli.options import complete, json_option
from strongroom._cli.terminal import output
from strongroom.errors import ConfigurationError, MigrationError, SecretNotFoundError, shown
from strongroom.migrate._plans.comparison import HAS_ALL
from strongroom.migrate.report import ItemResult, ItemState, MigrationAction, Report

if TYPE_CHECKING:
    from strongroom._cli.terminal.output import Cell
    from strongroom.migrate import OnProgress, Plan, PlannedItem, Run
    from strongroom.migrate import Progress as ProgressEvent

FILE = click.Path(path_type=Path)
"""The type of an option that names a file."""

run_argument = click.argument("run", required=False, shell_complete=complete("migrations"))

_Item = TypeVar("_Item", "ItemResult", "PlannedItem")
PLAN_DOCUMENT = 2
"""Version of the `--json` documents that hold a plan. In version 1 the words for the keys of a plan changed."""

_LISTED = 3
"""How many secrets of one cause are named."""

_VERBS = {"apply": "Migrated", "verify": "Verified", "undo": "Restored", "delete-source": "Deleted at the source"}


@click.command("report")
@run_argument
@click.option(
    "--list",
    "listing",
    is_flag=True,
    help="List the migrations of this machine and how many secrets each wrote, oldest first.",
)
@json_option()
def report_command(run: str | None, *, listing: bool, as_json: bool) -> None:
    """Print the last report of a migration again.

    The default is the last migration. No store is read. The exit code is 0 if there is a report, even one of failures.
    With --list, it is 8 if a migration cannot be read, such as one of a newer release.

    Example: strongroom migrate report --json
    """
    if listing:
        _list(as_json=as_json)
        return
    from strongroom.migrate._ledger.runs import RunLedger

    with attempt():
        found = RunLedger(None).find(run)
        reports = found.reports()
    if not reports:
        words = f"Migration {found.name} has no report yet. To continue it: `strongroom migrate resume`"
        raise click.ClickException(words)
    finish(reports[-1], as_json=as_json, ended=ExitCode.DONE)


def found_run(name: str | None, *, unfinished: bool = False, wrote: bool = False) -> tuple[Run, Plan]:
    """Return the migration of that name, or the last one, with its plan."""
    from strongroom.migrate._ledger.runs import RunLedger, naming

    with attempt():
        run = RunLedger(None).find(name, unfinished=unfinished, wrote=wrote)
        with naming(run):
            return run, run.plan()


def _list(*, as_json: bool) -> None:
    from strongroom.migrate._ledger.runs import RunLedger, runs

    found = [_listed(run) for run in runs(RunLedger(None).folder)]
    if as_json:
        output.write_document({"migrations": [entry for entry, _ in found]})
    else:
        rows = [_cells(entry, row) for entry, row in found]
        output.write_listing(("migration", "begun", "status", "wrote"), rows, [row for _, row in found])
    unreadable = [entry for entry, _ in found if entry["unreadable"]]
    if output.is_terminal() and not as_json:
        for entry in unreadable:
            output.say(f"Migration {entry['run']} cannot be read: {entry['unreadable']}")
    if unreadable:
        raise click.exceptions.Exit(ExitCode.PARTIAL)


def _listed(run: Run) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return a migration for JSON, and its row. One that cannot be read has the reason, and hides no other."""
    progress, header = run.progress(), None
    fault = progress.fault or None
    try:
        header = run.header()
    except (MigrationError, ConfigurationError) as error:
        fault = str(error)
    entry = {
        "run": run.name,
        "started": run.started,
        "finished": run.finished,
        "undone": progress.undone,
        "wrote": progress.wrote,
        "sources": [] if header is None else list(header.sources),
        "target": None if header is None else header.target,
        "unreadable": fault,
    }
    status = "undone" if progress.undone else "finished" if run.finished else "not finished"
    return entry, (
        run.name,
        output.second(run.started),
        f"unreadable: {fault}" if fault else status,
        "?" if progress.wrote is None else str(progress.wrote),
        "" if header is None else output.joined(header.sources),
        "" if header is None else shown(header.target),
    )


def _cells(entry: Mapping[str, Any], row: tuple[str, ...]) -> tuple[Cell | str, ...]:
    """Return the row of a table from that of a pipe, which has too many columns for a terminal."""
    name, begun, status, wrote, sources, target = row
    status = "unreadable" if entry["unreadable"] else status
    stores = f"\n{sources} → {target}" if target else ""
    return f"{name}{stores}", begun, output.state(status), wrote


@contextmanager
def attempt() -> Iterator[None]:
    """Print why the operation in the block could not begin, if it could not, and exit with IMPOSSIBLE."""
    try:
        yield
    except MigrationError as error:
        output.say(str(error))
        raise click.exceptions.Exit(ExitCode.IMPOSSIBLE) from None


# --- the end of a step ------------------------------------------------------------------------------------------------


def finish(
    report: Report,
    *,
    as_json: bool = False,
    plan: Mapping[str, Any] | None = None,
    ended: ExitCode | None = None,
) -> NoReturn:
    """Print the result of each secret, a summary and the next command, and exit.

    Args:
        report: the report.
        as_json: print a JSON document instead of the table.
        plan: the plan for the JSON document, if it was made by the same command.
        ended: the exit code, if it is not that of the report.
    """
    if as_json:
        if plan is None:
            output.write_document(document(report))
        else:
            output.write_document({"plan": plan, **document(report)}, version=PLAN_DOCUMENT)
    else:
        write(report)
    name_faults(report, listed=not as_json and output.is_terminal())
    writes = report.action is MigrationAction.APPLY or plan is not None
    name = f" (migration {report.run})"
    if writes and report.count(ItemState.DONE):
        name = f". To roll back: `strongroom migrate undo {report.run}`"
    output.say(f"{sentence(report, migrated=plan is not None)}{name}")
    if writes and not report.ok:
        run = run_of(report)
        if run is None or not run.finished:
            output.say(f"Fix the cause, then continue: `strongroom migrate resume {report.run}`")
        elif any(map(_is_unread, report.faults)):
            output.say(f"Fix the cause, then compare again: `strongroom migrate verify {report.run}`")
        else:  # the rest is impossible, or was changed after it was written
            output.say("Nothing is left to resume. Fix the cause, then plan again")
    raise click.exceptions.Exit(exit_code(report) if ended is None else ended)


def document(report: Report) -> dict[str, Any]:
    """Return the report for `--json`, without its format fields: the document has its own version."""
    return {name: value for name, value in report.to_json().items() if name not in {"format", "version"}}


def verified(applied: Report, checked: Report) -> Report:
    """Merge two reports: unwritten secrets keep the result of apply, and all others have that of verify."""

    def both(written: ItemResult, found: ItemResult) -> ItemResult:
        if written.state in {ItemState.DONE, ItemState.SKIPPED}:
            return found._replace(version=written.version, reason=found.reason or written.reason)
        return written

    results = tuple(map(both, applied.results, checked.results))
    return replace(checked, started=applied.started, results=results, stopped=applied.stopped or checked.stopped)


def exit_code(report: Report) -> ExitCode:
    """Return DONE, PARTIAL if something was done, or the code of the first errors.

    A verification that found a difference is DIFFERENT: that is an answer, and not a failure.
    """
    if report.ok:
        return ExitCode.DONE
    errors = [result.error for result in report.faults if result.error is not None]
    if report.action is MigrationAction.VERIFY and not report.stopped:
        errors = [error for error in errors if not isinstance(error, SecretNotFoundError)]
        if not errors:
            return ExitCode.DIFFERENT
    if report.count(ItemState.DONE) or report.stopped:
        return ExitCode.PARTIAL
    return code_of_all(errors) if errors else ExitCode.IMPOSSIBLE


def sentence(report: Report, *, migrated: bool = False) -> str:
    """Return a report in one line, such as `Migrated and verified 41 secrets, skipped 1` or `Nothing was restored`.

    Args:
        report: the report.
        migrated: True if the report merges apply and verify.
    """
    done = report.count(ItemState.DONE)
    verb = "Migrated and verified" if migrated and not report.stopped else _VERBS[report.action.value]
    others = {
        "skipped": report.count(ItemState.SKIPPED),
        "in conflict": report.count(ItemState.CONFLICT),
        "failed": report.count(ItemState.FAILED),
        "not processed": report.count(ItemState.PENDING),
    }
    rest = "".join(f", {words} {count:,}" for words, count in others.items() if count)
    stopped = f". Stopped early: {report.stopped}" if report.stopped else ""
    result = f"{verb} {done:,} secret{'' if done == 1 else 's'}" if done else f"Nothing was {verb.lower()}"
    return f"{result}{rest}{stopped}"


def write(report: Report) -> None:
    """Print a table of the noteworthy results on a terminal, or one line for each secret in a pipe."""
    if not output.is_terminal():
        output.write_lines("\t".join(_fields(report, result)) for result in report.results)
        return
    told = [one for one in report.results if one.state is not ItemState.DONE or one.reason not in {"", HAS_ALL}]
    if told:
        columns = ("path", report.action.value, "why")
        rows = [(paths, output.state(one.state.value), why) for paths, one, why in by_cause(told)]
        output.write_table(columns, rows)


def name_faults(report: Report, *, listed: bool) -> None:
    """Print a line on stderr for each cause for which secrets were not done, unless the table has listed them."""
    faults = report.faults
    if report.stopped:  # the summary has the reason, which is the same for all pending secrets
        faults = [result for result in faults if result.state is not ItemState.PENDING]
    for paths, result, why in by_cause(() if listed else faults):
        output.say(f"{report.action.value}: {paths}: {result.state.value}{f': {why}' if why else ''}")


def by_cause(items: Iterable[_Item]) -> Iterator[tuple[str, _Item, str]]:
    """Yield the paths, the first item and the reason of the items that differ in nothing but their paths."""
    groups: dict[tuple[str, str, str], list[_Item]] = {}
    for item in items:
        path = re.escape(shown(item.path or item.source_path))
        cause = re.sub(rf"(: |/){path}(?![\w/-])", r"\1PATH", reason(item))
        groups.setdefault((item.source, item.state.value, cause), []).append(item)
    for (_, _, cause), group in groups.items():
        yield listed_paths(group), group[0], cause if len(group) > 1 else reason(group[0])


def listed_paths(items: Sequence[ItemResult | PlannedItem]) -> str:
    """Return the first paths of these items, and the number of the others."""
    more = f" and {len(items) - _LISTED:,} more" if len(items) > _LISTED else ""
    return f"{', '.join(shown(item.path or item.source_path) for item in items[:_LISTED])}{more}"


def reason(item: ItemResult | PlannedItem) -> str:
    """Return the reason of an item, without the path that is printed beside it."""
    return item.reason.removeprefix(f"{item.source_path}: ")


def _fields(report: Report, result: ItemResult) -> tuple[str, ...]:
    """Return the fields of a line: action, state, target path, source, source path, version and reason."""
    return (
        report.action.value,
        result.state.value,
        shown(result.path) if result.path else "",
        shown(result.source),
        shown(result.source_path),
        "" if result.version is None else str(result.version),
        " ".join(reason(result).split()),
    )


def _is_unread(result: ItemResult) -> bool:
    """Return True if the target could not be read, so that the secret may have been written."""
    return result.error is not None and not isinstance(result.error, SecretNotFoundError)


def run_of(report: Report) -> Run | None:
    """Return the current run of a report."""
    from strongroom.migrate import runs

    return next((run for run in runs() if run.name == report.run), None)


# --- progress ---------------------------------------------------------------------------------------------------------

_LABELS = {
    "plan": "reading",
    "apply": "writing",
    "verify": "verifying",
    "undo": "undoing",
    "delete-source": "deleting",
}


@contextmanager
def progress_bar() -> Iterator[OnProgress | None]:
    """Show a progress bar on stderr while the block runs, and remove it at the end.

    Yields:
        The progress callback, or None if stderr is not a terminal.
    """
    if not sys.stderr.isatty():
        yield None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[left]}"))
    display = Progress(*columns, console=output.terminal_console(stderr=True), transient=True)
    task = display.add_task("", total=None, left="")

    def update(progress: ProgressEvent) -> None:
        description = _LABELS.get(progress.action, progress.action)
        display.update(
            task, description=description, completed=progress.done, total=progress.total, left=time_left(progress)
        )
        display.start()  # on the first event, so that a short command shows no bar

    try:
        yield update
    finally:
        display.stop()


def time_left(progress: ProgressEvent) -> str:
    """Return the remaining time in words, or an empty string if it is unknown."""
    if progress.seconds_left is None:
        return ""
    seconds = round(progress.seconds_left)
    minutes, hours = seconds // 60, seconds // 3600
    if hours:
        return f"{hours} h {minutes % 60} min left"
    return f"{minutes} min {seconds % 60} s left" if minutes else f"{seconds} s left"
