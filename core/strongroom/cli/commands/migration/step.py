"""One step of a migration on the command line: its progress, its report and its exit code."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from strongroom.cli.commands.migration import report_view
from strongroom.cli.exit_codes import ExitCode
from strongroom.cli.terminal import output, progress
from strongroom.errors import MigrationError, SecretNotFoundError

if TYPE_CHECKING:
    from strongroom.migrate import ItemResult, OnProgress, Report, Run


def rate_option(_: click.Context, __: click.Parameter, rate: float | None) -> float | None:
    """Check the option `--rate`.

    Raises:
        click.BadParameter: the rate is unusable.
    """
    from strongroom.migrate.execution.transfer import check_rate

    try:
        return check_rate(rate)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def step(run: Callable[[OnProgress | None], Report], *, again: str = "") -> Report:
    """Run a step, and return its report, even if it is not complete.

    Args:
        run: runs the step, with a callback for the progress.
        again: the command that continues after Ctrl-C, or empty.
    """
    try:
        with attempt(), progress.bar() as tell:
            try:
                report = run(tell)
            except MigrationError as error:
                if error.report is None:
                    raise
                report = error.report
    except KeyboardInterrupt:
        if again:
            output.say(f"Interrupted. To continue: `strongroom migrate {again}`")
        raise
    return report


@contextmanager
def attempt() -> Iterator[None]:
    """Print why the operation in the block could not begin, if it could not, and exit with IMPOSSIBLE."""
    try:
        yield
    except MigrationError as error:
        output.say(str(error))
        raise click.exceptions.Exit(ExitCode.IMPOSSIBLE) from None


def finish(
    report: Report,
    *,
    as_json: bool = False,
    html: Path | None = None,
    plan: Mapping[str, Any] | None = None,
    ended: ExitCode | None = None,
) -> NoReturn:
    """Print the result of each secret, a summary and the next command, and exit.

    Args:
        report: the report.
        as_json: print a JSON document instead of the table.
        html: the file for an HTML report, or None.
        plan: the plan for the JSON document, if it was made by the same command.
        ended: the exit code, if it is not that of the report.
    """
    from strongroom.migrate import Action, ItemState

    if html is not None:
        report_view.write_html(html, report)
    if as_json:
        output.write_document({**({} if plan is None else {"plan": plan}), **document(report)})
    else:
        report_view.write(report)
    report_view.name_faults(report, listed=not as_json and output.is_terminal())
    writes = report.action is Action.APPLY or plan is not None
    name = f" (migration {report.run})"
    if writes and report.count(ItemState.DONE):
        name = f". To roll back: `strongroom migrate undo {report.run}`"
    output.say(f"{report_view.sentence(report, migrated=plan is not None)}{name}")
    if writes and not report.ok:
        run = _run(report)
        if run is None or not run.finished:
            output.say(f"Fix the cause, then continue: `strongroom migrate resume {report.run}`")
        elif any(map(_is_unread, report.faults)):
            output.say(f"Fix the cause, then compare again: `strongroom migrate verify {report.run}`")
        else:  # the rest is impossible, or was changed after it was written
            output.say("Nothing is left to resume. Fix the cause, then plan again")
    raise click.exceptions.Exit(report_view.exit_code(report) if ended is None else ended)


def document(report: Report) -> dict[str, Any]:
    """Return the report for `--json`, without its format fields: the document has its own version."""
    return {name: value for name, value in report.to_json().items() if name not in {"format", "version"}}


def verified(applied: Report, checked: Report) -> Report:
    """Merge two reports: unwritten secrets keep the result of apply, and all others have that of verify."""
    from strongroom.migrate import ItemState

    def both(written: ItemResult, found: ItemResult) -> ItemResult:
        if written.state in {ItemState.DONE, ItemState.SKIPPED}:
            return found._replace(version=written.version, reason=found.reason or written.reason)
        return written

    results = tuple(map(both, applied.results, checked.results))
    return replace(checked, started=applied.started, results=results, stopped=applied.stopped or checked.stopped)


def _is_unread(result: ItemResult) -> bool:
    """Return True if the target could not be read, so that the secret may have been written."""
    return result.error is not None and not isinstance(result.error, SecretNotFoundError)


def _run(report: Report) -> Run | None:
    """Return the current run of a report."""
    from strongroom.migrate import runs

    return next((run for run in runs() if run.name == report.run), None)
