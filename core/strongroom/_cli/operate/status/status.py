"""`strongroom status`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from strongroom._cli import options
from strongroom._cli.exit_codes import code_of_all
from strongroom._cli.operate.status.model import document
from strongroom._cli.operate.status.monitor import Monitor
from strongroom._cli.operate.status.view import sections
from strongroom._cli.options import Invocation, current, json_option
from strongroom._cli.terminal import output

if TYPE_CHECKING:
    from rich.console import Console
    from rich.segment import SegmentLines

    from strongroom._cli.operate.status.model import ChainStatus

_FRAME = 0.5
"""Seconds between two frames of `--watch`."""

interval_option = options.interval_option("10s", "Probe the stores this often.")
paths_option = click.option("--paths", is_flag=True, help="Show the paths of secrets too.")


@click.command("status")
@click.option("--watch", is_flag=True, help="Keep the status on the screen until Ctrl-C.")
@paths_option
@interval_option
@json_option()
@current
def status_command(invocation: Invocation, *, watch: bool, paths: bool, interval: float, as_json: bool) -> None:
    """Show the chain and its health, caches, watches, rotations and migrations.

    Caches in memory and watches are those of applications that call `strongroom.status.publish`. Migrations are those
    of this user on this machine. No value is shown. The exit code is that of the gravest fault of a store.

    Example: strongroom status --watch
    """
    if watch and (as_json or not output.is_terminal()):
        raise click.UsageError("--watch needs a terminal, and is not for --json")
    with Monitor(invocation.load(), paths=paths) as monitor:
        if watch:
            _watch(monitor, interval, paths=paths)
            return
        monitor.probe()
        status, errors = monitor.status(), monitor.errors()
    if as_json:
        output.write_document(document(status, paths=paths))
    else:
        for name, columns, rows in sections(status, paths=paths):
            output.write_listing(columns, rows, ((name, *output.texts(row)) for row in rows))
    click.get_current_context().exit(code_of_all(errors))


def _watch(monitor: Monitor, interval: float, *, paths: bool) -> None:
    """Show the status on a separate screen until Ctrl-C, which is the usual end and not a failure."""
    from rich.live import Live

    console = output.terminal_console()
    monitor.start(interval)
    try:
        with Live(console=console, screen=True, auto_refresh=False) as live:
            while True:
                live.update(screen(console, monitor.status(), paths=paths), refresh=True)
                time.sleep(_FRAME)
    except KeyboardInterrupt:
        return


def screen(console: Console, status: ChainStatus, *, paths: bool) -> SegmentLines:
    """Return the lines that fit on the screen. If there are more, the last one tells how many."""
    from rich.console import Group
    from rich.segment import Segment, SegmentLines
    from rich.text import Text

    environment = f", environment {status.environment}" if status.environment else ""
    probed = "probing" if status.probed is None else f"probed at {status.probed.astimezone():%H:%M:%S}"
    head = Text(f" Strongroom{output.one_line(environment)}, {probed}. Ctrl-C ends", "bold")
    tables = (output.make_table(console, part.columns, part.rows) for part in sections(status, paths=paths))
    lines = console.render_lines(Group(head, *tables), pad=False)
    blank = ["".join(segment.text for segment in line).isspace() for line in lines]
    lines = [
        line for line, is_blank, after in zip(lines, blank, [*blank[1:], True], strict=True) if not is_blank & after
    ]
    if len(lines) > console.height:
        hidden = len(lines) - console.height + 1
        note = f" … {output.counted(hidden, 'more line')}: enlarge the window, or see strongroom status"
        lines[console.height - 1 :] = [[Segment(note[: console.width], console.get_style("bold"))]]
    return SegmentLines(lines, new_lines=True)
