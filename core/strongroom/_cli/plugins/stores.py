"""`strongroom stores`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from strongroom._cli.exit_codes import ExitCode
from strongroom._cli.options import complete, json_option
from strongroom._cli.terminal import output

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
        output.write_document({"plugins": [_described(plugin) for plugin in found]})
        exit_if_faulty(found)
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
    exit_if_faulty(found)


def exit_if_faulty(found: Sequence[Plugin] | Sequence[InstalledPlugin]) -> None:
    """Exit with the code 7 if one of the plugins cannot be used."""
    if faulty := sum(bool(plugin.fault) for plugin in found):
        output.say(f"{faulty} of {len(found)} plugins cannot be used")
        click.get_current_context().exit(ExitCode.CONFIGURATION)


def _described(plugin: Plugin) -> dict[str, Any]:
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
