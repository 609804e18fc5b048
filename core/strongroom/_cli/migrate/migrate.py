"""`strongroom migrate`: a whole migration."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import click

from strongroom._cli.exit_codes import ExitCode
from strongroom._cli.migrate import plan as plans
from strongroom._cli.migrate import report as reports
from strongroom._cli.migrate import runs
from strongroom._cli.migrate.mapping import export_mapping
from strongroom._cli.options import Invocation, json_option, yes_option
from strongroom._cli.terminal import output
from strongroom._cli.terminal.confirmation import confirm, production_reasons
from strongroom.errors import shown
from strongroom.migrate._plans.plan import Plan

if TYPE_CHECKING:
    from strongroom._config import Config
    from strongroom.migrate import Migrator


@click.group("migrate", invoke_without_command=True, subcommand_metavar="[COMMAND [ARGS]...]")
@plans.planning_options
@runs.rate
@click.option("--dry-run", is_flag=True, help="Show the plan and write nothing.")
@yes_option()
@json_option()
@click.option(
    "--export-mapping",
    metavar="FILE",
    type=reports.FILE,
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
        _refuse_beside(ctx, used, {"export_mapping", "env_files", "as_json"})
        file, as_json = given["export_mapping"], given["as_json"]
        export_mapping(invocation, file, given["env_files"], update=False, as_json=as_json)
        return
    if not (given["yes"] or given["dry_run"] or (sys.stdin.isatty() and sys.stderr.isatty())):
        raise click.UsageError("Without a terminal it needs --yes, or --dry-run to show the plan", ctx)
    with ExitStack() as stack:
        migrator, config, made = plans.make_plan(invocation, stack, given, what="migrating")
        if given["dry_run"]:
            plans.show(made, as_json=given["as_json"])
            ctx.exit(plans.exit_code(made))
        _migrate(ctx, migrator, config, made, given)


def _migrate(ctx: click.Context, migrator: Migrator, config: Config, made: Plan, given: dict[str, Any]) -> None:
    """Confirm, apply the plan and verify it, with the stores that are open already."""
    rate, as_json = given["rate"], given["as_json"]
    if made.is_blocked or not made.pending:
        if as_json:
            output.write_document({"plan": plans.document(made), "run": None}, version=reports.PLAN_DOCUMENT)
        else:
            plans.write(made)
        output.say(plans.summary(made))
        if made.is_blocked:
            output.say("Nothing was written. Choose a policy for conflicts with --on-conflict")
        ctx.exit(plans.exit_code(made))
    if not given["yes"]:
        if not as_json:
            plans.write(made)
        output.say(plans.summary(made))
    else:
        for line in plans.cautions(made.items):
            output.say(line)
    count = len(made.pending)
    why = f"this writes {count:,} secret{'s' if count > 1 else ''} to {shown(made.target)}"
    confirm([*production_reasons(config), why], yes=given["yes"])
    report = runs.step(lambda tell: migrator.apply(made, rate=rate, progress=tell), again="resume")
    code = reports.exit_code(report)
    if not report.stopped:
        checked = runs.step(lambda tell: migrator.verify(report.run, progress=tell), again="verify")
        report = reports.verified(report, checked)
    if code is ExitCode.DONE and not report.ok:
        code = ExitCode.PARTIAL
    shown_plan = plans.document(made)
    reports.finish(report, as_json=as_json, plan=shown_plan, ended=code)


for _command in (
    plans.plan_command,
    runs.apply_command,
    runs.resume_command,
    runs.verify_command,
    runs.undo_command,
    runs.delete_source_command,
    reports.report_command,
):
    migrate_command.add_command(_command)


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
