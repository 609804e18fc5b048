"""Options that several migration commands share. Separate, since `migrate` imports `runs`."""

from __future__ import annotations

from pathlib import Path

import click

from strongroom.cli.commands.migration import report_view, step

FILE = click.Path(path_type=Path)

yes = click.option("-y", "--yes", is_flag=True, help="Do not ask for confirmation.")
as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
mapping_file = click.option(
    "--mapping-file", metavar="FILE", type=FILE, help="The current path of the plan's mapping file."
)
html = click.option(
    "--report",
    "html",
    metavar="FILE",
    type=FILE,
    callback=report_view.html_option,
    help="Also write the report as an HTML page.",
)
rate = click.option(
    "--rate",
    metavar="N",
    type=click.FloatRange(min=0, min_open=True),
    callback=step.rate_option,
    help="Write at most N secrets a second.",
)
