"""How the report of a migration looks, and the exit code that it comes to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from strongroom.cli.exit_codes import ExitCode, code_of_all
from strongroom.cli.terminal import output
from strongroom.errors import ConfigurationError, SecretNotFoundError, shown

if TYPE_CHECKING:
    from strongroom.migrate import Item, ItemResult, Report

_PAGE = b"<!doctype html>"


def exit_code(report: Report) -> ExitCode:
    """DONE where everything is; PARTIAL where something was done; else that of what was in the way.

    What was verified and is not the same is DIFFERENT, however much else is: that is the answer, and no failure.
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


def write(report: Report, *, color: bool) -> None:
    """What became of each secret, on stdout: on a terminal of those that are to be known, else a line for each."""
    from strongroom.migrate import ItemState
    from strongroom.migrate.plans.comparison import HAS_ALL

    if not output.is_terminal():
        output.write_lines("\t".join(_fields(report, result)) for result in report.results)
        return
    told = [one for one in report.results if one.state is not ItemState.DONE or one.reason not in {"", HAS_ALL}]
    if told:
        columns = ("path", report.action.value, "why")
        output.write_table(columns, (_row(result) for result in told), color=color)


def name_faults(report: Report, *, listed: bool) -> None:
    """A line on stderr for each secret that was not done, where no table on the terminal has listed them."""
    for result in () if listed else report.faults:
        why = f": {reason(result)}" if result.reason else ""
        output.say(f"{report.action.value}: {shown(result.path or result.source_path)}: {result.state.value}{why}")


def reason(item: ItemResult | Item) -> str:
    """Why an item is as it is, without the name that stands beside it."""
    return item.reason.removeprefix(f"{item.source_path}: ")


def page_option(context: click.Context, _: click.Parameter, file: Path | None) -> Path | None:
    """The file of a page, as an option gives it: what is there is replaced when it is a page, and no file of secrets.

    Raises:
        click.BadParameter: it is something else, or cannot be read.
    """
    if file is None or context.resilient_parsing:
        return file
    fault = ""
    try:
        with file.open("rb") as stream:
            if stream.read(len(_PAGE)).lower() != _PAGE:
                fault = "it is there already, and is no HTML page: it is not replaced"
    except FileNotFoundError:
        return file
    except OSError as error:
        fault = error.strerror or type(error).__name__
    if fault:
        raise click.BadParameter(f"{shown(str(file))}: {fault}")
    return file


def write_page(file: Path, report: Report) -> None:
    """The report as an HTML page, which replaces the file.

    Raises:
        ConfigurationError: it cannot be written.
    """
    from strongroom.files import private_file
    from strongroom.migrate import html_report

    fault = ""
    try:
        private_file.replace(file.absolute(), html_report(report).encode())
    except OSError as error:
        fault = error.strerror or type(error).__name__
    if fault:
        raise ConfigurationError(f"{file}: the report cannot be written: {fault}")


def _row(result: ItemResult) -> tuple[str | output.Cell, ...]:
    return shown(result.path or result.source_path), output.state(result.state.value), reason(result)


def _fields(report: Report, result: ItemResult) -> tuple[str, ...]:
    """One line: action, state, path at the target, source, path there, version and reason."""
    return (
        report.action.value,
        result.state.value,
        shown(result.path) if result.path else "",
        shown(result.source),
        shown(result.source_path),
        "" if result.version is None else str(result.version),
        " ".join(reason(result).split()),
    )
