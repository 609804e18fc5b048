"""A report on the terminal, in a pipe and as HTML, and its exit code."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from strongroom.cli.exit_codes import ExitCode, code_of_all
from strongroom.cli.terminal import output
from strongroom.errors import ConfigurationError, SecretNotFoundError, shown

if TYPE_CHECKING:
    from strongroom.migrate import Item, ItemResult, Report

_HTML = b"<!doctype html>"


def exit_code(report: Report) -> ExitCode:
    """Return DONE, PARTIAL if something was done, or the code of the first errors.

    A verification that found a difference is DIFFERENT: that is an answer, and not a failure.
    """
    from strongroom.migrate import Action, ItemState

    if report.ok:
        return ExitCode.DONE
    errors = [result.error for result in report.faults if result.error is not None]
    if report.action is Action.VERIFY and not report.stopped:
        errors = [error for error in errors if not isinstance(error, SecretNotFoundError)]
        if not errors:
            return ExitCode.DIFFERENT
    if report.count(ItemState.DONE) or report.stopped:
        return ExitCode.PARTIAL
    return code_of_all(errors) if errors else ExitCode.IMPOSSIBLE


_VERBS = {"apply": "Migrated", "verify": "Verified", "undo": "Restored", "delete-source": "Deleted at the source"}


def sentence(report: Report, *, migrated: bool = False) -> str:
    """Return a report in one line, such as `Migrated and verified 41 secrets, skipped 1`.

    Args:
        report: the report.
        migrated: True if the report merges apply and verify.
    """
    from strongroom.migrate import ItemState

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
    return f"{verb} {done:,} secret{'' if done == 1 else 's'}{rest}{stopped}"


def write(report: Report) -> None:
    """Print a table of the noteworthy results on a terminal, or one line for each secret in a pipe."""
    from strongroom.migrate import ItemState
    from strongroom.migrate.plans.comparison import HAS_ALL

    if not output.is_terminal():
        output.write_lines("\t".join(_fields(report, result)) for result in report.results)
        return
    told = [one for one in report.results if one.state is not ItemState.DONE or one.reason not in {"", HAS_ALL}]
    if told:
        columns = ("path", report.action.value, "why")
        rows = [(shown(one.path or one.source_path), output.state(one.state.value), reason(one)) for one in told]
        output.write_table(columns, rows)


def name_faults(report: Report, *, listed: bool) -> None:
    """Print a line on stderr for each secret that was not done, unless the table has listed them."""
    from strongroom.migrate import ItemState

    faults = report.faults
    if report.stopped:  # the summary has the reason, which is the same for all pending secrets
        faults = [result for result in faults if result.state is not ItemState.PENDING]
    for result in () if listed else faults:
        why = f": {reason(result)}" if result.reason else ""
        output.say(f"{report.action.value}: {shown(result.path or result.source_path)}: {result.state.value}{why}")


def reason(item: ItemResult | Item) -> str:
    """Return the reason of an item, without the path that is printed beside it."""
    return item.reason.removeprefix(f"{item.source_path}: ")


def html_option(context: click.Context, _: click.Parameter, file: Path | None) -> Path | None:
    """Check the option for an HTML report: an existing file must be HTML, and a new one must be creatable.

    Raises:
        click.BadParameter: the file is something else, or cannot be written.
    """
    if file is None or context.resilient_parsing:
        return file
    fault = ""
    try:
        with file.open("rb") as stream:
            if stream.read(len(_HTML)).lower() != _HTML:
                fault = "it exists and is not an HTML page, so it is not replaced"
    except FileNotFoundError:
        # Before anything is written: a report that cannot be saved must not fail a migration at its end.
        folder = file.absolute().parent
        if not folder.is_dir():
            fault = f"the folder {shown(str(folder))} does not exist"
        elif not os.access(folder, os.W_OK | os.X_OK):
            fault = f"the folder {shown(str(folder))} is not writable"
    except OSError as error:
        fault = error.strerror or type(error).__name__
    if fault:
        raise click.BadParameter(f"{shown(str(file))}: {fault}")
    return file


def write_html(file: Path, report: Report) -> None:
    """Write the report as an HTML page, replacing the file.

    Raises:
        ConfigurationError: it cannot be written.
    """
    from strongroom.files import private_file
    from strongroom.migrate import html_report

    with private_file.faults_as(ConfigurationError, f"{file}: the report cannot be written"):
        private_file.replace(file.absolute(), html_report(report).encode())


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
