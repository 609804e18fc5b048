"""`strongroom migrate apply`, `resume`, `verify`, `undo` and `delete-source`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from strongroom._cli.migrate import plan as plans
from strongroom._cli.migrate import report as reports
from strongroom._cli.options import Invocation, combined, current, json_option, yes_option
from strongroom._cli.process.signals import Terminated, termination_raised
from strongroom._cli.terminal import output
from strongroom._cli.terminal.confirmation import confirm, describe_store, production_reasons
from strongroom.errors import ConfigurationError, MigrationError, shown
from strongroom.files import private

if TYPE_CHECKING:
    from strongroom._config import Config
    from strongroom.migrate import OnProgress, Plan, Report


def rate_option(_: click.Context, __: click.Parameter, rate: float | None) -> float | None:
    """Check the option `--rate`.

    Raises:
        click.BadParameter: the rate is unusable.
    """
    from strongroom.migrate._execution.transfer import check_rate

    try:
        return check_rate(rate)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


rate = click.option(
    "--rate",
    metavar="N",
    type=click.FloatRange(min=0, min_open=True),
    callback=rate_option,
    help="Write at most N secrets a second.",
)


_writing_options = combined(plans.mapping_file, plans.encrypt_to, rate, yes_option(), json_option())


@click.command("apply")
@click.argument("file", type=reports.FILE)
@_writing_options
@current
def apply_command(
    invocation: Invocation,
    file: Path,
    *,
    mapping_file: Path | None,
    encrypt_to: tuple[str, ...],
    rate: float | None,
    yes: bool,
    as_json: bool,
) -> None:
    """Apply the plan in FILE.

    Each secret is read again. One that was changed since the plan is a conflict and left alone; the others are written.
    Asks for confirmation in production, and if the plan was edited or made on another machine. A journal records every
    write, so that `resume` can continue an interrupted run and `undo` can restore the target. Nothing is written if the
    plan has a conflict and its policy is to fail.

    Example: strongroom migrate apply plan.json --rate 50
    """
    from strongroom.migrate import Migrator, parse_plan

    with private.faults_as(ConfigurationError, f"The plan {shown(str(file))}"):
        made = parse_plan(plans.read_plan(file), shown(str(file)))
    doubts = plans.doubts(made)
    if encrypt_to:  # the run stores it with its plan
        made = replace(made, encrypt_to=encrypt_to)
    config = plans.with_mapping(invocation.load_to_write(), made.sources, mapping_file)
    output.say(f"migrating from {output.joined(made.sources)} to {describe_store(config, made.target)}")
    if made.is_blocked or not made.pending:  # a run that writes nothing would hide the one before it from `undo`
        plans.show(made, as_json=as_json)
        raise click.exceptions.Exit(plans.exit_code(made))
    confirm([*production_reasons(config), *doubts], yes=yes)
    config = plans.with_operator_token(config, made.target, ask=not yes)
    with Migrator(config) as migrator:
        report = step(lambda tell: migrator.apply(made, rate=rate, progress=tell), again="resume")
    reports.finish(report, as_json=as_json)


@click.command("resume")
@reports.run_argument
@_writing_options
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
) -> None:
    """Continue a migration that was interrupted or failed in part.

    The default is the last one that is neither finished nor undone. Secrets that are done are not touched, and none is
    written twice. Asks for confirmation in production.

    Example: strongroom migrate resume
    """
    from strongroom.migrate import Migrator

    found, plan = reports.found_run(run, unfinished=True)
    config = plans.with_mapping(invocation.load_to_write(), plan.sources, mapping_file)
    _announce(config, f"resuming migration {found.name} from {output.joined(plan.sources)} to", plan)
    confirm(production_reasons(config), yes=yes)
    config = plans.with_operator_token(config, plan.target, ask=not yes)
    with Migrator(config) as migrator:
        report = step(
            lambda tell: migrator.resume(found.name, rate=rate, encrypt_to=encrypt_to, progress=tell), again="resume"
        )
    reports.finish(report, as_json=as_json)


@click.command("verify")
@reports.run_argument
@plans.mapping_file
@json_option()
@current
def verify_command(invocation: Invocation, run: str | None, *, mapping_file: Path | None, as_json: bool) -> None:
    """Compare the target of a migration with its source.

    The default is the last migration. The target is read past every cache, and nothing is changed. A secret is verified
    if the target has every key of the source with the same value.

    Example: strongroom migrate verify
    """
    from strongroom.migrate import Migrator

    found, plan = reports.found_run(run)
    config = plans.with_mapping(invocation.load(), plan.sources, mapping_file)
    _announce(config, f"verifying migration {found.name} at", plan)
    config = plans.with_operator_token(config, plan.target, ask=True)
    with Migrator(config) as migrator:
        report = step(lambda tell: migrator.verify(found.name, progress=tell), again="verify")
    reports.finish(report, as_json=as_json)


@click.command("undo")
@reports.run_argument
@yes_option()
@json_option()
@current
def undo_command(invocation: Invocation, run: str | None, *, yes: bool, as_json: bool) -> None:
    """Restore the target to its state before a migration.

    The default is the last migration that wrote. Secrets that it created are deleted, and changed ones get their old
    data. Later changes are kept and reported. Asks for confirmation; without a terminal it needs RUN and --yes.

    Example: strongroom migrate undo
    """
    from strongroom.migrate import Migrator

    found, plan = reports.found_run(run, wrote=True)
    _require_name(run, "undo")
    config = invocation.load_to_write()
    with reports.attempt(), Migrator(config) as migrator:
        migrator.check_undoable(found.name)
    _announce(config, f"undoing migration {found.name} at", plan)
    why = f"this restores the target to its state before migration {found.name}"
    confirm([*production_reasons(config), why], yes=yes)
    config = plans.with_operator_token(config, plan.target, ask=not yes)
    with Migrator(config) as migrator:
        report = step(lambda tell: migrator.undo(found.name, progress=tell), again="undo")
    reports.finish(report, as_json=as_json)


@click.command("delete-source")
@reports.run_argument
@plans.mapping_file
@yes_option()
@json_option()
@current
def delete_source_command(
    invocation: Invocation, run: str | None, *, mapping_file: Path | None, yes: bool, as_json: bool
) -> None:
    """Delete the migrated secrets at the source.

    The default is the last migration. Both stores are read just before: a secret is deleted if the target has all of
    it, and all others stay. The environment and .env files are read-only: delete their variables by hand. Asks for
    confirmation; without a terminal it needs RUN and --yes.

    Example: strongroom migrate delete-source
    """
    from strongroom.migrate import Migrator

    found, plan = reports.found_run(run)
    _require_name(run, "delete-source")
    config = plans.with_mapping(invocation.load_to_write(), plan.sources, mapping_file)
    with reports.attempt(), Migrator(config) as migrator:
        deletable = migrator.deletable_sources(found.name)
    sources = " and ".join(describe_store(config, source) for source in deletable or plan.sources)
    output.say(f"deleting the secrets of migration {found.name} to {shown(plan.target)} from {sources}")
    why = f"this deletes the secrets of migration {found.name} at the source, possibly for good"
    confirm([*production_reasons(config), why], yes=yes)
    config = plans.with_operator_tokens(config, plan.sources, ask=not yes)
    with Migrator(config) as migrator:
        report = step(lambda tell: migrator.delete_source(found.name, progress=tell), again="delete-source")
    reports.finish(report, as_json=as_json)


def step(run: Callable[[OnProgress | None], Report], *, again: str) -> Report:
    """Run a step, store its report beside the run's journal, and return it, even if it is not complete.

    Args:
        run: runs the step, with a callback for the progress.
        again: the command that continues after Ctrl-C, SIGTERM or SIGHUP.
    """
    try:
        with termination_raised(), reports.attempt(), reports.progress_bar() as tell:
            try:
                report = run(tell)
            except MigrationError as error:
                if error.report is None:
                    raise
                report = error.report
    except KeyboardInterrupt as end:
        output.say(f"Interrupted. To continue: `strongroom migrate {again}`")
        if isinstance(end, Terminated):
            raise click.exceptions.Exit(128 + end.number) from None
        raise
    if (kept := reports.run_of(report)) is not None:
        kept.keep_report(report)
    return report


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
