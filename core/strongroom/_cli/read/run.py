"""`strongroom run`."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from strongroom._cli.options import Invocation, complete, current, offline_options, read_duration
from strongroom._cli.process import child_process
from strongroom._cli.process.signals import handled
from strongroom._cli.process.store_credentials import without_credentials
from strongroom._cli.read import secret_variables, variable_changes
from strongroom.secret import SensitiveDict, observe

if TYPE_CHECKING:
    from strongroom._cli.read.supervisor import Action
    from strongroom._config import CacheConfig, Config
    from strongroom._manager.secret_files import SecretFiles
    from strongroom.required_secrets import Requirement

# The code of single options is imported late: each command that is started waits for this module.


def _read_action(ctx: click.Context, option: click.Parameter, text: str | None) -> Action | None:
    if text is None:
        return None
    from strongroom._cli.read import supervisor

    return supervisor.read_action(ctx, option, text)


@click.command("run", context_settings={"allow_interspersed_args": False})
@click.option(
    "--on-change",
    "action",
    metavar="ACTION",
    callback=_read_action,
    help="When a value of [secrets] changes: restart, exit, or signal:NAME, such as signal:HUP.",
)
@click.option(
    "--stop-timeout",
    metavar="DURATION",
    default="10s",
    show_default=True,
    callback=read_duration,
    help="Time between SIGTERM and SIGKILL when --on-change ends COMMAND.",
)
@click.option(
    "--env-file",
    "env_files",
    metavar="FILE",
    multiple=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="Set the variables of a .env file too, with values for references strongroom://PATH#KEY. Repeatable.",
)
@click.option(
    "--redact",
    is_flag=True,
    help="Mask the values of secrets in the output of COMMAND, which then appears line by line.",
)
@offline_options
@click.argument(
    "command",
    nargs=-1,
    required=True,
    type=click.UNPROCESSED,
    metavar="COMMAND...",
    shell_complete=complete("files"),
)
@current
def run_command(
    invocation: Invocation,
    command: tuple[str, ...],
    action: Action | None,
    stop_timeout: float,
    env_files: tuple[Path, ...],
    *,
    redact: bool,
) -> None:
    """Run COMMAND with the variables of [secrets] in its environment.

    The variables override inherited ones. COMMAND is not started if a required variable does not resolve. It does not
    inherit the credentials of stores, such as tokens in VAULT_*, BAO_* and STRONGROOM_* variables, and the access keys
    in AWS_* variables if an AWS store is in the chain. It inherits --config, --environment, --offline and --max-age as
    STRONGROOM_CONFIG, STRONGROOM_ENVIRONMENT, STRONGROOM_OFFLINE, and STRONGROOM_CACHE_TTL and _MAX_STALE.

    COMMAND replaces this process, so that it receives signals and sets the exit code. If a value is leased, such as a
    database user, this process stays as the parent of COMMAND: it renews the leases, forwards signals, and revokes the
    leases when COMMAND exits.

    With --on-change this process stays too, and watches the secrets. `restart` ends COMMAND and starts it with the new
    values, `signal:NAME` sends it a signal, and `exit` ends it and exits with code 11. Changes within a second of one
    another count as one. COMMAND keeps running while a required variable does not resolve.

    The variables of --env-file override those of [secrets]. A value that is one reference is watched like a row of
    [secrets]; other references are resolved when COMMAND starts.

    A variable whose row has `as_path` holds the path of a private file with the value. This process stays, and removes
    the file when COMMAND exits. --on-change replaces the file before it restarts or signals COMMAND.

    With --redact this process stays too, and masks every value that it has read in the output of COMMAND, also in
    base64, percent-encoded and as JSON and HTML escape it.

    Example: strongroom run -- gunicorn app:application
    """
    masking = _masking() if redact else contextlib.nullcontext()
    config, texts = _configuration(invocation, env_files)
    with (
        secret_variables.open_rows(config, empty=bool(env_files)) as (answers, secrets),
        masking,
        contextlib.ExitStack() as stack,
    ):
        secret_variables.require(answers, f"{command[0]} was not started")
        files = stack.enter_context(secret_variables.secret_files(answers))
        withheld = without_credentials(os.environ, config)
        inherited = {
            **withheld,
            **_selection(invocation, config.cache),
            **(secrets.interpolate(texts) if texts else {}),
        }
        variables = environment(inherited, answers, files)
        code = None
        if action is not None:
            from strongroom._cli.read import supervisor

            supervised = supervisor.Supervisor(
                command,
                action,
                stop_timeout=stop_timeout,
                rows=variable_changes.Rows(answers, secrets, secrets.resolve),
                environment=partial(environment, inherited, files=files),
            )
            code = child_process.exit_code(supervised.run, command[0])
        elif leased := variable_changes.leased(answers):
            advise = variable_changes.advise_restart(command[0])
            with variable_changes.renewal(leased, secrets.resolve, advise):
                code = child_process.run_command(command, variables)
        elif redact or files is not None:
            code = child_process.run_command(command, variables)
    click.get_current_context().exit(_replace_process(command, variables) if code is None else code)


def _masking() -> contextlib.AbstractContextManager[None]:
    """Return the context that masks the output. The values that are read from now on count."""
    from strongroom._cli.read.redacted_output import redacted_output
    from strongroom._redaction.fingerprints import Fingerprints

    known = Fingerprints(binary=True)
    observe(lambda path, data: known.add_all(data, path))
    return redacted_output(known)


def _configuration(invocation: Invocation, env_files: tuple[Path, ...]) -> tuple[Config, SensitiveDict]:
    """Return the configuration with the rows of the files, and the variables of the files that are text."""
    if not env_files:
        return invocation.load_trusted(), SensitiveDict()
    from strongroom._cli.read import env_file

    found = env_file.read_env_files(env_files)
    return found.laid_over(invocation.load_trusted()), found.texts


def environment(
    inherited: Mapping[str, str], answers: Sequence[Requirement], files: SecretFiles | None = None
) -> dict[bytes, bytes]:
    """Return the inherited variables, overridden by the resolved ones, and write the files that these name.

    An optional variable that did not resolve is inherited.

    Raises:
        InvalidDataError: an environment variable cannot hold a value. The message names the variable.
        ConfigurationError: a file cannot be written.
    """
    answers = secret_variables.with_files(answers, files)
    found = {os.fsencode(answer.variable): _content(answer) for answer in answers if answer.resolution is not None}
    return {os.fsencode(name): os.fsencode(value) for name, value in inherited.items()} | found


def _selection(invocation: Invocation, cache: CacheConfig) -> dict[str, str]:
    """Return the variables that select the same configuration in an application that loads its own."""
    found: dict[str, str] = {}
    if invocation.config_file is not None:
        found["STRONGROOM_CONFIG"] = str(invocation.config_file.absolute())
    if invocation.environment:
        found["STRONGROOM_ENVIRONMENT"] = invocation.environment
    if invocation.offline:
        found["STRONGROOM_OFFLINE"] = "true"
    if invocation.max_age is not None:
        found["STRONGROOM_CACHE_TTL"] = f"{cache.ttl:.3f}"
        found["STRONGROOM_CACHE_MAX_STALE"] = f"{cache.max_stale:.3f}"
    return found


def _content(answer: Requirement) -> bytes:
    content = secret_variables.to_bytes(answer)
    if b"\0" in content:
        del content
        raise secret_variables.refusal(answer, "an environment variable cannot contain a NUL")
    return content


def _replace_process(command: tuple[str, ...], variables: Mapping[bytes, bytes]) -> int:
    """Replace this process by the command. Return a shell's exit code if that fails."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()

    def become() -> NoReturn:
        # Python ignores these signals, and the new program would inherit that.
        with handled((signal.SIGPIPE, signal.SIGXFSZ), signal.SIG_DFL):
            os.execvpe(command[0], command, variables)  # noqa: S606  # the user's own command

    return child_process.exit_code(become, command[0])
