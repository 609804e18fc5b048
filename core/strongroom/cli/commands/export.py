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
    help="How to print them.",
)
@click.option("--reveal", is_flag=True, help="Print the values on a terminal too.")
@current
def export_command(invocation: Invocation, kind: str, *, reveal: bool) -> None:
    """Print the variables of [secrets] with their values, for another program.

    As dotenv, NAME=value for python-dotenv; as json, one object, types kept; as shell, lines to `eval`; as github, what
    a step of GitHub Actions hands to the next ones: masks for the log on stdout, and the variables in the file of
    $GITHUB_ENV. A value that a format cannot hold exactly is refused by its variable's name, and nothing is written;
    so it is when a variable that is needed does not resolve.

    Example: variables=$(strongroom export --format shell) && eval "$variables"
    """
    if output.is_terminal() and not reveal:
        raise click.UsageError("stdout is a terminal, where everybody could read the values: pipe it, or add --reveal")
    if kind == "github":
        _hand_to_runner(invocation)
        return
    answers = _lasting(invocation)
    if kind == "json":
        document = export_formats.as_json(answers)
        _warn_of_readers()
        output.write_json(document)
        return
    text = export_formats.as_dotenv(answers) if kind == "dotenv" else export_formats.as_shell(answers)
    _warn_of_readers()
    output.write(text.encode(), newline=False)


def _hand_to_runner(invocation: Invocation) -> None:
    name = os.environ.get("GITHUB_ENV")
    if not name:
        raise ConfigurationError("GITHUB_ENV is not set: --format github is for a step of GitHub Actions")
    answers = _lasting(invocation)
    content = export_formats.as_github_file(answers, f"strongroom-{secrets.token_hex(16)}").encode()
    _append(name, b"")  # where that fails, nothing is printed
    _mask(answers)
    _append(name, content)


def _append(name: str, content: bytes) -> None:
    """To the file, which is the runner's: it is neither made here, nor given another mode."""
    try:
        with os.fdopen(os.open(name, os.O_WRONLY | os.O_APPEND), "wb") as file:
            # The last step may have left its line open. The runner passes over an empty one.
            file.write(b"\n" * (os.fstat(file.fileno()).st_size > 0) + content if content else b"")
    except OSError as error:
        raise ConfigurationError(f"GITHUB_ENV: {name} cannot be written: {error.strerror}") from None


def _lasting(invocation: Invocation) -> tuple[Requirement, ...]:
    """The answers, each of which outlives this process: what a store makes is given back when the store is closed."""
    from strongroom.required_secrets import State

    answers = secrets_table.ask(invocation.load(), allow_dynamic=False)
    secrets_table.require(answers, "nothing was exported")
    for answer in answers:
        if answer.state is State.DYNAMIC:
            raise UnsupportedOperationError(
                answer.secret.path,
                f"{answer.variable} cannot be exported: it would end with this command",
                hint="Start what needs it with `strongroom run`",
            )
    return answers


def _mask(answers: Sequence[Requirement]) -> None:
    """Before anything else: the runner reads the lines as they come."""
    output.write(export_formats.as_github_masks(answers).encode(), newline=False)


def _warn_of_readers() -> None:
    """Where the shell has put stdout into a file that it made for all to read, before this process began."""
    try:
        mode = os.fstat(sys.stdout.fileno()).st_mode
    except (OSError, ValueError):
        return
    if stat.S_ISREG(mode) and mode & 0o077:
        output.say("others than its owner may read the file that stdout goes to: run chmod 600 on it")
