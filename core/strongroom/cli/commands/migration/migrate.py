"""`strongroom migrate`: a whole migration, or plan and apply as separate steps."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from strongroom.bounded_file import read_bytes
from strongroom.cli.commands.migration import options, plan_view, report_view, step
from strongroom.cli.commands.migration.operator_token import with_operator_token
from strongroom.cli.commands.migration.runs import RUN_COMMANDS
from strongroom.cli.exit_codes import ExitCode
from strongroom.cli.options import Invocation, complete, current, json_option, yes_option
from strongroom.cli.terminal import output, progress
from strongroom.cli.terminal.confirmation import confirm, describe_store, production_reasons
from strongroom.errors import ConfigurationError, shown
from strongroom.files import private_file

if TYPE_CHECKING:
    from strongroom.config import Config
    from strongroom.migrate import Migrator, Plan

_F = TypeVar("_F", bound=Callable[..., object])

_MAX_PLAN = 1 << 28
"""The largest plan that is read, in bytes: about 500,000 secrets."""

_planned = (
    click.option(
        "--from",
        "sources",
        metavar="STORE",
        multiple=True,
        shell_complete=complete("ends"),
        help="Read this store: NAME, or PLUGIN:LOCATION such as dotenv:.env. Repeatable.",
    ),
    click.option("--env-file", "env_files", metavar="FILE", multiple=True, help="Same as --from dotenv:FILE."),
    click.option(
        "--to",
        "target",
        metavar="STORE",
        default="vault",
        show_default=True,
        shell_complete=complete("ends"),
        help="Write to this store.",
    ),
    click.option(
        "--mapping-file",
        metavar="FILE",
        type=options.FILE,
        help="Path and key of each variable. Without --from, reads env.",
    ),
    options.on_conflict,
    click.option(
        "--no-backup",
        is_flag=True,
        help="Keep no copy of overwritten data. Skip secrets whose target keeps too few versions to undo.",
    ),
    options.encrypt_to,
    click.option(
        "--from-prefix", metavar="PREFIX", default="", help="Take only secrets below this prefix, and drop it."
    ),
    click.option("--to-prefix", metavar="PREFIX", default="", help="Add this prefix at the target."),
    click.option("--include", metavar="GLOB", multiple=True, help="Migrate only paths that match this shell pattern."),
    click.option("--exclude", metavar="GLOB", multiple=True, help="Skip paths that match this shell pattern."),
)


def _with(*decorators: Callable[[_F], _F]) -> Callable[[_F], _F]:
    def decorate(function: _F) -> _F:
        for option in reversed(decorators):
            function = option(function)
        return function

    return decorate


@click.group("migrate", invoke_without_command=True, subcommand_metavar="[COMMAND [ARGS]...]")
@_with(*_planned, options.rate)
@click.option("--dry-run", is_flag=True, help="Show the plan and write nothing.")
@yes_option()
@json_option()
@options.html
@click.option(
    "--export-mapping",
    metavar="FILE",
    type=options.FILE,
    help="Write a mapping of all variables to edit, and stop.",
)
@click.pass_context
def migrate_command(ctx: click.Context, /, **given: Any) -> None:
    """Copy secrets from one store to another: plan, apply and verify in one command.

    Prints the target and the plan, asks for confirmation, writes, and reads the target back. No value is printed.
    Without a terminal it needs --yes. A conflict stops the migration before the first write; choose a policy with
    --on-conflict. Skipped secrets are listed with the reason. Credentials of stores (VAULT_*, BAO_*, STRONGROOM_*, AWS)
    are never migrated. The commands below are the single steps.

    Example: strongroom migrate --env-file .env --to vault:secret/billing
    """
    used = [name for name in given if ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE]
    if ctx.invoked_subcommand is not None:
        _refuse_before(ctx, used)
        return
    if not used:
        raise click.UsageError(ctx.get_help(), ctx)
    invocation = ctx.ensure_object(Invocation)
    if given["export_mapping"] is not None:
        from strongroom.cli.commands.migration.mapping import export_mapping

        _refuse_beside(ctx, used, {"export_mapping", "env_files", "as_json"})
        file, as_json = given["export_mapping"], given["as_json"]
        export_mapping(invocation, file, given["env_files"], update=False, as_json=as_json)
        return
    if not (given["yes"] or given["dry_run"] or (sys.stdin.isatty() and sys.stderr.isatty())):
        raise click.UsageError("Without a terminal it needs --yes, or --dry-run to show the plan", ctx)
    with ExitStack() as stack:
        migrator, config, made = _plan(invocation, stack, given, what="migrating")
        if given["dry_run"]:
            _show(made, as_json=given["as_json"])
            ctx.exit(plan_view.exit_code(made))
        _migrate(ctx, migrator, config, made, given)


def _migrate(ctx: click.Context, migrator: Migrator, config: Config, made: Plan, given: dict[str, Any]) -> None:
    """Confirm, apply the plan and verify it, with the stores that are open already."""
    rate, as_json = given["rate"], given["as_json"]
    if made.is_blocked or not made.pending:
        if as_json:
            output.write_document({"plan": plan_view.document(made), "run": None})
        else:
            plan_view.write(made)
        output.say(plan_view.summary(made))
        if made.is_blocked:
            output.say("Nothing was written. Choose a policy for conflicts with --on-conflict")
        ctx.exit(plan_view.exit_code(made))
    if not given["yes"]:
        if not as_json:
            plan_view.write(made)
        output.say(plan_view.summary(made))
    else:
        for line in plan_view.cautions(made.items):
            output.say(line)
    count = len(made.pending)
    why = f"this writes {count:,} secret{'s' if count > 1 else ''} to {shown(made.target)}"
    confirm([*production_reasons(config), why], yes=given["yes"])
    report = step.step(lambda tell: migrator.apply(made, rate=rate, progress=tell), again="resume")
    code = report_view.exit_code(report)
    if not report.stopped:
        checked = step.step(lambda tell: migrator.verify(report.run, progress=tell))
        report = step.verified(report, checked)
    if code is ExitCode.DONE and not report.ok:
        code = ExitCode.PARTIAL
    shown_plan = plan_view.document(made)
    html: Path | None = given["html"]
    step.finish(report, as_json=as_json, html=html, plan=shown_plan, ended=code)


@migrate_command.command("plan")
@_with(*_planned)
@click.option(
    "-o", "--output", "file", metavar="FILE", type=options.FILE, help="Write the plan to this file, for `apply`."
)
@json_option()
@current
def plan_command(invocation: Invocation, /, *, file: Path | None, as_json: bool, **given: Any) -> None:
    """Show what a migration would do with each secret.

    Nothing is written to a store. The states are create, change (keys are added), equal, conflict, unmapped and
    impossible. A plan holds names and sizes, never a value or a digest, so it can be reviewed and stored as a CI
    artifact. The exit code is 0 if there is nothing to do, 10 if there is, and 6 for conflicts or impossible secrets.

    Example: strongroom migrate plan --from aws-ssm:/billing --to vault:secret/billing -o plan.json
    """
    if file is not None:
        _check_replaceable(file)
    with ExitStack() as stack:
        _, _, made = _plan(invocation, stack, given, what="planning to migrate")
    if file is not None:
        _write_plan(file, made)
    _show(made, as_json=as_json)
    if file is not None:
        output.say(f"Plan written to {shown(str(file))}. To apply it: `strongroom migrate apply {shown(str(file))}`")
    click.get_current_context().exit(plan_view.exit_code(made))


@migrate_command.command("apply")
@click.argument("file", type=options.FILE)
@options.mapping_file
@options.encrypt_to
@_with(options.rate, yes_option(), json_option(), options.html)
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
    html: Path | None,
) -> None:
    """Apply the plan in FILE.

    Each secret is read again. One that was changed since the plan is a conflict and left alone; the others are written.
    Asks for confirmation in production, and if the plan was edited or made on another machine. A journal records every
    write, so that `resume` can continue an interrupted run and `undo` can restore the target. Nothing is written if the
    plan has a conflict and its policy is to fail.

    Example: strongroom migrate apply plan.json --rate 50
    """
    from strongroom.migrate import Migrator, parse_plan

    with private_file.faults_as(ConfigurationError, f"The plan {shown(str(file))}"):
        made = parse_plan(_read_plan(file), shown(str(file)))
    doubts = _doubts(made)
    if encrypt_to:  # the run stores it with its plan
        made = replace(made, encrypt_to=encrypt_to)
    config = options.with_mapping(invocation.load(), made.sources, mapping_file)
    output.say(f"migrating from {output.joined(made.sources)} to {describe_store(config, made.target)}")
    if made.is_blocked or not made.pending:  # a run that writes nothing would hide the one before it from `undo`
        _show(made, as_json=as_json)
        raise click.exceptions.Exit(plan_view.exit_code(made))
    confirm([*production_reasons(config), *doubts], yes=yes)
    config = with_operator_token(config, made.target, ask=not yes)
    with Migrator(config) as migrator:
        report = step.step(lambda tell: migrator.apply(made, rate=rate, progress=tell), again="resume")
    step.finish(report, as_json=as_json, html=html)


for _command in RUN_COMMANDS:
    migrate_command.add_command(_command)


def _plan(
    invocation: Invocation, stack: ExitStack, given: dict[str, Any], *, what: str
) -> tuple[Migrator, Config, Plan]:
    """Make the plan that the options ask for. Return it with its migrator, closed by the stack, and configuration."""
    from strongroom.migrate import Migrator, OnConflict, Selection

    config, mapping_file = invocation.load(), given["mapping_file"]
    sources = (*given["sources"], *(f"dotenv:{file}" for file in given["env_files"]))
    if not sources and mapping_file is None:
        raise click.UsageError("Nothing to migrate: give --from STORE or --env-file FILE")
    sources, target = sources or ("env",), str(given["target"])
    config = options.with_mapping(config, sources, mapping_file)
    selection = Selection(given["from_prefix"], given["to_prefix"], given["include"], given["exclude"])
    output.say(f"{what} from {output.joined(sources)} to {describe_store(config, target)}")
    config = with_operator_token(config, target, ask=not (given.get("yes") or given.get("dry_run")))
    migrator = stack.enter_context(Migrator(config))
    with progress.bar() as tell:
        made = migrator.plan(
            sources,
            target,
            selection=selection,
            on_conflict=OnConflict(given["on_conflict"]),
            mapping_file=mapping_file,
            backup=not given["no_backup"],
            encrypt_to=given["encrypt_to"],
            progress=tell,
        )
    if not made.items and (selection.from_prefix or selection.include):
        output.say(f"No secret of {output.joined(sources)} matches --from-prefix and --include. Check the spelling")
        raise click.exceptions.Exit(ExitCode.IMPOSSIBLE)
    given_by = {item.source for item in made.items}
    if not (selection.from_prefix or selection.include or selection.exclude):
        for source in sources:
            if source not in given_by and migrator.has_prefix(source):
                output.say(f"{shown(source)} has no secrets below its prefix. Check the spelling")
                raise click.exceptions.Exit(ExitCode.IMPOSSIBLE)
    return migrator, config, made


def _show(made: Plan, *, as_json: bool) -> None:
    if as_json:
        output.write_document(plan_view.document(made))
    else:
        plan_view.write(made)
    output.say(plan_view.summary(made))


def _read_plan(file: Path) -> bytes:
    """Return the content of a plan.

    Raises:
        ConfigurationError: it is too large.
        OSError: it cannot be read, or is not a regular file.
    """
    content, _ = read_bytes(file, _MAX_PLAN)
    if len(content) > _MAX_PLAN:
        raise ConfigurationError(f"{shown(str(file))}: it has more than {_MAX_PLAN:,} bytes, so it is not a plan")
    return content


def _doubts(made: Plan) -> list[str]:
    """Return the reasons to doubt a plan."""
    from strongroom.migrate.ledger.runs import RunLedger

    as_made = RunLedger(None).is_as_made(made)
    if as_made is None:
        return ["the plan was not made on this machine, so edits in it are not recognized"]
    return [] if as_made else ["the plan was edited after it was made"]


def _check_replaceable(file: Path) -> None:
    """Check that an existing file is a plan, and not a file of secrets named by mistake.

    Raises:
        ConfigurationError: it is not a plan.
    """
    from strongroom.migrate import parse_plan

    fault = ""
    try:
        parse_plan(_read_plan(file))
    except FileNotFoundError:
        return
    except OSError as error:
        fault = error.strerror or type(error).__name__
    except ConfigurationError:
        fault = "it exists and is not a plan, so it is not replaced"
    if fault:
        raise ConfigurationError(f"{shown(str(file))}: {fault}")


def _write_plan(file: Path, made: Plan) -> None:
    from strongroom.migrate import dump_plan

    with private_file.faults_as(ConfigurationError, f"{shown(str(file))}: the plan cannot be written"):
        private_file.replace(file.absolute(), dump_plan(made).encode())


def _refuse_before(ctx: click.Context, used: list[str]) -> None:
    """Refuse options between `migrate` and a command, which would have no effect."""
    if used:
        name, option = ctx.invoked_subcommand, _option(ctx, used[0])
        raise click.UsageError(f"{option} must follow the command: strongroom migrate {name} {option} …", ctx)


def _refuse_beside(ctx: click.Context, used: list[str], allowed: set[str]) -> None:
    for name in used:
        if name not in allowed:
            raise click.UsageError(f"--export-mapping only writes the mapping: leave {_option(ctx, name)} out", ctx)


def _option(ctx: click.Context, name: str) -> str:
    return next(parameter.opts[-1] for parameter in ctx.command.params if parameter.name == name)
