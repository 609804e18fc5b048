"""`strongroom run`."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from strongroom.cli import secrets_table
from strongroom.cli.invocation import Invocation, completed, current
from strongroom.cli.process import child_process, lease_keeper
from strongroom.cli.process.store_credentials import without_credentials

if TYPE_CHECKING:
    from strongroom.required_secrets import Requirement

_LOCALES = {"C.UTF-8", "C.utf8", "UTF-8"}
"""What Python puts into LC_CTYPE where it finds no locale but C: https://peps.python.org/pep-0538/"""


@click.command("run", context_settings={"allow_interspersed_args": False})
@click.argument(
    "command",
    nargs=-1,
    required=True,
    type=click.UNPROCESSED,
    metavar="COMMAND...",
    shell_complete=completed("command"),
)
@current
def run_command(invocation: Invocation, command: tuple[str, ...]) -> None:
    """Run COMMAND with the variables of [secrets] in its environment.

    A value of Strongroom takes the place of the one that is there. Where one that is needed does not resolve, COMMAND
    is not started. It does not inherit what opens a store: the tokens in VAULT_*, BAO_* and STRONGROOM_* variables. It
    takes the place of this process, so that signals reach it and its exit code is the exit code. Where a value ends, as
    those of a database engine do, this process stays: it keeps them renewed, passes signals on, and gives them back
    when COMMAND has ended. What --config and --environment say, COMMAND has as STRONGROOM_CONFIG and
    STRONGROOM_ENVIRONMENT.

    Example: strongroom run -- gunicorn app:application
    """
    from strongroom import plugins

    config = invocation.load()
    with secrets_table.asked(config) as (answers, secrets):
        secrets_table.require(answers, f"{command[0]} was not started")
        schemas = {plugin.name: plugin.schema for plugin in plugins.installed()}
        inherited = {**without_credentials(_given(), config, schemas), **_chosen(invocation)}
        variables = environment(inherited, answers)
        code = None
        if ending := lease_keeper.ending(answers):
            with lease_keeper.kept(ending, secrets.resolve, command[0]):
                code = child_process.run_command(command, variables)
    click.get_current_context().exit(_replace_process(command, variables) if code is None else code)


def environment(inherited: Mapping[str, str], answers: Sequence[Requirement]) -> dict[bytes, bytes]:
    """The variables of the command: those that it inherits, and over them those that resolved.

    One that no store has and none is required stays as it is inherited.

    Raises:
        InvalidDataError: names the variable whose value no environment can hold.
    """
    found = {os.fsencode(answer.variable): _content(answer) for answer in answers if answer.resolution is not None}
    return {os.fsencode(name): os.fsencode(value) for name, value in inherited.items()} | found


def _given() -> dict[str, str]:
    """The variables of this process as it was given them: its LC_CTYPE may be Python's, and would be the command's."""
    variables = dict(os.environ)
    if variables.get("LC_CTYPE") in _LOCALES:
        try:
            lines = Path("/proc/self/environ").read_bytes().split(b"\0")
        except OSError:  # no Linux: it does no harm, and may be meant
            return variables
        del variables["LC_CTYPE"]
        for name, _, value in (line.partition(b"=") for line in lines):
            if name == b"LC_CTYPE":
                variables["LC_CTYPE"] = os.fsdecode(value)
    return variables


def _chosen(invocation: Invocation) -> dict[str, str]:
    """The configuration that was chosen on the command line: for an application that reads its own, the same one."""
    found: dict[str, str] = {}
    if invocation.config_file is not None:
        found["STRONGROOM_CONFIG"] = str(invocation.config_file.absolute())
    if invocation.environment:
        found["STRONGROOM_ENVIRONMENT"] = invocation.environment
    return found


def _content(answer: Requirement) -> bytes:
    content = secrets_table.content(answer)
    if b"\0" in content:
        del content
        raise secrets_table.refusal(answer, "it holds a NUL, which no environment variable can hold")
    return content


def _replace_process(command: tuple[str, ...], variables: Mapping[bytes, bytes]) -> int:
    """Becomes the command. Where that fails, a shell's exit code for it."""
    sys.stdout.flush()
    sys.stderr.flush()
    return child_process.exit_code(_become, command, variables)


def _become(command: Sequence[str], variables: Mapping[bytes, bytes]) -> NoReturn:
    # Python ignores these, and what is ignored stays so in the program that takes its place.
    before = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGPIPE, signal.SIGXFSZ)}
    try:
        os.execvpe(command[0], list(command), variables)  # noqa: S606  # running what is asked for is the point
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
