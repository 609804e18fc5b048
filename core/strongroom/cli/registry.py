"""Which commands there are, and the module of each, imported when it is called: a read pays for no other command."""

from __future__ import annotations

from importlib import import_module

import click

from strongroom import plugins
from strongroom.errors import PluginError
from strongroom.plugins.distributions import entry_points

BUILT_IN = {
    "check": ("strongroom.cli.commands.check", "check_command"),
    "completion": ("strongroom.cli.commands.completion", "completion_command"),
    "config": ("strongroom.cli.commands.config", "config_command"),
    "copy": ("strongroom.cli.commands.migration.copy", "copy_command"),
    "delete": ("strongroom.cli.commands.write", "delete_command"),
    "destroy": ("strongroom.cli.commands.versions", "destroy_command"),
    "diff": ("strongroom.cli.commands.diff", "diff_command"),
    "explain": ("strongroom.cli.commands.explain", "explain_command"),
    "doctor": ("strongroom.cli.commands.doctor", "doctor_command"),
    "export": ("strongroom.cli.commands.export", "export_command"),
    "get": ("strongroom.cli.commands.read", "get_command"),
    "history": ("strongroom.cli.commands.versions", "history_command"),
    "list": ("strongroom.cli.commands.read", "list_command"),
    "mapping": ("strongroom.cli.commands.migration.mapping", "mapping_command"),
    "migrate": ("strongroom.cli.commands.migration.migrate", "migrate_command"),
    "rollback": ("strongroom.cli.commands.versions", "rollback_command"),
    "run": ("strongroom.cli.commands.run", "run_command"),
    "set": ("strongroom.cli.commands.write", "set_command"),
    "trust": ("strongroom.cli.commands.trust", "trust_command"),
    "stores": ("strongroom.cli.commands.stores", "stores_command"),
    "undelete": ("strongroom.cli.commands.versions", "undelete_command"),
}

_LONGEST = 100
"""The longest summary of a command, in characters."""


def names() -> list[str]:
    """The name of every command, installed plugins' among them."""
    return sorted({*BUILT_IN, *plugins.commands()})


def load(name: str) -> click.Command | None:
    """The command of this name, or None. A plugin cannot take the name of a command that is always there.

    Raises:
        PluginError: two distributions have a command of this name, or it cannot be loaded, or it is no click command.
    """
    if name in BUILT_IN:
        module, attribute = BUILT_IN[name]
        command: object = getattr(import_module(module), attribute)
    elif (loader := plugins.commands().get(name)) is not None:
        command = loader()
    else:
        return None
    if not isinstance(command, click.Command):
        raise PluginError(f"The plugin {name} is broken: it is {type(command).__name__}, which is no click command")
    _summarize(command)
    return command


def _summarize(command: click.Command) -> None:
    """Gives a command, and each below it, the whole summary for a list of commands: click cuts it to the width."""
    if command.short_help is None:
        command.short_help = command.get_short_help_str(_LONGEST)
    if isinstance(command, click.Group):
        for each in command.commands.values():
            _summarize(each)


def packages() -> set[str]:
    """The top package of everything that is installed for Strongroom: the names that their loggers begin with."""
    points = (point for group in (plugins.STORES, plugins.COMMANDS) for point in entry_points(group))
    return {"strongroom", *(point.module.partition(".")[0] for point in points)}
