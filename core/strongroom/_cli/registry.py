"""Registry of the commands. A command's module is imported when the command is called, so that a read stays fast."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING

import click

from strongroom.errors import PluginError

if TYPE_CHECKING:
    from collections.abc import Callable

_PACKAGE = "strongroom._cli"

GROUPS: Mapping[str, Mapping[str, str]] = {
    "Read": {
        "get": "read.get:get_command",
        "list": "read.get:list_command",
        "explain": "read.explain:explain_command",
        "run": "read.run:run_command",
        "inject": "read.inject:inject_command",
        "export": "read.export:export_command",
    },
    "Write": {
        "set": "write:set_command",
        "delete": "write:delete_command",
        "generate": "write:generate_command",
    },
    "Versions": {
        "history": "versions.history:history_command",
        "diff": "versions.diff:diff_command",
        "rollback": "versions.history:rollback_command",
        "undelete": "versions.history:undelete_command",
        "destroy": "versions.history:destroy_command",
    },
    "Rotate": {
        "rotate": "rotate:rotate_command",
        "keys": "rotate:keys_command",
    },
    "Helper": {
        "helper": "helper.helper:helper_command",
    },
    "Agents": {
        "agent": "agents.agent:agent_command",
        "mcp": "agents.mcp:mcp_command",
    },
    "Migrate": {
        "migrate": "migrate.migrate:migrate_command",
        "copy": "migrate.copy:copy_command",
        "mapping": "migrate.mapping:mapping_command",
    },
    "Diagnose": {
        "check": "diagnose.check:check_command",
        "doctor": "diagnose.doctor:doctor_command",
        "status": "diagnose.status:status_command",
        "ui": "diagnose.ui:ui_command",
    },
    "Scan": {
        "scan": "scan.scan:scan_command",
    },
    "Maintain": {
        "audit": "maintain.audit:audit_command",
        "cache": "maintain.cache:cache_command",
    },
    "Configure": {
        "config": "configure.config:config_command",
        "trust": "configure.trust:trust_command",
        "types": "configure.types:types_command",
        "import-config": "configure.import_config:import_command",
        "completion": "configure.completion:completion_command",
    },
    "Plugins": {
        "stores": "plugins.plugins:stores_command",
        "plugins": "plugins.plugins:plugins_command",
        "new-plugin": "plugins.new_plugin:new_plugin_command",
    },
}
"""Built-in commands by the group under which `strongroom --help` lists them: name -> MODULE:ATTRIBUTE.

The module is in the folder of the group's name, or is the only one of the group and has its name.
"""

PLUGIN_GROUP = "Plugins"
"""Group of the commands that plugins add."""

_BUILT_IN = {name: target for commands in GROUPS.values() for name, target in commands.items()}

_LONGEST_LOAD = 1.0
"""Seconds that a list of the commands waits for the module of a plugin."""

_SUMMARY_LENGTH = 100
"""Length limit of a command's summary, in characters."""


def names() -> list[str]:
    """Return the names of all commands, including those of plugins."""
    return sorted({*_BUILT_IN, *_plugin_commands()})


def groups() -> dict[str, list[str]]:
    """Return the command names by group, in the order of the help text."""
    found = {group: list(commands) for group, commands in GROUPS.items()}
    found[PLUGIN_GROUP] += sorted(_plugin_commands().keys() - _BUILT_IN.keys())
    return found


def is_built_in(name: str) -> bool:
    """Return True for a command of Strongroom itself, which no plugin can replace."""
    return name in _BUILT_IN


def load(name: str) -> click.Command | None:
    """Return the command, or None if there is none. A plugin cannot replace a built-in command.

    Raises:
        PluginError: two distributions define the command, it cannot be loaded, or it is not a click command.
    """
    if name in _BUILT_IN:
        module, _, attribute = _BUILT_IN[name].partition(":")
        command: object = getattr(import_module(f"{_PACKAGE}.{module}"), attribute)
    elif (loader := _plugin_commands().get(name)) is not None:
        command = loader()
    else:
        return None
    if not isinstance(command, click.Command):
        raise PluginError(f"The plugin {name} is broken: {type(command).__name__} is not a click command")
    _set_summary(command)
    return command


def summary(name: str) -> str:
    """Return a command's summary for a list, or its fault; the empty string if a plugin takes too long to load."""
    from strongroom.store import in_daemon

    try:
        command = load(name) if is_built_in(name) else in_daemon(partial(load, name), name).result(_LONGEST_LOAD)
    except TimeoutError:
        return ""
    except PluginError as error:
        return str(error)
    return command.get_short_help_str() if command else ""


def _plugin_commands() -> Mapping[str, Callable[[], object]]:
    from strongroom import _plugins as plugins  # --version and the built-in commands do not look for plugins here

    return plugins.commands()


def _set_summary(command: click.Command) -> None:
    """Set the full summary of a command and its subcommands, which click would cut to the terminal width."""
    if command.short_help is None:
        command.short_help = command.get_short_help_str(_SUMMARY_LENGTH)
    if isinstance(command, click.Group):
        for subcommand in command.commands.values():
            _set_summary(subcommand)


def packages() -> set[str]:
    """Return the top-level packages of all installed plugins. Their logger names begin with these."""
    from strongroom import _plugins as plugins
    from strongroom._plugins.distributions import entry_points

    points = (point for group in (plugins.STORES, plugins.COMMANDS) for point in entry_points(group))
    return {"strongroom", *(point.module.partition(".")[0] for point in points)}
