"""`strongroom export`."""

from __future__ import annotations

import os
import secrets
import stat
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from strongroom._cli.exit_codes import ExitCode
from strongroom._cli.options import Invocation, current, offline_options
from strongroom._cli.process.signals import until_ended
from strongroom._cli.read import export_formats, secret_variables
from strongroom._cli.read.variable_changes import Reaction, Rows
from strongroom._cli.terminal import output
from strongroom.errors import ConfigurationError, StrongroomError, UnsupportedOperationError

if TYPE_CHECKING:
    from strongroom._manager.secret_files import SecretFiles
    from strongroom.required_secrets import Requirement


@click.command("export")
@click.option(
    "--format",
    "kind",
    type=click.Choice(["dotenv", "json", "github", "shell"]),
    required=True,
    help="Output format.",
)
@click.option(
    "--output",
    "file",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write FILE, with mode 0600 and as a whole, instead of stdout.",
)
@click.option("--watch", is_flag=True, help="Keep running, and write FILE again when a value changes.")
@click.option(
    "--folder",
    metavar="FOLDER",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write the files of rows with as_path into FOLDER, which only you can use.",
)
@click.option("--reveal", is_flag=True, help="Allow output to a terminal.")
@offline_options
@current
def export_command(
    invocation: Invocation, kind: str, file: Path | None, *, watch: bool, folder: Path | None, reveal: bool
) -> None:
    """Print the variables of [secrets] with their values, for another program.

    The format dotenv prints NAME=value for python-dotenv, json one object with typed values, and shell lines for
    `eval`. In a step of GitHub Actions, github masks the values in the log and sets the variables for later steps in
    $GITHUB_ENV. Nothing is written if a required variable does not resolve, or if the format cannot hold a value
    exactly; the message names the variable.

    A variable whose row has `as_path` holds the path of a file in --folder, which stays there until you remove it.
    --watch also works without --folder: its own folder is removed when it ends.

    With --watch the command runs until SIGTERM or Ctrl-C. While a required variable does not resolve, FILE stays as it
    is.

    Example: variables=$(strongroom export --format shell) && eval "$variables"
    """
    if watch and file is None:
        raise click.UsageError("--watch needs --output FILE")
    if file is not None:
        if kind == "github":
            raise click.UsageError("--output is for the formats dotenv, json and shell: github writes $GITHUB_ENV")
        click.get_current_context().exit(_export_to_file(invocation, kind, file, folder, watch=watch))
    if output.is_terminal() and not reveal:
        raise click.UsageError("stdout is a terminal, and the values would be visible: use a pipe, or --reveal")
    if kind == "github":
        _export_to_github(invocation, folder)
        return
    content = _content(kind, _with_files(_exportable_rows(invocation), folder))
    _warn_if_readable()
    output.write(content, newline=False)


def _content(kind: str, answers: Sequence[Requirement]) -> bytes:
    """Return the values in a format."""
    if kind == "json":
        return output.as_json(export_formats.as_json(answers))
    return (export_formats.as_dotenv(answers) if kind == "dotenv" else export_formats.as_shell(answers)).encode()


def _with_files(answers: Sequence[Requirement], folder: Path | None) -> Sequence[Requirement]:
    """Write the files of rows with `as_path` into the folder, and return the rows with their paths."""
    names = [answer.variable for answer in answers if answer.secret.as_path]
    if names and folder is None:
        raise click.UsageError(f"{', '.join(names)}: as_path needs --folder FOLDER, for files that stay")
    with secret_variables.secret_files(answers, folder) as files:
        return secret_variables.with_files(answers, files)


def _export_to_file(invocation: Invocation, kind: str, file: Path, folder: Path | None, *, watch: bool) -> ExitCode:
    config = invocation.load_trusted()
    with secret_variables.open_rows(config, allow_dynamic=False) as (answers, secrets):
        _require_exportable(answers)
        if not watch:
            output.write_file(file, _content(kind, _with_files(answers, folder)))
            return ExitCode.DONE
        with secret_variables.secret_files(answers, folder) as files:
            output.write_file(file, _content(kind, secret_variables.with_files(answers, files)))
            export = _Export(Rows(answers, secrets, partial(secrets.resolve, allow_dynamic=False)), kind, file, files)
            with until_ended() as end, export.rows.watched(Reaction(export.write_again)):
                end.wait()
        return ExitCode.INTERRUPTED if end.interrupted else ExitCode.DONE


class _Export:
    """A file that is kept up to date."""

    def __init__(self, rows: Rows, kind: str, file: Path, files: SecretFiles | None) -> None:
        self.rows = rows
        self._kind = kind
        self._file = file
        self._files = files
        self._fault = ""

    def write_again(self) -> bool:
        """Write the file with the values of now. Return False if that is not possible now."""
        answers = self.rows.resolve()
        try:
            if unmet := [answer.variable for answer in answers if not answer.met]:
                return self._failed(f"{', '.join(unmet)} did not resolve")
            if changed := self.rows.changed(answers):
                named = secret_variables.with_files(answers, self._files)
                output.write_file(self._file, _content(self._kind, named))
                output.say(f"Wrote {self._file} again: {', '.join(changed)} changed")
        except StrongroomError as error:
            return self._failed(str(error))
        self.rows.answers = answers
        self._fault = ""
        return True

    def _failed(self, fault: str) -> bool:
        if fault != self._fault:
            output.say(f"{self._file} keeps the old values: {fault}")
        self._fault = fault
        return False


def _export_to_github(invocation: Invocation, folder: Path | None) -> None:
    name = os.environ.get("GITHUB_ENV")
    if not name:
        raise ConfigurationError("GITHUB_ENV is not set: --format github only works in a step of GitHub Actions")
    answers = _exportable_rows(invocation)
    named = _with_files(answers, folder)
    content = export_formats.as_github_file(named, f"strongroom-{secrets.token_hex(16)}").encode()
    _append(name, b"")  # fail before anything is printed
    # Before anything else: the runner reads the lines as they come.
    output.write(export_formats.as_github_masks(answers).encode(), newline=False)
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
    answers = secret_variables.resolve_rows(invocation.load_trusted(), allow_dynamic=False)
    _require_exportable(answers)
    return answers


def _require_exportable(answers: Sequence[Requirement]) -> None:
    from strongroom.required_secrets import RequirementState

    secret_variables.require(answers, "Nothing was exported")
    for answer in answers:
        if answer.state is RequirementState.DYNAMIC:
            raise UnsupportedOperationError(
                answer.secret.path,
                f"cannot export {answer.variable}: it would be revoked when this command ends",
                hint="Use `strongroom run` instead",
            )


def _warn_if_readable() -> None:
    """Warn if the shell has redirected stdout to a file that other users can read."""
    try:
        mode = os.fstat(sys.stdout.fileno()).st_mode
    except (OSError, ValueError):
        return
    if stat.S_ISREG(mode) and mode & 0o077:
        output.say("Other users can read the file that stdout is redirected to: run chmod 600 on it")
