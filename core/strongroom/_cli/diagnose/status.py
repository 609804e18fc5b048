"""`strongroom status`."""

from __future__ import annotations

import click

from strongroom._cli.diagnose.chain_status import document
from strongroom._cli.diagnose.monitor import Monitor
from strongroom._cli.diagnose.view import sections
from strongroom._cli.exit_codes import code_of_all
from strongroom._cli.options import Invocation, current, json_option
from strongroom._cli.terminal import output

paths_option = click.option("--paths", is_flag=True, help="Show the paths of secrets too.")


@click.command("status")
@paths_option
@json_option()
@current
def status_command(invocation: Invocation, *, paths: bool, as_json: bool) -> None:
    """Show the chain and its health, the cache on disk, rotations and migrations.

    Migrations are those of this user on this machine. No value is shown. The exit code is that of the gravest fault of
    a store.

    Example: strongroom status --json
    """
    with Monitor(invocation.load(), paths=paths) as monitor:
        monitor.probe()
        status, errors = monitor.status(), monitor.errors()
    if as_json:
        output.write_document(document(status, paths=paths))
    else:
        for name, columns, rows in sections(status, paths=paths):
            output.write_listing(columns, rows, ((name, *output.texts(row)) for row in rows))
    click.get_current_context().exit(code_of_all(errors))
