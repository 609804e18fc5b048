"""`strongroom copy`."""

from __future__ import annotations

from contextlib import ExitStack

import click

from strongroom.cli.commands.migration import options
from strongroom.cli.exit_codes import ExitCode
from strongroom.cli.options import Invocation, complete, current, json_option, path_argument, yes_option
from strongroom.cli.terminal import output
from strongroom.cli.terminal.confirmation import confirm, describe_store, reasons
from strongroom.errors import shown


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
@options.on_conflict
@options.encrypt_to
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

    Prints the target first. Asks for confirmation in production, and before it overwrites data in a store without
    versions. Keys and labels that only the target has are kept. With --versions every readable version is written,
    oldest first, to a path that is new at the target.

    Example: strongroom copy database/connection --from vault --to aws-secretsmanager:billing
    """
    from strongroom.chain.resolution import WriteTarget
    from strongroom.migrate import OnConflict
    from strongroom.migrate.endpoints import Endpoints, open_reader
    from strongroom.migrate.execution.copy import Copy

    config, to = invocation.load(), new_path or path
    renamed = f" as {shown(to)}" if to != path else ""
    where = describe_store(config, target)
    output.say(f"copying {shown(path)} from {shown(source)}{renamed} to {where}")
    with ExitStack() as stack:
        reader, _ = open_reader(config, source, stack)
        writer = stack.enter_context(Endpoints(config, None, encrypt_to=encrypt_to)).target(target)
        copy = Copy(reader, path, writer, to, on_conflict=OnConflict(on_conflict), history=versions)
        why = reasons(WriteTarget(target, writer.capabilities), config, drops=copy.overwrites)
        confirm(why, yes=yes)
        done = copy.make()
    numbered = "" if done.version is None else f", version {done.version}"
    many = f" in {done.versions:,} versions" if versions else ""
    labelled = f", with the labels {', '.join(map(shown, done.labels))}" if done.labels else ""
    if done.written:
        output.say(f"copied {', '.join(map(shown, done.keys))} to {shown(to)}{many}{numbered}{labelled}")
    else:
        output.say(f"{shown(to)} was not written: {done.reason}")
    for lost in done.lost:
        output.say(f"not copied: {lost}")
    if done.error is not None:
        output.say(f"copied in part: {done.error}")
    if as_json:
        output.write_document(
            {
                "from": source,
                "path": path,
                "to": target,
                "new_path": to,
                "written": done.written,
                "reason": done.reason,
                "keys": list(done.keys),
                "labels": list(done.labels),
                "secret_version": done.version,
                "versions_written": done.versions,
                "lost": list(done.lost),
            }
        )
    raise click.exceptions.Exit(ExitCode.DONE if done.error is None else ExitCode.PARTIAL)
