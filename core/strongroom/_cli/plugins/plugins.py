"""`strongroom stores`, which shows the options of a store plugin too, and `strongroom plugins`, for every kind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from strongroom._cli import registry
from strongroom._cli.exit_codes import ExitCode
from strongroom._cli.options import complete, json_option
from strongroom._cli.terminal import output
from strongroom.errors import PluginError

if TYPE_CHECKING:
    from strongroom._plugins import Plugin
    from strongroom._plugins.inventory import InstalledPlugin
    from strongroom._plugins.option_schema import OptionSchema


@click.command("stores")
@click.argument("name", required=False, shell_complete=complete("plugins"))
@json_option("Print a JSON object with one entry for each plugin.")
def stores_command(name: str | None, *, as_json: bool) -> None:
    """List the installed store plugins, or the options of the plugin NAME.

    Each plugin is listed with its capabilities beyond reading, or with the reason why it cannot be used: then the exit
    code is 7.

    Example: strongroom stores vault
    """
    from strongroom import _plugins as plugins

    found = plugins.installed(name=name)
    if name is not None and not found:
        raise click.UsageError(f"No store plugin {name} is installed: `strongroom stores` lists the installed plugins")
    if as_json:
        output.write_document({"plugins": [_described_store(plugin) for plugin in found]})
        _exit_if_faulty(found)
        return
    columns: tuple[str, ...] = ("plugin", "distribution", "details")
    rows = [(plugin.name, plugin.distribution, plugin.fault or _capabilities(plugin)) for plugin in found]
    if name is not None:
        columns = ("plugin, option", "type", "details")
        options = found[0].schema.options.values()
        rows += [(f"  {option.name}", option.type_name, _details(option)) for option in options]
    output.write_listing(columns, rows)
    if name is None and output.is_terminal():
        output.say("`strongroom stores NAME` lists the options of a plugin")
    _exit_if_faulty(found)


def _described_store(plugin: Plugin) -> dict[str, Any]:
    known = plugin.schema.capabilities()
    return {
        "name": plugin.name,
        "distribution": plugin.distribution,
        "fault": plugin.fault or None,
        "capabilities": None if known is None else sorted(known[0]),
        "some_capabilities": None if known is None else sorted(known[1]),
        "options": [
            {
                "name": option.name,
                "type": option.type_name,
                "required": option.required,
                "help": option.option.help,
                "variables": list(option.option.ambient),
            }
            for option in plugin.schema.options.values()
        ],
    }


def _capabilities(plugin: Plugin) -> str:
    """Return the capabilities of all its stores, then those that depend on the options or the service."""
    always, sometimes = plugin.schema.capabilities() or (frozenset(), frozenset())
    parts = [", ".join(sorted(always)), f"some: {', '.join(sorted(sometimes))}" if sometimes else ""]
    return "; ".join(part for part in parts if part)


def _details(option: OptionSchema) -> str:
    parts = [option.option.help, "required" if option.required else "", " or ".join(option.option.ambient)]
    return "; ".join(part for part in parts if part)


@click.command("plugins")
@json_option("Print a JSON object with one entry for each plugin.")
def plugins_command(*, as_json: bool) -> None:
    """List every installed plugin of every kind, with its distribution and its fault.

    These are stores, importers, exporters, rotators and commands. Each is loaded, and none is opened. It is
    listed with its distribution, with the version of the store protocol that its stores were written for, and with the
    reason if it cannot be used. The exit code is 7 if a plugin cannot be used.

    Example: strongroom plugins --json
    """
    from strongroom._plugins.inventory import inventory

    found = list(map(_with_command_fault, inventory()))
    if as_json:
        usable = not any(plugin.fault for plugin in found)
        output.write_document({"ok": usable, "plugins": list(map(_described, found))})
    else:
        columns = ("plugin", "kind", "distribution", "protocol", "status")
        output.write_listing(columns, map(_cells, found), map(_row, found))
    _exit_if_faulty(found)


def _with_command_fault(plugin: InstalledPlugin) -> InstalledPlugin:
    from strongroom._plugins import COMMANDS

    if plugin.group != COMMANDS or plugin.fault:
        return plugin
    if registry.is_built_in(plugin.name):
        return plugin._replace(fault=f"The command {plugin.name} is built in: rename the plugin")
    try:
        registry.load(plugin.name)
    except PluginError as error:
        return plugin._replace(fault=str(error))
    return plugin


def _row(plugin: InstalledPlugin) -> tuple[str, ...]:
    protocol = "" if plugin.protocol is None else str(plugin.protocol)
    return plugin.name, plugin.kind, plugin.distribution, plugin.version, protocol, plugin.fault


def _cells(plugin: InstalledPlugin) -> Sequence[str | output.Cell]:
    name, kind, distribution, version, protocol, fault = _row(plugin)
    status = output.state("failed", fault) if fault else output.state("ok")
    return name, kind, f"{distribution} {version}".strip(), protocol, status


def _described(plugin: InstalledPlugin) -> dict[str, Any]:
    empty = {name: None for name in ("distribution", "version", "fault") if not getattr(plugin, name)}
    return {**plugin._asdict(), **empty}


def _exit_if_faulty(found: Sequence[Plugin] | Sequence[InstalledPlugin]) -> None:
    """Exit with the code 7 if one of the plugins cannot be used."""
    if faulty := sum(bool(plugin.fault) for plugin in found):
        output.say(f"{faulty} of {len(found)} plugins cannot be used")
        click.get_current_context().exit(ExitCode.CONFIGURATION)
