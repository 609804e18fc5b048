"""`strongroom config show` and `strongroom config check`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from strongroom import plugins
from strongroom.cli import output
from strongroom.cli.exit_codes import code_of_all
from strongroom.cli.invocation import Invocation, current
from strongroom.config import Rank
from strongroom.errors import ConfigurationError, PluginError, StrongroomError
from strongroom.model import REDACTED, Value
from strongroom.plugins.setting import Setting

if TYPE_CHECKING:
    from strongroom.config import Config
    from strongroom.plugins.options import OptionSchema

DEFAULT = "the plugin's default"
"""Where an option comes from that no source gives."""


@click.group("config")
def config_command() -> None:
    """Show or check the configuration that the application would have here.

    Example: strongroom config check
    """


@config_command.command("show")
@click.option("--json", "as_json", is_flag=True, help="As a JSON object.")
@current
def show_command(invocation: Invocation, *, as_json: bool) -> None:
    """Print every setting, and every option of each store of the chain with where it came from.

    A secret option is redacted, and so is every table: what is in one is known to its plugin alone. Nothing is opened.

    Example: strongroom --environment prod config show
    """
    config = invocation.load()
    stores = _stores(config)
    if as_json:
        output.write_document(_described(config, stores))
        return
    rows = [(name, _text(value), "") for name, value in settings(config).items()]
    for store, options in stores.items():
        rows.append((f"stores.{store}.plugin", config.store(store).plugin, config.store(store).origin))
        rows += [
            (f"stores.{store}.{name}", _text(_shown(setting)), setting.origin) for name, setting in options.items()
        ]
    if output.is_terminal():
        output.write_table(("setting", "value", "from"), rows, color=not invocation.no_color)
    else:
        output.write_lines("\t".join(row) for row in rows)


@config_command.command("check")
@click.option("--json", "as_json", is_flag=True, help="As a JSON object.")
@current
def check_command(invocation: Invocation, *, as_json: bool) -> None:
    """Check the configuration and the options of every store of the chain, without opening one.

    It prints nothing where all is well, else a line for each fault that names the file, the table and the key: exit
    code 7.

    Example, in CI: strongroom --environment prod config check
    """
    faults = _faults(invocation)
    if as_json:
        output.write_document({"ok": not faults, "faults": [str(fault) for fault in faults]})
    for fault in faults:
        output.say(str(fault))
    click.get_current_context().exit(code_of_all(faults))


def settings(config: Config) -> dict[str, Value]:
    """The settings that belong to no store, by the names that the configuration file has for them; times in seconds.

    A link of the chain counts from zero, as in messages about the file.
    """
    found: dict[str, Value] = {
        "environment": config.environment,
        "production": config.production,
        "timeout": config.timeout,
        "cache.ttl": config.cache.ttl,
        "cache.max_stale": config.cache.max_stale,
        "cache.missing_ttl": config.cache.missing_ttl,
        "cache.max_entries": config.cache.max_entries,
    }
    for number, link in enumerate(config.chain):
        about = f"chain[{number}]"
        found[f"{about}.store"] = link.store
        found[f"{about}.paths"] = list(link.paths)
        found[f"{about}.timeout"] = link.timeout
        found[f"{about}.on_unavailable"] = link.on_unavailable
        found[f"{about}.on_denied"] = link.on_denied
        found[f"{about}.on_missing_key"] = link.on_missing_key
    return found


def _faults(invocation: Invocation) -> list[StrongroomError]:
    """What is wrong: with what is read first, since nothing else is known then, or with the stores, one each."""
    try:
        config = invocation.load()
    except ConfigurationError as error:
        return [error]
    found: list[StrongroomError] = []
    for link in config.chain:
        try:
            plugins.settings(config, link.store)
        except (ConfigurationError, PluginError) as error:
            found.append(error)
    return found


def _stores(config: Config) -> dict[str, Mapping[str, Setting]]:
    """The options of each store of the chain: those that a source gives, then the plugin's own defaults."""
    given = {link.store: plugins.settings(config, link.store) for link in config.chain}
    schemas = {plugin.name: plugin.schema.options for plugin in plugins.installed()}
    return {
        store: {**options, **_defaults(schemas[config.store(store).plugin], options)}
        for store, options in given.items()
    }


def _defaults(schema: Mapping[str, OptionSchema], given: Mapping[str, Setting]) -> dict[str, Setting]:
    return {
        name: Setting(option.default, DEFAULT, option.option.secret and option.default is not None, Rank.DOTENV)
        for name, option in schema.items()
        if name not in given
    }


def _shown(setting: Setting) -> Value:
    """What may be seen of an option."""
    value = setting.value
    if setting.secret or isinstance(value, Mapping):
        return REDACTED
    if isinstance(value, list):
        return [item if isinstance(item, str | int | float | bool) else str(item) for item in value]
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


def _text(value: Value) -> str:
    if isinstance(value, str) and value.isprintable():
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=True)


def _described(config: Config, stores: Mapping[str, Mapping[str, Setting]]) -> dict[str, Value]:
    return {
        "settings": settings(config),
        "stores": {
            store: {
                "plugin": config.store(store).plugin,
                "origin": config.store(store).origin,
                "options": {
                    name: {
                        "value": _shown(setting),
                        "redacted": _shown(setting) is REDACTED,
                        "origin": setting.origin,
                    }
                    for name, setting in options.items()
                },
            }
            for store, options in stores.items()
        },
    }
