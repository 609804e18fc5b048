"""`strongroom inject`: a template with the values of its references."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from strongroom.bounded_file import read_bytes
from strongroom.cli.invocation import Invocation, current
from strongroom.cli.terminal import output
from strongroom.cli.write_values import MAX_SIZE
from strongroom.secret import SensitiveStr


@click.command("inject")
@click.argument("template", type=click.Path(allow_dash=True))
@click.option(
    "-o",
    "--output",
    "file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write FILE, which only you can read, instead of stdout.",
)
@current
def inject_command(invocation: Invocation, template: str, file: Path | None) -> None:
    """Print TEMPLATE with a value for each reference strongroom://PATH#KEY in it (- reads stdin).

    Nothing else is replaced. Nothing is written unless every reference resolves.

    Example: strongroom inject app.yaml.template --output /run/app.yaml
    """
    text = _read(template)
    with invocation.open() as secrets:
        content = secrets.interpolate(text).encode()
    if file is None:
        output.write(content, newline=False)
    else:
        output.write_file(file, content)


def _read(template: str) -> str:
    fault, content = "", b""
    try:
        content = sys.stdin.buffer.read(MAX_SIZE + 1) if template == "-" else read_bytes(template, MAX_SIZE)[0]
        if len(content) <= MAX_SIZE:
            return SensitiveStr(content.decode())
        fault = f"it is larger than {MAX_SIZE:,} bytes"
    except UnicodeDecodeError:
        fault = "it is not UTF-8"
    except (OSError, ValueError) as error:
        fault = (error.strerror if isinstance(error, OSError) else None) or "invalid file name"
    del content  # a template may hold values, and the frame of an error can be shown
    raise click.UsageError(f"The template {template}: {fault}")
