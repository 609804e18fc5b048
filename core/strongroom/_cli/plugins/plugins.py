"""`strongroom plugins`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from strongroom._cli import registry
from strongroom._cli.options import json_option
from strongroom._cli.plugins.stores import exit_if_faulty
from strongroom._cli.terminal import output
from strongroom.errors import PluginError

if TYPE_CHECKING:
    from strongroom._plugins.inventory import InstalledPlugin


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
    exit_if_faulty(found)


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
