"""`strongroom` itself: the options before the command, and what every failure becomes."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from strongroom.cli import registry
from strongroom.cli.exit_codes import ExitCode, code_of
from strongroom.cli.invocation import Invocation, completed
from strongroom.cli.terminal import output, usage_errors
from strongroom.cli.terminal.streams import UnwritableError
from strongroom.errors import PluginError, StrongroomError


class _Commands(click.Group):
    """The commands of the registry. A closed output pipe ends a command here, before click makes a failure of it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return registry.names()

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return registry.load(cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if not (ctx.resilient_parsing or name.startswith("-")) and self.get_command(ctx, name) is None:
            near = usage_errors.nearest(name, registry.names())
            meant = f". Did you mean {near!r}?" if near else ""
            raise click.UsageError(f"No such command {name!r}{meant}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, self._summary(name)) for name in registry.names()])

    def _summary(self, name: str) -> str:
        try:
            command = registry.load(name)
        except PluginError as error:
            return str(error)
        return command.get_short_help_str() if command else ""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(int(code)), code.meaning) for code in ExitCode])

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        with _closed_pipe_is_an_end():  # --help and --version print while the options are read
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        with _closed_pipe_is_an_end(), usage_errors.placed(ctx):
            result = super().invoke(ctx)
            sys.stdout.flush()
        return result


@contextmanager
def _closed_pipe_is_an_end() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise click.exceptions.Exit(ExitCode.CLOSED_PIPE) from None


_COMMAND = "COMMAND [ARGS]..."
_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
_FILE = click.Path(path_type=Path)


@click.group(cls=_Commands, invoke_without_command=True, subcommand_metavar=_COMMAND, context_settings=_SETTINGS)
@click.option("--config", "config_file", metavar="FILE", type=_FILE, help="Read this file, not ./strongroom.toml.")
@click.option(
    "--environment",
    metavar="NAME",
    shell_complete=completed("environment"),
    help="Use this one of the file's environments.",
)
@click.option("--verbose", is_flag=True, help="Say what each store answered, and where a failure happened.")
@click.option("--no-color", is_flag=True, help="Plain text. The variable NO_COLOR takes the colours away too.")
@click.version_option(package_name="strongroom", message="%(version)s")
@click.pass_context
def strongroom(
    ctx: click.Context, config_file: Path | None, environment: str | None, *, verbose: bool, no_color: bool
) -> None:
    """Secrets from a chain of stores.

    Example: strongroom get database/connection password
    """
    ctx.obj = Invocation(config_file, environment, verbose, no_color)
    _start_logging(verbose=verbose)
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help(), err=True)
        ctx.exit(ExitCode.USAGE)


def run(arguments: Sequence[str]) -> int:
    """Runs one command and returns its exit code. A failure is one line on stderr."""
    try:
        result = strongroom.main(list(arguments), prog_name="strongroom", standalone_mode=False)
    except click.UsageError as error:
        if usage_errors.is_help(error):
            click.echo(error.format_message(), err=True)
        else:
            output.say(usage_errors.explained(error))
        return ExitCode.USAGE
    except click.ClickException as error:  # a plugin's own, with words and a code of its choice
        output.say(error.format_message())
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return ExitCode.INTERRUPTED
    except StrongroomError as error:
        output.say(str(error))
        _say_where(error)
        return code_of(error)
    except UnwritableError as error:
        output.say(f"The output cannot be written to stdout: {error.strerror}")
    except Exception as error:  # noqa: BLE001  # a bug; its message may hold anything, so only its kind is shown
        hint = "" if _is_verbose() else "; strongroom --verbose says where"
        output.say(f"Unexpected failure: {type(error).__name__}{hint}")
        _say_where(error)
    else:
        return result if isinstance(result, int) else ExitCode.DONE
    return ExitCode.UNEXPECTED


def _say_where(error: Exception) -> None:
    """The frames, on demand, and no more: source lines, locals and the messages of causes may show values."""
    if _is_verbose():
        for frame in traceback.extract_tb(error.__traceback__):
            output.say(f"  at {frame.filename}:{frame.lineno} in {frame.name}")


class _StderrHandler(logging.Handler):
    """A line for each record; a warning that is given again, as in each round of `check --wait`, is said once."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._said: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        message = f"{record.levelname.lower()}: {record.getMessage()}"
        if record.levelno < logging.WARNING:
            output.say(message)
        elif message not in self._said:
            self._said.add(message)
            output.say(message)

    def begin(self, level: int) -> None:
        """From here on this level and those above it, with nothing said yet."""
        self.setLevel(level)
        self._said.clear()


_log_handler = _StderrHandler()


def _is_verbose() -> bool:
    return _log_handler.level <= logging.DEBUG


def _start_logging(*, verbose: bool) -> None:
    """Warnings of anybody to stderr; with `verbose`, all that Strongroom and the installed stores log.

    The libraries beneath them stay at warnings: what they log at DEBUG may hold a reply's body.
    """
    level = logging.DEBUG if verbose else logging.WARNING
    _log_handler.begin(level)
    logging.getLogger().addHandler(_log_handler)
    for package in registry.packages() if verbose else ():
        logging.getLogger(package).setLevel(level)
