"""`strongroom config show` and `strongroom config check`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

import click

from strongroom import _plugins as plugins
from strongroom._cli.configure.init import init_command
from strongroom._cli.diagnose import examination
from strongroom._cli.exit_codes import code_of_all
from strongroom._cli.options import Invocation, current, json_option
from strongroom._cli.terminal import output
from strongroom._config import Rank, Setting, StoreConfig
from strongroom.errors import ConfigurationError, PluginError, StrongroomError
from strongroom.secret import REDACTED, Value

if TYPE_CHECKING:
    from strongroom._config import Config
    from strongroom._plugins.option_schema import OptionSchema

DEFAULT = "the default"
DEFAULT_IN_PRODUCTION = "the default in production"
DEFAULT_OF_PLUGIN = "the plugin's default"
"""Origins of settings and options that are not configured."""

_DEFAULTS = frozenset({DEFAULT, DEFAULT_IN_PRODUCTION, DEFAULT_OF_PLUGIN})


class Options(NamedTuple):
    """The options of a store, or the error that makes them invalid."""

    settings: Mapping[str, Setting]
    fault: StrongroomError | None = None


@click.group("config")
def config_command() -> None:
    """Show, check or write the configuration that an application would use here.

    Example: strongroom config check
    """


@config_command.command("show")
@click.option("--all", "show_all", is_flag=True, help="Include settings that have their default.")
@json_option("Print a JSON object, including the defaults.")
@current
def show_command(invocation: Invocation, *, show_all: bool, as_json: bool) -> None:
    """Print the configuration, with the origin of each setting.

    It lists the settings, the variables of [secrets], and the options of each store; stores outside the chain, which
    migrations can use, come last. Secret options and tables are redacted. The error of an invalid store is shown in its
    place; in the chain it also sets exit code 7. No store is opened.

    Example: strongroom --environment prod config show
    """
    config = invocation.load()
    stores = _stores(config)
    if as_json:
        output.write_document(_described(config, stores))
    else:
        rows = list(_rows(config, stores))
        listed = [row for row in rows if show_all or row[2] not in _DEFAULTS]
        output.write_listing(("setting", "value", "origin"), listed)
        hidden = len(rows) - len(listed)
        if hidden and output.is_terminal():
            output.say(f"{hidden} settings have their default: --all lists them")
    # A faulty store outside the chain does not fail: the application does not use it.
    faults = [fault for link in config.chain if (fault := stores[link.store].fault)]
    for fault in faults:
        output.say(str(fault))
    click.get_current_context().exit(code_of_all(faults))


config_command.add_command(init_command)


@config_command.command("check")
@json_option()
@current
def check_command(invocation: Invocation, *, as_json: bool) -> None:
    """Check the configuration, the options of the chain's stores, and the rotations. Nothing is opened.

    The chains of the other environments are checked too, as far as they do not depend on the machine.

    It prints nothing if the configuration is valid. Otherwise it prints a line for each fault, with file, table and
    key, and the exit code is 7.

    Example, in CI: strongroom --environment prod config check
    """
    faults = examination.faults(invocation)
    if as_json:
        output.write_document({"ok": not faults, "faults": [str(fault) for fault in faults]})
    for fault in faults:
        output.say(str(fault))
    click.get_current_context().exit(code_of_all(faults))


def settings(config: Config) -> dict[str, Setting]:
    """Return the settings that belong to no store by their names in the configuration file; times are in seconds.

    Links of the chain count from zero, as in messages about the file.
    """
    tables = {"cache": config.cache._asdict(), "audit": config.audit._asdict()}
    plain = {
        "environment": config.environment,
        "production": config.production,
        "timeout": config.timeout,
        **{f"{table}.{name}": value for table, fields in tables.items() for name, value in fields.items()},
    }
    found = {
        name: config.settings.get(name, Setting(value, DEFAULT, Rank.DEFAULT))._replace(secret=False)
        for name, value in plain.items()
    }
    for number, link in enumerate(config.chain):
        policy = link._asdict()
        del policy["settings"]
        for name, value in policy.items():
            stricter = config.production and name in {"on_unavailable", "on_missing_key"}
            default = Setting(value, DEFAULT_IN_PRODUCTION if stricter else DEFAULT, Rank.DEFAULT)
            found[f"chain[{number}].{name}"] = link.settings.get(name, default)._replace(secret=False)
    return found


def _stores(config: Config) -> dict[str, Options]:
    """Return the options of each store, configured ones before defaults, and stores of the chain first."""
    chain = [link.store for link in config.chain]
    others = [name for name, store in config.stores.items() if name not in chain and not store.is_bare]
    return {name: _options(config, name) for name in (*chain, *others)}


def _options(config: Config, store: str) -> Options:
    try:
        given = plugins.store_settings(config, store)
    except (ConfigurationError, PluginError) as error:
        return Options({}, error)
    return Options({**given, **_defaults(plugins.schema(config, store).options, given)})


def _origin(store: StoreConfig) -> str:
    return DEFAULT if store.origin == StoreConfig.bare(store.name).origin else store.origin


def _defaults(schema: Mapping[str, OptionSchema], given: Mapping[str, Setting]) -> dict[str, Setting]:
    return {
        name: Setting(
            option.default, DEFAULT_OF_PLUGIN, Rank.DEFAULT, secret=option.option.secret and option.default is not None
        )
        for name, option in schema.items()
        if name not in given
    }


def _rows(config: Config, stores: Mapping[str, Options]) -> Iterator[tuple[str, str, str]]:
    """Yield setting, value and origin."""
    for name, setting in settings(config).items():
        yield name, _text(_shown(setting)), setting.origin
    for variable, secret in config.secrets.items():
        need = "" if secret.required else ", with a default" if secret.default is not None else ", optional"
        yield f"secrets.{variable}", f"{secret.path}#{secret.key}{need}", secret.origin
    for store, options in stores.items():
        about = config.store(store)
        yield f"stores.{store}.plugin", about.plugin, _origin(about)
        if options.fault:
            yield f"stores.{store}", "", str(options.fault)
        for name, option in options.settings.items():
            yield f"stores.{store}.{name}", _text(_shown(option)), option.origin


def _shown(setting: Setting) -> Value:
    """Return the value in a type of JSON. A secret option, or a table, is redacted."""
    value = setting.value
    if setting.secret or isinstance(value, Mapping):
        return REDACTED
    if isinstance(value, list | tuple):
        return [item if isinstance(item, str | int | float | bool) else str(item) for item in value]
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


def _text(value: Value) -> str:
    if isinstance(value, str) and value.isprintable():
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=True)


def _described(config: Config, stores: Mapping[str, Options]) -> dict[str, Value]:
    chain = {link.store for link in config.chain}
    return {
        "settings": {
            name: {"value": _shown(setting), "origin": setting.origin} for name, setting in settings(config).items()
        },
        "secrets": {
            variable: {
                "path": secret.path,
                "key": secret.key,
                "required": secret.required,
                "has_default": secret.default is not None,
                "origin": secret.origin,
            }
            for variable, secret in config.secrets.items()
        },
        "stores": {
            store: {
                "plugin": config.store(store).plugin,
                "origin": _origin(config.store(store)),
                "in_chain": store in chain,
                "fault": None if options.fault is None else str(options.fault),
                "options": {
                    name: {
                        "value": _shown(option),
                        "redacted": _shown(option) is REDACTED,
                        "origin": option.origin,
                    }
                    for name, option in options.settings.items()
                },
            }
            for store, options in stores.items()
        },
    }
