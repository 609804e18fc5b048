"""`strongroom export`."""

from __future__ import annotations

import os
import secrets
import stat
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from strongroom.cli import export_formats, secrets_table
from strongroom.cli.invocation import Invocation, current
from strongroom.cli.terminal import output
from strongroom.errors import ConfigurationError, UnsupportedOperationError

if TYPE_CHECKING:
    from strongroom.required_secrets import Requirement


@click.command("export")
@click.option(
    "--format",
    "kind",
    type=click.Choice(["dotenv", "json", "github", "shell"]),
    required=True,
    help="Output format.",
)
@click.option("--reveal", is_flag=True, help="Allow output to a terminal.")
@current
def export_command(invocation: Invocation, kind: str, *, reveal: bool) -> None:
    """Print the variables of [secrets] with their values, for another program.

    The format dotenv prints NAME=value for python-dotenv, json one object with typed values, and shell lines for
    `eval`. In a step of GitHub Actions, github masks the values in the log and sets the variables for later steps in
    $GITHUB_ENV. Nothing is written if a required variable does not resolve, or if the format cannot hold a value
    exactly; the message names the variable.

    Example: variables=$(strongroom export --format shell) && eval "$variables"
    """
    if output.is_terminal() and not reveal:
        raise click.UsageError("stdout is a terminal, and the values would be visible: use a pipe, or --reveal")
    if kind == "github":
        _export_to_github(invocation)
        return
    answers = _exportable_rows(invocation)
    if kind == "json":
        document = export_formats.as_json(answers)
        _warn_if_readable()
        output.write_json(document)
        return
    text = export_formats.as_dotenv(answers) if kind == "dotenv" else export_formats.as_shell(answers)
    _warn_if_readable()
    output.write(text.encode(), newline=False)


def _export_to_github(invocation: Invocation) -> None:
    name = os.environ.get("GITHUB_ENV")
    if not name:
        raise ConfigurationError("GITHUB_ENV is not set: --format github only works in a step of GitHub Actions")
    answers = _exportable_rows(invocation)
    content = export_formats.as_github_file(answers, f"strongroom-{secrets.token_hex(16)}").encode()
    _append(name, b"")  # fail before anything is printed
    _mask(answers)
    _append(name, content)


def _append(name: str, content: bytes) -> None:
    """Append to the runner's file, without creating it or changing its mode."""
    try:
        with os.fdopen(os.open(name, os.O_WRONLY | os.O_APPEND), "wb") as file:
            # An earlier step may have left its last line open. The runner skips empty lines.
            file.write(b"\n" * (os.fstat(file.fileno()).st_size > 0) + content if content else b"")
    except OSError as error:
        raise ConfigurationError(f"Cannot write {name} (GITHUB_ENV): {error.strerror}") from None


def _exportable_rows(invocation: Invocation) -> tuple[Requirement, ...]:
    """Return the resolved rows, none of which is a credential that is revoked when this process ends."""
    from strongroom.required_secrets import State

    answers = secrets_table.resolve_rows(invocation.load(), allow_dynamic=False)
    secrets_table.require(answers, "Nothing was exported")
    for answer in answers:
        if answer.state is State.DYNAMIC:
            raise UnsupportedOperationError(
                answer.secret.path,
                f"cannot export {answer.variable}: it would be revoked when this command ends",
                hint="Use `strongroom run` instead",
            )
    return answers


def _mask(answers: Sequence[Requirement]) -> None:
    """Print the masks, before anything else: the runner reads the lines as they come."""
    output.write(export_formats.as_github_masks(answers).encode(), newline=False)


def _warn_if_readable() -> None:
    """Warn if the shell has redirected stdout to a file that other users can read."""
    try:
        mode = os.fstat(sys.stdout.fileno()).st_mode
    except (OSError, ValueError):
        return
    if stat.S_ISREG(mode) and mode & 0o077:
        output.say("Other users can read the file that stdout is redirected to: run chmod 600 on it")
