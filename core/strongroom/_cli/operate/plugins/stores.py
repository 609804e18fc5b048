"""`strongroom stores`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import click

from strongroom._cli.exit_codes import ExitCode, code_of_all
from strongroom._cli.options import Invocation, complete, current, json_option
from strongroom._cli.terminal import output

if TYPE_CHECKING:
    from strongroom._plugins import Plugin
    from strongroom._plugins.option_schema import OptionSchema


@click.command("stores")
@click.argument("name", required=False, shell_complete=complete("plugins_or_store"))
@click.option("--check", is_flag=True, help="Check the configured store NAME, which is read and never written.")
@json_option("Print a JSON object with one entry for each plugin or check.")
@current
def stores_command(invocation: Invocation, name: str | None, *, check: bool, as_json: bool) -> None:
    """List the installed store plugins, or the options of the plugin NAME.

    Each plugin is listed with its capabilities beyond reading, or with the reason why it cannot be used: then the exit
    code is 7.

    With --check, NAME is a store of the configuration, or PLUGIN:LOCATION. It is opened, and checked by the part of
    the contract strongroom.testing.StoreContract that writes nothing: absences, lists, reads, versions, health, logs.
    Up to ten of its secrets are read, and no value is shown. The exit code is 7 if the plugin breaks a rule;
    otherwise it is that of the gravest error of the store.

    Example: strongroom stores --check vault
    """
    from strongroom import _plugins as plugins

    if check:
        if name is None:
            raise click.UsageError("--check needs the NAME of a store")
        _check(invocation, name, as_json=as_json)
    found = plugins.installed(name=name)
    if name is not None and not found:
        raise click.UsageError(f"No store plugin {name} is installed: `strongroom stores` lists the installed plugins")
    if as_json:
        output.write_document({"plugins": [_described(plugin) for plugin in found]})
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


def _exit_if_faulty(found: Sequence[Plugin]) -> None:
    if faulty := sum(bool(plugin.fault) for plugin in found):
        output.say(f"{faulty} of {len(found)} plugins cannot be used")
        click.get_current_context().exit(ExitCode.CONFIGURATION)


def _check(invocation: Invocation, name: str, *, as_json: bool) -> NoReturn:
    """Check a store by the read-only part of the contract, print the results, and exit with the gravest fault.

    Raises:
        ConfigurationError, PluginError: the store does not exist, its options are invalid, or it lacks a package.
        StoreError: it cannot be opened.
    """
    from strongroom import _plugins as plugins
    from strongroom._boundary.guard import GuardedStore
    from strongroom.migrate.endpoints import located
    from strongroom.store import time_limit
    from strongroom.testing.inspection import Inspection

    config, _ = located(invocation.load(), name, plugins.STORES)
    known = [secret.path for secret in config.secrets.values()]
    with time_limit(config.timeout):
        store = GuardedStore.open(plugins.opener(config, name), name)
    results = list(Inspection(store, known, config.timeout).results())
    failed = [result for result in results if result.state == "failed"]
    if as_json:
        checks = [
            {"name": result.name, "state": result.state.value, "seconds": result.seconds, "detail": result.detail}
            for result in results
        ]
        output.write_document({"ok": not failed, "store": name, "checks": checks})
    else:
        rows = (
            (result.name, output.state(result.state.value), f"{result.seconds * 1000:.1f} ms", result.detail)
            for result in results
        )
        output.write_listing(("check", "status", "took", "details"), rows)
    if failed:
        output.say(f"{len(failed)} of {len(results)} checks of store {name} failed")
    errors = [result.error for result in failed if result.error is not None]
    broken = len(errors) < len(failed)
    click.get_current_context().exit(ExitCode.CONFIGURATION if broken else code_of_all(errors))


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
