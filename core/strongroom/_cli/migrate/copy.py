"""`strongroom copy`: a migration of one secret."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from strongroom._cli.exit_codes import ExitCode
from strongroom._cli.migrate import plan as plans
from strongroom._cli.migrate import runs
from strongroom._cli.options import Invocation, complete, current, json_option, path_argument, yes_option
from strongroom._cli.terminal import output
from strongroom._cli.terminal.confirmation import confirm, describe_store, production_reasons
from strongroom.errors import ConflictError, MigrationError, shown
from strongroom.migrate._plans.comparison import HAS_ALL
from strongroom.migrate._plans.plan import KeyChange, OnConflict, Plan, PlannedState
from strongroom.migrate.report import ItemResult, ItemState, Report

if TYPE_CHECKING:
    from strongroom.migrate import Migrator


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
    on_conflict: str,
    encrypt_to: tuple[str, ...],
    yes: bool,
    as_json: bool,
) -> None:
    """Copy one secret from a store to another, with its labels.

    A migration of one secret: it has a journal, and can be undone. Prints the target first. Asks for confirmation in
    production, and before it overwrites data in a store without versions. Keys that only the target has are kept. The
    newest version alone is copied.

    Example: strongroom copy database/connection --from vault --to aws-secretsmanager:billing
    """
    from strongroom.migrate import Migrator, Selection

    config, to = invocation.load_to_write(), new_path or path
    renamed = f" as {shown(to)}" if to != path else ""
    output.say(f"copying {shown(path)} from {shown(source)}{renamed} to {describe_store(config, target)}")
    with Migrator(config) as migrator:
        plan = migrator.plan(
            source,
            target,
            selection=Selection(rename={path: to}, paths=(path,)),
            on_conflict=OnConflict(on_conflict),
            encrypt_to=encrypt_to,
        )
        _check_conflict(plan)
        confirm([*production_reasons(config), *_losses(plan)], yes=yes)
        report = _apply(migrator, plan) if plan.pending else None
    result = None if report is None else report.results[0]
    done = result if result is not None and result.state is ItemState.DONE else None
    fault = "" if done is None else done.reason  # labels need another permission, which is optional
    copied = _document(plan, result, labelled=done is not None and not fault)
    labels = f", with the labels {', '.join(map(shown, copied['labels']))}" if copied["labels"] else ""
    if copied["written"]:
        numbered = "" if copied["secret_version"] is None else f", version {copied['secret_version']}"
        back = f". To roll back: `strongroom migrate undo {report.run}`" if report is not None else ""
        output.say(f"copied {', '.join(map(shown, copied['keys']))} to {shown(to)}{numbered}{labels}{back}")
    else:
        output.say(f"{shown(to)} was not written: {copied['reason']}{labels}")
    for lost in copied["lost"]:
        output.say(f"not copied: {lost}")
    if fault:
        output.say(f"copied in part: {fault}")
    if as_json:
        document = {"from": source, "path": path, "to": target, "new_path": to, **copied}
        output.write_document(document, version=2)  # version 1 had `versions_written`
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


def _document(plan: Plan, result: ItemResult | None, *, labelled: bool) -> dict[str, Any]:
    """Return the result for `--json`."""
    [item] = plan.items
    keys = [key for key in item.keys if key.change is not KeyChange.REMOVED]
    if plan.on_conflict is not OnConflict.OVERWRITE:  # the target keeps its own value
        keys = [key for key in keys if key.change is not KeyChange.CHANGED]
    done = result is not None and result.state is ItemState.DONE
    written = done and any(key.change is not KeyChange.SAME for key in keys)
    version = item.target_version if result is None or not done else result.version
    reason = item.reason or HAS_ALL if result is None or done else result.reason
    return {
        "written": written,
        "reason": "" if written else reason,
        "keys": [key.name for key in keys],
        "labels": list(item.labels) if labelled else [],
        "secret_version": version,
        "lost": list(item.cautions),
    }
