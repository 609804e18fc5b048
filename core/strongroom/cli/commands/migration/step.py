"""One step of a migration on the command line: shown while it runs, and reported when it is through."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from strongroom.cli.commands.migration import report_view
from strongroom.cli.exit_codes import ExitCode
from strongroom.cli.terminal import output, progress
from strongroom.cli.terminal.confirmation import ask
from strongroom.errors import MigrationError, SecretNotFoundError

if TYPE_CHECKING:
    from strongroom.migrate import ItemResult, OnProgress, Report, Run

_T = TypeVar("_T")


def rate_option(ctx: click.Context, parameter: click.Parameter, rate: float | None) -> float | None:
    """The callback of the option `--rate`.

    Raises:
        click.BadParameter: no run could be held to it.
    """
    del ctx, parameter
    if rate is None:
        return None
    from strongroom.migrate.execution.throttle import check_rate

    try:
        return check_rate(rate)
    except ValueError as error:
        fault = str(error)
    raise click.BadParameter(fault)


def step(run: Callable[[OnProgress | None], Report], *, color: bool, again: str = "") -> Report:
    """The report of a step, also of one that was not done whole. It is kept beside the run's journal.

    Args:
        run: does it, and tells of the progress.
        color: whether the bar has colours.
        again: the command that goes on after Ctrl-C; nothing where there is nothing to go on with.
    """

    def done() -> Report:
        with progress.bar(color=color) as tell:
            try:
                return run(tell)
            except MigrationError as error:
                found: Any = error.report
                if found is None:
                    raise
                report: Report = found
            return report

    try:
        report = attempt(done)
    except KeyboardInterrupt:
        if again:
            output.say(f"it broke off: `strongroom migrate {again}` goes on from there")
        raise
    _keep(report)
    return report


def attempt(operation: Callable[[], _T]) -> _T:
    """What it returns; where it could not even be begun, that is said, and is not "done in part"."""
    try:
        return operation()
    except MigrationError as error:
        failure = str(error)
    output.say(failure)
    raise click.exceptions.Exit(ExitCode.IMPOSSIBLE)


def finish(
    report: Report,
    *,
    color: bool,
    as_json: bool = False,
    page: Path | None = None,
    plan: Mapping[str, Any] | None = None,
    ended: ExitCode | None = None,
) -> NoReturn:
    """Says what became of each secret, and what can be done next, and ends with the exit code of it.

    Args:
        report: what was done.
        color: whether the terminal's table has colours.
        as_json: print a document, and no table.
        page: the file of the HTML page, if one is wanted.
        plan: the plan for the document, where it was made in the same go.
        ended: the exit code, where it is not the report's.
    """
    from strongroom.migrate import Action, ItemState

    if page is not None:
        report_view.write_page(page, report)
    if as_json:
        output.write_document({**({} if plan is None else {"plan": plan}), **document(report)})
    else:
        report_view.write(report, color=color)
    report_view.name_faults(report, listed=not as_json and output.is_terminal())
    output.say(f"migration {report.run}: {report.summary}")
    writes = report.action is Action.APPLY or plan is not None
    if writes and not report.ok:
        run = _run(report)
        if run is None or not run.finished:
            output.say(f"`strongroom migrate resume {report.run}` goes on with it, once the cause is mended")
        elif any(map(_is_unread, report.faults)):
            output.say(f"`strongroom migrate verify {report.run}` compares what was written, once the cause is mended")
        else:  # the rest is impossible, or was changed after it was written
            output.say("nothing is left to resume: plan again once the cause is mended")
    if writes and report.count(ItemState.DONE):
        output.say(f"`strongroom migrate undo {report.run}` gives the target back what it held before")
    raise click.exceptions.Exit(report_view.exit_code(report) if ended is None else ended)


def document(report: Report) -> dict[str, Any]:
    """The report for `--json`, whose document has a version of its own."""
    return {name: value for name, value in report.to_json().items() if name not in {"format", "version"}}


def verified(applied: Report, checked: Report) -> Report:
    """The report of both steps: what could not be written says so, and everything else what verifying found."""
    from strongroom.migrate import ItemState

    def both(written: ItemResult, found: ItemResult) -> ItemResult:
        if written.state in {ItemState.DONE, ItemState.SKIPPED}:
            return found._replace(version=written.version, reason=found.reason or written.reason)
        return written

    results = tuple(map(both, applied.results, checked.results))
    return replace(checked, started=applied.started, results=results, stopped=applied.stopped or checked.stopped)


def confirm(why: list[str], *, production: bool, yes: bool) -> None:
    """Asks, where there is a reason to.

    Raises:
        click.UsageError: there is nobody to ask.
        click.Abort: the answer is no.
    """
    ask([*(["this is production"] if production else []), *why], yes=yes)


def _keep(report: Report) -> None:
    from strongroom.migrate.reports.archive import keep_report

    if (run := _run(report)) is not None:
        keep_report(run, report)


def _is_unread(result: ItemResult) -> bool:
    """Whether the target did not say what it holds: what was written may well be there."""
    return result.error is not None and not isinstance(result.error, SecretNotFoundError)


def _run(report: Report) -> Run | None:
    """The run that the report is about, as it is now."""
    from strongroom.migrate import runs

    return next((run for run in runs() if run.name == report.run), None)
