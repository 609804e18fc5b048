"""`strongroom stores`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from strongroom.cli.invocation import Invocation, completed, current
from strongroom.cli.terminal import output
from strongroom.plugins import capabilities

if TYPE_CHECKING:
    from strongroom.plugins import Plugin
    from strongroom.plugins.option_schema import OptionSchema


@click.command("stores")
@click.argument("name", required=False, shell_complete=completed("plugin"))
@click.option("--json", "as_json", is_flag=True, help="As a JSON object with an object for each plugin.")
@current
def stores_command(invocation: Invocation, name: str | None, *, as_json: bool) -> None:
    """Print the store plugins that are installed, each with its options; or that of one NAME.

    What its stores can do beyond reading is said where that is known without opening one. A plugin that cannot be used
    is in the list too, with the reason.

    Example: strongroom stores vault
    """
    from strongroom import plugins

    found = [plugin for plugin in plugins.installed() if name is None or plugin.name == name]
    if name is not None and not found:
        raise click.UsageError(f"There is no store plugin {name}: `strongroom stores` lists those that are installed")
    if as_json:
        output.write_document({"plugins": [_described(plugin) for plugin in found]})
        return
    rows: list[tuple[str, str, str]] = []
    for plugin in found:
        rows.append((plugin.name, "", plugin.fault or plugin.distribution))
        if abilities := _abilities(plugin):
            rows.append(("", "can be", abilities))
        rows += [(f"  {option.name}", option.type_name, _sentence(option)) for option in plugin.schema.options.values()]
    if output.is_terminal():
        output.write_table(("plugin, option", "type", ""), rows, color=not invocation.no_color)
    else:
        output.write_rows(rows)


def _described(plugin: Plugin) -> dict[str, Any]:
    known = capabilities.of_any(plugin.schema.stores)
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


def _abilities(plugin: Plugin) -> str:
    """In words: what every one of its stores can be, and what depends on the options or the service."""
    always, sometimes = capabilities.of_any(plugin.schema.stores) or (frozenset(), frozenset())
    parts = [", ".join(sorted(always)), f"some: {', '.join(sorted(sometimes))}" if sometimes else ""]
    return "; ".join(part for part in parts if part)


def _sentence(option: OptionSchema) -> str:
    parts = [option.option.help, "required" if option.required else "", " or ".join(option.option.ambient)]
    return "; ".join(part for part in parts if part)
