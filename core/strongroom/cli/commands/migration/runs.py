"""`strongroom migrate resume`, `verify`, `undo`, `delete-source` and `report`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from strongroom.cli.commands.migration import options, report_view, step
from strongroom.cli.commands.migration.operator_token import with_operator_token, with_operator_tokens
from strongroom.cli.exit_codes import ExitCode
from strongroom.cli.options import Invocation, complete, current, json_option, yes_option
from strongroom.cli.terminal import output
from strongroom.cli.terminal.confirmation import confirm, describe_store, production_reasons
from strongroom.errors import shown

if TYPE_CHECKING:
    from strongroom.config import Config
    from strongroom.migrate import Plan, Run


_run = click.argument("run", required=False, shell_complete=complete("migrations"))


@click.command("resume")
@_run
@options.mapping_file
@options.encrypt_to
@options.rate
@yes_option()
@json_option()
@options.html
@current
def resume_command(
    invocation: Invocation,
    run: str | None,
    *,
    mapping_file: Path | None,
    encrypt_to: tuple[str, ...],
    rate: float | None,
    yes: bool,
    as_json: bool,
    html: Path | None,
) -> None:
    """Continue a migration that was interrupted or failed in part.

    The default is the last one that is neither finished nor undone. Secrets that are done are not touched, and none is
    written twice. Asks for confirmation in production.

    Example: strongroom migrate resume
    """
    from strongroom.migrate import Migrator

    found, plan = _found(run, unfinished=True)
    config = options.with_mapping(invocation.load(), plan.sources, mapping_file)
    _announce(config, f"resuming migration {found.name} from {output.joined(plan.sources)} to", plan)
    confirm(production_reasons(config), yes=yes)
    config = with_operator_token(config, plan.target, ask=not yes)
    with Migrator(config) as migrator:
        report = step.step(
            lambda tell: migrator.resume(found.name, rate=rate, encrypt_to=encrypt_to, progress=tell),
            again="resume",
        )
    step.finish(report, as_json=as_json, html=html)


@click.command("verify")
@_run
@options.mapping_file
@json_option()
@options.html
@current
def verify_command(
    invocation: Invocation, run: str | None, *, mapping_file: Path | None, as_json: bool, html: Path | None
) -> None:
    """Compare the target of a migration with its source.

    The default is the last migration. The target is read past every cache, and nothing is changed. A secret is verified
    if the target has every key of the source with the same value.

    Example: strongroom migrate verify
    """
    from strongroom.migrate import Migrator

    found, plan = _found(run)
    config = options.with_mapping(invocation.load(), plan.sources, mapping_file)
    _announce(config, f"verifying migration {found.name} at", plan)
    config = with_operator_token(config, plan.target, ask=True)
    with Migrator(config) as migrator:
        report = step.step(lambda tell: migrator.verify(found.name, progress=tell))
    step.finish(report, as_json=as_json, html=html)


@click.command("undo")
@_run
@yes_option()
@json_option()
@options.html
@current
def undo_command(invocation: Invocation, run: str | None, *, yes: bool, as_json: bool, html: Path | None) -> None:
    """Restore the target to its state before a migration.

    The default is the last migration. Secrets that it created are deleted, and changed ones get their old data. Later
    changes are kept and reported. Asks for confirmation; without a terminal it needs RUN and --yes.

    Example: strongroom migrate undo
    """
    from strongroom.migrate import Migrator

    found, plan = _found(run)
    _require_name(run, "undo")
    config = invocation.load()
    _announce(config, f"undoing migration {found.name} at", plan)
    why = f"this restores the target to its state before migration {found.name}"
    confirm([*production_reasons(config), why], yes=yes)
    config = with_operator_token(config, plan.target, ask=not yes)
    with Migrator(config) as migrator:
        report = step.step(lambda tell: migrator.undo(found.name, progress=tell), again="undo")
    step.finish(report, as_json=as_json, html=html)


@click.command("delete-source")
@_run
@options.mapping_file
@yes_option()
@json_option()
@options.html
@current
def delete_source_command(
    invocation: Invocation, run: str | None, *, mapping_file: Path | None, yes: bool, as_json: bool, html: Path | None
) -> None:
    """Delete the migrated secrets at the source.

    The default is the last migration. Both stores are read just before: a secret is deleted if the target has all of
    it, and all others stay. Asks for confirmation; without a terminal it needs RUN and --yes.

    Example: strongroom migrate delete-source
    """
    from strongroom.migrate import Migrator

    found, plan = _found(run)
    _require_name(run, "delete-source")
    config = options.with_mapping(invocation.load(), plan.sources, mapping_file)
    sources = " and ".join(describe_store(config, source) for source in plan.sources)
    output.say(f"deleting the secrets of migration {found.name} to {shown(plan.target)} from {sources}")
    why = f"this deletes the secrets of migration {found.name} at the source, possibly for good"
    confirm([*production_reasons(config), why], yes=yes)
    config = with_operator_tokens(config, plan.sources, ask=not yes)
    with Migrator(config) as migrator:
        report = step.step(lambda tell: migrator.delete_source(found.name, progress=tell), again="delete-source")
    step.finish(report, as_json=as_json, html=html)


@click.command("report")
@_run
@click.option("--list", "listing", is_flag=True, help="List the migrations of this machine, oldest first.")
@json_option()
@click.option(
    "--html",
    "html",
    metavar="FILE",
    type=options.FILE,
    callback=report_view.html_option,
    help="Also write it as an HTML page.",
)
def report_command(run: str | None, *, listing: bool, as_json: bool, html: Path | None) -> None:
    """Print the last report of a migration again.

    The default is the last migration. No store is read. The exit code is 0 if there is a report, even one of failures.

    Example: strongroom migrate report --html report.html
    """
    if listing:
        _list(as_json=as_json)
        return
    found, _ = _found(run)
    with step.attempt():
        reports = found.reports()
    if not reports:
        words = f"Migration {found.name} has no report yet. To continue it: `strongroom migrate resume`"
        raise click.ClickException(words)
    step.finish(reports[-1], as_json=as_json, html=html, ended=ExitCode.DONE)


RUN_COMMANDS = (resume_command, verify_command, undo_command, delete_source_command, report_command)
"""The commands of `strongroom migrate` for a migration that has begun."""


def _require_name(run: str | None, command: str) -> None:
    """Refuse a destructive step that names no migration and that nobody can confirm: the last one may be another.

    Raises:
        click.UsageError: stdin is not a terminal, and the name is missing.
    """
    if run is None and not (sys.stdin.isatty() and sys.stderr.isatty()):
        hint = "`strongroom migrate report --list` lists them"
        raise click.UsageError(f"Without a terminal, `strongroom migrate {command}` needs the name RUN: {hint}")


def _announce(config: Config, what: str, plan: Plan) -> None:
    output.say(f"{what} {describe_store(config, plan.target)}")


def _found(name: str | None, *, unfinished: bool = False) -> tuple[Run, Plan]:
    """Return the migration of that name, or the last one, with its plan."""
    from strongroom.migrate.ledger.runs import RunLedger

    with step.attempt():
        run = RunLedger(None).find(name, unfinished=unfinished)
        return run, run.plan()


def _list(*, as_json: bool) -> None:
    from strongroom.migrate.ledger.runs import RunLedger, runs

    found = [(run, run.plan()) for run in runs(RunLedger(None).folder)]
    if as_json:
        output.write_document(
            {
                "migrations": [
                    {
                        "run": run.name,
                        "started": run.started,
                        "finished": run.finished,
                        "undone": run.undone,
                        "sources": list(plan.sources),
                        "target": plan.target,
                    }
                    for run, plan in found
                ]
            }
        )
        return
    rows = [
        (
            run.name,
            output.second(run.started),
            "undone" if run.undone else "finished" if run.finished else "not finished",
            output.joined(plan.sources),
            shown(plan.target),
        )
        for run, plan in found
    ]
    output.write_listing(("migration", "begun", "status", "from", "to"), rows)
