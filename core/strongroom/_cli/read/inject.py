"""`strongroom inject`: a template with the values of its references."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import click

from strongroom._cli.options import Invocation, current
from strongroom._cli.terminal import output
from strongroom._cli.terminal.input import read_file, read_stdin
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
    from strongroom._manager import SecretsManager

    config = invocation.load_trusted()
    text = _read(template)
    with SecretsManager.from_config(config) as secrets:
        content = secrets.interpolate(text).encode()
    if file is None:
        output.write(content, newline=False)
    else:
        output.write_file(file, content)


def _read(template: str) -> str:
    content = read_stdin() if template == "-" else read_file(template, f"The template {template}")
    with suppress(UnicodeDecodeError):
        return SensitiveStr(content.decode())
    del content  # a template may hold values, and the frame of an error can be shown
    raise click.UsageError(f"The template {template}: it is not UTF-8")
