"""Messages for an invalid command line: one line, with a suggestion of what to type instead."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click

from strongroom.errors import PluginError


def explain(error: click.UsageError) -> str:
    """Return a one-line message that ends with the help command to run.

    A global option after the command's name, and a command's option before it, are reported as misplaced.
    """
    context = error.ctx
    misplaced = _misplaced(error.option_name, context) if isinstance(error, click.NoSuchOption) and context else ""
    text = misplaced or " ".join(error.format_message().split())  # click lists choices on separate lines
    end = "" if text.endswith(("?", "?)", "…")) else "."
    return f"{text.removesuffix('.')}{end} Try '{context.command_path if context else 'strongroom'} --help'"


@contextmanager
def subcommand_context(context: click.Context) -> Iterator[None]:
    """Give a usage error that lacks a context, such as an option without its value, the context of the subcommand."""
    try:
        yield
    except click.UsageError as error:
        group, name = context.command, context.invoked_subcommand
        if error.ctx is None and isinstance(group, click.Group) and name is not None:
            command = group.get_command(context, name)
            error.ctx = None if command is None else click.Context(command, context, name)
        raise


def is_help(error: click.UsageError) -> bool:
    """Return True if the error only carries the help text of a group that was called without a command."""
    return error.ctx is not None and error.message == error.ctx.get_help()


def unknown_option(error: click.NoSuchOption, fallback: str) -> click.UsageError:
    """Return the error for an unknown option that may be a secret value, without repeating it.

    Args:
        error: click's error, which shows the option.
        fallback: message if the option is neither global nor similar to one of the command.
    """
    context, name = error.ctx, error.option_name
    if context is None or _global_option(context, name):
        return error
    similar = error.possibilities
    return click.UsageError(f"No such option. Did you mean {similar[0]!r}?" if similar else fallback, context)


def _misplaced(name: str, context: click.Context) -> str:
    """Return the right place of a misplaced option, or an empty string if no command has it."""
    if option := _global_option(context, name):
        command = context.command_path.removeprefix(f"{context.find_root().command_path} ")
        return f"{name} goes before the command: strongroom {option} {command} …"
    if isinstance(context.command, click.Group) and name in _options(context.command, context):
        return f"{name} goes after the command: {context.command_path} COMMAND {name} …"
    return ""


def _options(group: click.Group, context: click.Context) -> Iterator[str]:
    """Yield the options of all commands below the group, without plugins that fail to load."""
    for name in group.list_commands(context):
        try:
            command = group.get_command(context, name)
        except PluginError:
            continue
        if command is not None:
            yield from (text for option in command.params for text in option.opts if text.startswith("-"))
        if isinstance(command, click.Group):
            yield from _options(command, context)


def _global_option(context: click.Context, name: str) -> str:
    """Return the global option with its metavar, or an empty string for any other name."""
    root = context.find_root()
    for option in root.command.params:
        if context is not root and name in option.opts:
            return name if getattr(option, "is_flag", False) else f"{name} {option.make_metavar(root)}"
    return ""
