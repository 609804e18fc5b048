"""What is said of a command line that is wrong: one line, with what to type in its place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import click

from strongroom.errors import PluginError


def explained(error: click.UsageError) -> str:
    """What is wrong, and where the help is.

    An option of `strongroom` itself that stands behind a command's name is not called unknown, nor is one of a command
    that stands before its name.
    """
    context = error.ctx
    misplaced = _misplaced(error.option_name, context) if isinstance(error, click.NoSuchOption) and context else ""
    words = misplaced or " ".join(error.format_message().split())  # click puts choices on lines of their own
    end = "" if words.endswith(("?", "?)", "…")) else "."
    return f"{words.removesuffix('.')}{end} Try '{context.command_path if context else 'strongroom'} --help'"


@contextmanager
def placed(context: click.Context) -> Iterator[None]:
    """In the context of a group: a mistake that click tells without one, as an option that lacks its value, is given
    that of the group's command, whose help says more.
    """
    try:
        yield
    except click.UsageError as error:
        group, name = context.command, context.invoked_subcommand
        if error.ctx is None and isinstance(group, click.Group) and name is not None:
            command = group.get_command(context, name)
            error.ctx = None if command is None else click.Context(command, context, name)
        raise


def is_help(error: click.UsageError) -> bool:
    """Whether this is no message but the help text: click's answer to a group without the name of a command."""
    return error.ctx is not None and error.message == error.ctx.get_help()


def unknown_option(error: click.NoSuchOption, otherwise: str) -> click.UsageError:
    """What is said of an option that a command does not have, where it may be a value in the wrong place.

    Args:
        error: what click says of it, which shows it.
        otherwise: the words, where it is no option of `strongroom` itself, and near to none of the command's.
    """
    context, name = error.ctx, error.option_name
    if context is None or _place(context, name):
        return error
    options = (each for each in context.command.get_params(context) if isinstance(each, click.Option))
    near = nearest(name, (spelling for option in options for spelling in option.opts))
    return click.UsageError(f"No such option. Did you mean {near!r}?" if near else otherwise, context)


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The name that was meant, if one is near."""
    from difflib import get_close_matches

    return next(iter(get_close_matches(name, list(names), n=1)), None)


def _misplaced(name: str, context: click.Context) -> str:
    """Where an option that is not known here stands; nothing where it stands nowhere."""
    if place := _place(context, name):
        command = context.command_path.removeprefix(f"{context.find_root().command_path} ")
        return f"{name} stands before the command: strongroom {place} {command} …"
    if isinstance(context.command, click.Group) and name in _options(context.command, context):
        return f"{name} stands behind the command: {context.command_path} COMMAND {name} …"
    return ""


def _options(group: click.Group, context: click.Context) -> Iterator[str]:
    """The options of the group's commands, all the way down, less those of a plugin that cannot be loaded."""
    for name in group.list_commands(context):
        try:
            command = group.get_command(context, name)
        except PluginError:
            continue
        if command is not None:
            yield from (text for option in command.params for text in option.opts if text.startswith("-"))
        if isinstance(command, click.Group):
            yield from _options(command, context)


def _place(context: click.Context, name: str) -> str:
    """An option of `strongroom` itself as it is typed; nothing where it has none of that name."""
    root = context.find_root()
    for option in root.command.params:
        if context is not root and name in option.opts:
            return name if getattr(option, "is_flag", False) else f"{name} {option.make_metavar(root)}"
    return ""
