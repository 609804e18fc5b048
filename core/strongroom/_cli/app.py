"""The `strongroom` command group: global options, logging, and the exit code of each failure."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from strongroom import __version__
from strongroom._boundary.plugin_calls import limited_imports
from strongroom._cli import registry
from strongroom._cli.exit_codes import ExitCode, code_of
from strongroom._cli.options import Invocation, complete
from strongroom._cli.terminal import output, streams, usage_errors
from strongroom.errors import StrongroomError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


class _Commands(click.Group):
    """The registered commands. A closed output pipe is turned into an exit code before click handles it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return registry.names()

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return registry.load(cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.exceptions.NoSuchCommand as error:  # click knows no command that is not loaded
            raise click.exceptions.NoSuchCommand(error.command_name, possibilities=registry.names(), ctx=ctx) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        groups = registry.groups()
        width = max(len(name) for names in groups.values() for name in names)
        for group, names in groups.items():
            with formatter.section(group):
                formatter.write_dl([(name.ljust(width), registry.summary(name)) for name in names])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        names = [name for name in registry.names() if name.startswith(incomplete)]
        commands = [CompletionItem(name, help=registry.summary(name)) for name in names]
        return [*commands, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(int(code)), code.meaning) for code in ExitCode])

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        with _closed_pipe_exit():  # --help and --version print while the options are parsed
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        with _closed_pipe_exit(), usage_errors.subcommand_context(ctx):
            result = super().invoke(ctx)
            sys.stdout.flush()
        return result


@contextmanager
def _closed_pipe_exit() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise click.exceptions.Exit(ExitCode.CLOSED_PIPE) from None


_LONGEST_IMPORT = 9.0
"""Seconds that the import of a plugin may take which a command needs."""

_COMMAND = "COMMAND [ARGS]..."
_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
_FILE = click.Path(path_type=Path)


@click.group(cls=_Commands, invoke_without_command=True, subcommand_metavar=_COMMAND, context_settings=_SETTINGS)
@click.option("--config", "config_file", metavar="FILE", type=_FILE, help="Read FILE instead of ./strongroom.toml.")
@click.option(
    "--environment",
    metavar="NAME",
    shell_complete=complete("environments"),
    help="Select an environment of the configuration file.",
)
@click.option("--reason", metavar="TEXT", help="Give the reason of this call, for the audit log.")
@click.option("--verbose", is_flag=True, help="Log each store's answer, and show where a failure occurred.")
@click.option("--no-color", is_flag=True, help="Disable color (NO_COLOR works too).")
@click.version_option(__version__, message="%(version)s")
@click.pass_context
def strongroom(
    ctx: click.Context,
    config_file: Path | None,
    environment: str | None,
    reason: str | None,
    *,
    verbose: bool,
    no_color: bool,
) -> None:
    """Read, write and migrate secrets in a chain of stores.

    Example: strongroom get database/connection password
    """
    ctx.obj = Invocation(config_file, environment, verbose, no_color)
    ctx.color = False if no_color else None  # commands inherit it
    _start_logging(verbose=verbose, color=not no_color)
    if reason is not None:
        _give_reason(ctx, reason)
    if ctx.invoked_subcommand is None:
        output.write_advice(ctx.get_help())
        ctx.exit(ExitCode.USAGE)


def _give_reason(ctx: click.Context, text: str) -> None:
    from strongroom import audit_log

    try:
        ctx.with_resource(audit_log.reason(text))
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param_hint="'--reason'") from None


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code. A failure prints one line on stderr."""
    try:
        with streams.results_only(), limited_imports(_LONGEST_IMPORT):
            result = strongroom.main(list(arguments), prog_name="strongroom", standalone_mode=False)
    except click.UsageError as error:
        if usage_errors.is_help(error):
            output.write_advice(error.format_message())
        else:
            output.say(usage_errors.explain(error))
        return ExitCode.USAGE
    except click.ClickException as error:  # of a plugin: message and exit code are its choice
        output.say(error.format_message())
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return ExitCode.INTERRUPTED
    except StrongroomError as error:
        output.say(str(error))
        _show_frames(error)
        return code_of(error)
    except SystemExit:  # of a plugin's command: its exit code is its choice
        raise
    except BaseException as error:  # noqa: BLE001  # a bug: the message may hold a secret, so only the class is shown
        if isinstance(error, OSError) and (fault := _stdout_fault(error)):
            output.say(f"Cannot write the output to stdout: {fault}")
        else:
            hint = "" if _is_verbose() else ". Run strongroom --verbose to see where"
            output.say(f"Unexpected failure: {type(error).__name__}{hint}")
            _show_frames(error)
    else:
        return result if isinstance(result, int) else ExitCode.DONE
    return ExitCode.FAILED


def _stdout_fault(error: OSError) -> str | None:
    return error.strerror if isinstance(error, streams.UnwritableError) else streams.stdout_fault()


def _show_frames(error: BaseException) -> None:
    """With --verbose, show the frames alone: source lines, locals and messages of causes may hold values."""
    if _is_verbose():
        for frame in traceback.extract_tb(error.__traceback__):
            output.say(f"  at {frame.filename}:{frame.lineno} in {frame.name}")


_COLORS = {logging.WARNING: "yellow", logging.ERROR: "red", logging.CRITICAL: "red"}


class _StderrHandler(logging.Handler):
    """Log handler that prints each record on one line, and a repeated warning once, as in `check --wait`."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._printed: set[str] = set()
        self._color = False

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if record.levelno >= logging.WARNING:
            if message in self._printed:
                return
            self._printed.add(message)
        color = _COLORS.get(record.levelno) if self._color else None
        output.say(message, label=record.levelname.lower(), color=color)

    def start(self, level: int, *, color: bool) -> None:
        """Set the level for one command, and forget the warnings of the last one."""
        self.setLevel(level)
        self._color = color
        self._printed.clear()


log_handler = _StderrHandler()


def _is_verbose() -> bool:
    return log_handler.level <= logging.DEBUG


def _start_logging(*, verbose: bool, color: bool) -> None:
    """Print warnings of all loggers, and with `verbose` everything that Strongroom and its plugins log.

    Other libraries stay at warnings: their debug output may hold the body of a response.
    """
    level = logging.DEBUG if verbose else logging.WARNING
    log_handler.start(level, color=color)
    logging.getLogger().addHandler(log_handler)
    for package in registry.packages() if verbose else ():
        logging.getLogger(package).setLevel(level)
