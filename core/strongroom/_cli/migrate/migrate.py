"""`strongroom migrate`, a whole migration; `strongroom copy`, one of a single secret; `strongroom mapping`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from strongroom._cli.exit_codes import ExitCode
from strongroom._cli.migrate import plan as plans
from strongroom._cli.migrate import report as reports
from strongroom._cli.migrate import runs
from strongroom._cli.options import Invocation, complete, current, json_option, path_argument, yes_option
from strongroom._cli.terminal import output
from strongroom._cli.terminal.confirmation import confirm, describe_store, production_reasons
from strongroom.errors import ConflictError, MigrationError, shown
from strongroom.migrate.key_changes import KeyChange
from strongroom.migrate.plans.comparison import HAS_ALL
from strongroom.migrate.plans.plan import OnConflict, Plan, PlannedState
from strongroom.migrate.report import ItemResult, ItemState, Report

if TYPE_CHECKING:
    from strongroom._config import Config
    from strongroom.migrate import Migrator
    from strongroom.migrate.execution.history import CopiedHistory


@click.group("migrate", invoke_without_command=True, subcommand_metavar="[COMMAND [ARGS]...]")
@plans.planning_options
@runs.rate
@click.option("--dry-run", is_flag=True, help="Show the plan and write nothing.")
@yes_option()
@json_option()
@reports.html
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
            output.write_document({"plan": plans.document(made), "run": None})
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
        checked = runs.step(lambda tell: migrator.verify(report.run, progress=tell))
        report = reports.verified(report, checked)
    if code is ExitCode.DONE and not report.ok:
        code = ExitCode.PARTIAL
    shown_plan = plans.document(made)
    html: Path | None = given["html"]
    reports.finish(report, as_json=as_json, html=html, plan=shown_plan, ended=code)


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


# --- mapping ----------------------------------------------------------------------------------------------------------


@click.group("mapping")
def mapping_command() -> None:
    """Manage the mapping of variables to paths and keys for `strongroom migrate`.

    Example: strongroom mapping export env_mapping.json --env-file .env
    """


@mapping_command.command("export")
@click.argument("file", type=reports.FILE)
@click.option(
    "--env-file", "env_files", metavar="FILE", multiple=True, help="Add an entry for each variable of this .env file."
)
@click.option("--update", is_flag=True, help="Add missing entries, and keep yours.")
@json_option()
@current
def export_command(
    invocation: Invocation, file: Path, *, env_files: tuple[str, ...], update: bool, as_json: bool
) -> None:
    """Write the path and key of each variable to FILE: TOML if it ends in .toml, otherwise JSON.

    The entries are the rows of [secrets] and the variables of the environment that have a known name. With --env-file
    each variable of that file gets an entry, empty if you must fill it in. An existing file needs --update. The file
    has no values, and no credentials of stores (VAULT_* and the like).

    Example: strongroom mapping export env_mapping.json --env-file .env
    """
    export_mapping(invocation, file, env_files, update=update, as_json=as_json)


def export_mapping(
    invocation: Invocation, file: Path, env_files: Sequence[str], *, update: bool, as_json: bool
) -> None:
    """Write or update the mapping file, and list the entries to fill in.

    Raises:
        ConfigurationError: the file exists and `update` is False, is not a mapping, or cannot be written.
    """
    from strongroom.migrate.plans.mapping_export import read_mapping, update_mapping, write_mapping
    from strongroom.migrate.plans.mapping_file import current as current_mapping
    from strongroom.migrate.variables import read_variables

    mapping = invocation.load().mapping
    if env_files:
        names = [name for each in env_files for name in read_variables(Path(each).absolute())]
    else:
        # Other variables belong to the shell. A plan lists them anyway.
        names = [name for name in os.environ if mapping.locate(name) is not None]
    found = current_mapping(mapping, names)
    added = len(found.entries)
    if update:
        added = update_mapping(file, found)
        output.say(f"added {added:,} {'entry' if added == 1 else 'entries'} to {shown(str(file))}")
    else:
        write_mapping(file, found)
        output.say(f"wrote {added:,} {'entry' if added == 1 else 'entries'} to {shown(str(file))}")
    empty = [entry.variable for entry in read_mapping(file).entries if not entry.to]
    if empty:
        output.say(f"not migrated until filled in: {', '.join(empty)}")
    if as_json:
        output.write_document({"file": str(file), "added": added, "to_be_filled_in": empty})


# --- copy -------------------------------------------------------------------------------------------------------------


@click.command("copy")
@path_argument
@click.option(
    "--from",
    "source",
    metavar="STORE",
    required=True,
    shell_complete=complete("ends"),
    help="Read it here: NAME, or PLUGIN:LOCATION.",
)
@click.option("--to", "target", metavar="STORE", required=True, shell_complete=complete("ends"), help="Write it here.")
@click.option("--as", "new_path", metavar="PATH", help="Use another path at the target.")
@click.option("--versions", is_flag=True, help="Also copy its history, if both stores keep versions.")
@plans.on_conflict
@plans.encrypt_to
@yes_option()
@json_option()
@current
def copy_command(
    invocation: Invocation,
    path: str,
    *,
    source: str,
    target: str,
    new_path: str | None,
    versions: bool,
    on_conflict: str,
    encrypt_to: tuple[str, ...],
    yes: bool,
    as_json: bool,
) -> None:
    """Copy one secret from a store to another, with its labels.

    A migration of one secret: it has a journal, and can be undone. Prints the target first. Asks for confirmation in
    production, and before it overwrites data in a store without versions. Keys that only the target has are kept. With
    --versions every readable version is written, oldest first, to a path that is new at the target.

    Example: strongroom copy database/connection --from vault --to aws-secretsmanager:billing
    """
    from strongroom.migrate import Migrator, Selection

    config, to = invocation.load(), new_path or path
    renamed = f" as {shown(to)}" if to != path else ""
    output.say(f"copying {shown(path)} from {shown(source)}{renamed} to {describe_store(config, target)}")
    given: dict[str, Any] = {
        "selection": Selection(rename={path: to}, paths=(path,)),
        "on_conflict": OnConflict(on_conflict),
        "encrypt_to": encrypt_to,
    }
    with Migrator(config) as migrator:
        plan = migrator.plan(source, target, **given)
        if not versions:
            _check_conflict(plan)
        confirm([*production_reasons(config), *_losses(plan)], yes=yes)
        history = migrator.copy_history(plan) if versions else None
        fault = "" if history is None or history.error is None else str(history.error)
        if history is not None and not fault:
            plan = migrator.plan(source, target, **given)  # its labels are left
        report = _apply(migrator, plan) if plan.pending and not fault else None
    result = None if report is None else report.results[0]
    labelled = result is not None and result.state is ItemState.DONE
    if result is not None and labelled and result.reason:
        labelled, fault = False, result.reason  # labels need another permission, which is optional
    copied = _document(plan, result, history, labelled=labelled)
    labels = f", with the labels {', '.join(map(shown, copied['labels']))}" if copied["labels"] else ""
    if copied["written"]:
        numbered = "" if copied["secret_version"] is None else f", version {copied['secret_version']}"
        many = f" in {copied['versions_written']:,} versions" if versions else ""
        back = f". To roll back: `strongroom migrate undo {report.run}`" if report is not None and not versions else ""
        output.say(f"copied {', '.join(map(shown, copied['keys']))} to {shown(to)}{many}{numbered}{labels}{back}")
    else:
        output.say(f"{shown(to)} was not written: {copied['reason']}{labels}")
    for lost in copied["lost"]:
        output.say(f"not copied: {lost}")
    if fault:
        output.say(f"copied in part: {fault}")
    if as_json:
        output.write_document({"from": source, "path": path, "to": target, "new_path": to, **copied})
    raise click.exceptions.Exit(ExitCode.DONE if not fault else ExitCode.PARTIAL)


def _check_conflict(plan: Plan) -> None:
    """Raise ConflictError if the target has another value and the policy is to fail."""
    [item] = plan.items
    if plan.is_blocked:
        keys = ", ".join(shown(key.name) for key in item.keys if key.change is KeyChange.CHANGED)
        hint = "Choose a policy with --on-conflict"
        raise ConflictError(item.path, f"the target has another value for {keys}", store=plan.target, hint=hint)


def _losses(plan: Plan) -> list[str]:
    """Return why the copy needs confirmation even outside production."""
    [item] = plan.items
    overwrites = item.state is PlannedState.CONFLICT and plan.on_conflict is OnConflict.OVERWRITE
    if overwrites and item.target_version is None:
        return [f"this overwrites {shown(item.path)} in store {shown(plan.target)}, which keeps no versions"]
    return []


def _apply(migrator: Migrator, plan: Plan) -> Report:
    """Apply the plan of one secret.

    Raises:
        StrongroomError: the secret was not copied, for this reason.
    """
    report = runs.step(lambda _: migrator.apply(plan), again="resume")  # a bar for one secret would only flicker
    [result] = report.results
    if result.state in {ItemState.DONE, ItemState.SKIPPED}:
        return report
    in_part = result.state is ItemState.FAILED and result.reason != str(result.error)  # the data, without its labels
    if in_part:
        output.say(f"copied in part: {result.reason}")
    output.say(f"Fix the cause, then continue: `strongroom migrate resume {report.run}`")
    if in_part:
        raise click.exceptions.Exit(ExitCode.PARTIAL)
    if result.state is ItemState.CONFLICT and result.error is None:
        raise ConflictError(result.path, result.reason, store=plan.target)
    raise result.error or MigrationError(report.stopped, report)


def _document(
    plan: Plan, result: ItemResult | None, history: CopiedHistory | None, *, labelled: bool
) -> dict[str, Any]:
    """Return the result for `--json`."""
    [item] = plan.items
    changes = {key.change for key in item.keys}
    if plan.on_conflict is not OnConflict.OVERWRITE:
        changes.discard(KeyChange.CHANGED)
    done = result is not None and result.state is ItemState.DONE
    count = (
        history.written if history is not None else int(done and bool(changes & {KeyChange.ADDED, KeyChange.CHANGED}))
    )
    version = item.target_version if result is None or not done else result.version
    reason = item.reason or HAS_ALL if result is None or done else result.reason
    return {
        "written": count > 0,
        "reason": "" if count else reason,
        "keys": [key.name for key in item.keys if key.change is not KeyChange.REMOVED],
        "labels": list(item.labels) if labelled else [],
        "secret_version": version if history is None else history.newest,
        "versions_written": count,
        "lost": [*item.cautions, *(() if history is None else history.lost)],
    }
