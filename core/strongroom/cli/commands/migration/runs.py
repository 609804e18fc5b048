"""`strongroom migrate resume`, `verify`, `undo`, `delete-source` and `report`: what is done with a migration begun."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from strongroom.cli import store_names
from strongroom.cli.commands.migration import report_view, step
from strongroom.cli.exit_codes import ExitCode
from strongroom.cli.invocation import Invocation, completed, current
from strongroom.cli.terminal import output

if TYPE_CHECKING:
    from strongroom.config import Config
    from strongroom.migrate import Plan, Run

_FILE = click.Path(path_type=Path)

_run = click.argument("run", required=False, shell_complete=completed("migration"))
_mapping = click.option(
    "--mapping-file", metavar="FILE", type=_FILE, help="Where the plan's mapping file is now, if it had one."
)
_page = click.option(
    "--report",
    "page",
    metavar="FILE",
    type=_FILE,
    callback=report_view.page_option,
    help="Write the report as an HTML page, too.",
)
_yes = click.option("-y", "--yes", is_flag=True, help="Do not ask.")
_json = click.option("--json", "as_json", is_flag=True, help="Answer with one JSON object.")


@click.command("resume")
@_run
@_mapping
@store_names.encrypt_to_option
@click.option(
    "--rate",
    metavar="N",
    type=click.FloatRange(min=0, min_open=True),
    callback=step.rate_option,
    help="Write at most N a second.",
)
@_yes
@_json
@_page
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
    page: Path | None,
) -> None:
    """Go on with a migration that broke off or failed in part.

    By default with the last one that is neither finished nor undone. What the journal says is done is not touched, and
    no secret is written twice. In production it asks.

    Example: strongroom migrate resume
    """
    from strongroom.migrate import Migrator

    color = not invocation.no_color
    found, plan = _found(run, unfinished=True)
    config = store_names.with_mapping(invocation.load(), plan.sources, mapping_file)
    _announce(config, f"going on with migration {found.name} from {store_names.listed(plan.sources)} to", plan)
    step.confirm([], production=config.production, yes=yes)
    with Migrator(config) as migrator:
        report = step.step(
            lambda tell: migrator.resume(found.name, rate=rate, encrypt_to=encrypt_to, progress=tell),
            color=color,
            again="resume",
        )
    step.finish(report, color=color, as_json=as_json, page=page)


@click.command("verify")
@_run
@_mapping
@_json
@_page
@current
def verify_command(
    invocation: Invocation, run: str | None, *, mapping_file: Path | None, as_json: bool, page: Path | None
) -> None:
    """Compare what a migration wrote with its source.

    By default the last one. The target is read back past every cache, and nothing is changed. A secret is verified when
    the target has every key that the source has, with the same value.

    Example: strongroom migrate verify
    """
    from strongroom.migrate import Migrator

    color = not invocation.no_color
    found, plan = _found(run)
    config = store_names.with_mapping(invocation.load(), plan.sources, mapping_file)
    _announce(config, f"verifying migration {found.name} at", plan)
    with Migrator(config) as migrator:
        report = step.step(lambda tell: migrator.verify(found.name, progress=tell), color=color)
    step.finish(report, color=color, as_json=as_json, page=page)


@click.command("undo")
@_run
@_yes
@_json
@_page
@current
def undo_command(invocation: Invocation, run: str | None, *, yes: bool, as_json: bool, page: Path | None) -> None:
    """Give the target back what it held before a migration.

    By default before the last one. A secret that it made is deleted, and one that it changed gets its old data back.
    What was changed since is left alone, and said. It asks; without a terminal it needs --yes.

    Example: strongroom migrate undo
    """
    from strongroom.migrate import Migrator

    color = not invocation.no_color
    found, plan = _found(run)
    config = invocation.load()
    _announce(config, f"undoing migration {found.name} at", plan)
    why = ["what the migration wrote is taken back"]
    step.confirm(why, production=config.production, yes=yes)
    with Migrator(config) as migrator:
        report = step.step(lambda tell: migrator.undo(found.name, progress=tell), color=color, again="undo")
    step.finish(report, color=color, as_json=as_json, page=page)


@click.command("delete-source")
@_run
@_mapping
@_yes
@_json
@_page
@current
def delete_source_command(
    invocation: Invocation, run: str | None, *, mapping_file: Path | None, yes: bool, as_json: bool, page: Path | None
) -> None:
    """Delete at the source what a migration has moved.

    By default the last one. Both ends are read just before: a secret is deleted when the target has all of it, and
    every other one stays. It asks; without a terminal it needs --yes.

    Example: strongroom migrate delete-source
    """
    from strongroom.migrate import Migrator

    color = not invocation.no_color
    found, plan = _found(run)
    config = store_names.with_mapping(invocation.load(), plan.sources, mapping_file)
    sources = " and ".join(store_names.target_in_words(config, source) for source in plan.sources)
    output.say(f"deleting what migration {found.name} brought to {store_names.listed((plan.target,))} from {sources}")
    why = ["what is deleted at the source may be gone for good"]
    step.confirm(why, production=config.production, yes=yes)
    with Migrator(config) as migrator:
        report = step.step(
            lambda tell: migrator.delete_source(found.name, progress=tell), color=color, again="delete-source"
        )
    step.finish(report, color=color, as_json=as_json, page=page)


@click.command("report")
@_run
@click.option("--list", "listing", is_flag=True, help="List the migrations that were begun here, oldest first.")
@_json
@click.option(
    "--html",
    "page",
    metavar="FILE",
    type=_FILE,
    callback=report_view.page_option,
    help="Write it as an HTML page, too.",
)
@current
def report_command(invocation: Invocation, run: str | None, *, listing: bool, as_json: bool, page: Path | None) -> None:
    """Print the last report of a migration again.

    By default of the last one. No store is asked. The exit code is 0 where there is one, whatever it says.

    Example: strongroom migrate report --html report.html
    """
    from strongroom.migrate.reports.archive import kept_reports

    color = not invocation.no_color
    if listing:
        _list(as_json=as_json, color=color)
        return
    found, _ = _found(run)
    reports = step.attempt(lambda: kept_reports(found))
    if not reports:
        words = f"Migration {found.name} broke off before its first report: `strongroom migrate resume` goes on with it"
        raise click.ClickException(words)
    step.finish(reports[-1], color=color, as_json=as_json, page=page, ended=ExitCode.DONE)


RUN_COMMANDS = (resume_command, verify_command, undo_command, delete_source_command, report_command)
"""The commands of `strongroom migrate` that are about a migration which was begun."""


def _announce(config: Config, what: str, plan: Plan) -> None:
    output.say(f"{what} {store_names.target_in_words(config, plan.target)}")


def _found(name: str | None, *, unfinished: bool = False) -> tuple[Run, Plan]:
    """The migration of that name, or the last one, and its plan."""
    from strongroom.migrate.ledger.runs import Ledger

    def find() -> tuple[Run, Plan]:
        ledger = Ledger(None)
        run = ledger.find(name, unfinished=unfinished)
        return run, ledger.plan_of(run)

    return step.attempt(find)


def _list(*, as_json: bool, color: bool) -> None:
    from strongroom.migrate.ledger.runs import Ledger, runs

    ledger = Ledger(None)
    found = [(run, ledger.plan_of(run)) for run in runs()]
    if as_json:
        output.write_document(
            {
                "migrations": [
                    {
                        "run": run.name,
                        "started": run.started.isoformat(),
                        "finished": run.finished,
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
            f"{run.started:%Y-%m-%d %H:%M:%S} UTC",
            "finished" if run.finished else "not finished",
            store_names.listed(plan.sources),
            store_names.listed((plan.target,)),
        )
        for run, plan in found
    ]
    if output.is_terminal():
        output.write_table(("migration", "begun", "state", "from", "to"), rows, color=color)
    else:
        output.write_rows(rows)
