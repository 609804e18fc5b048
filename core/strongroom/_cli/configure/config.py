"""`strongroom config`: show and check the configuration, or write one from a few questions."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from strongroom import _plugins as plugins
from strongroom._cli.configure.trust import trust_file
from strongroom._cli.diagnose import findings
from strongroom._cli.exit_codes import code_of_all
from strongroom._cli.options import Invocation, current, json_option
from strongroom._cli.terminal import output
from strongroom._config import Rank, Setting, StoreConfig, discovery
from strongroom._config.document import parse_toml, toml_key, toml_string
from strongroom._config.setting_types import members
from strongroom._plugins.option_schema import OptionSchema, Schema
from strongroom.errors import ConfigurationError, PluginError, StrongroomError, shown
from strongroom.files import private
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
    faults = findings.faults(invocation)
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


# --- init -------------------------------------------------------------------------------------------------------------

_FIRST = "vault"
_FALLBACK = "env"


@config_command.command("init")
@click.option(
    "-o",
    "--output",
    "file",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path(discovery.CONFIG_FILE_NAME),
    show_default=True,
    metavar="FILE",
    help="Write this file.",
)
def init_command(file: Path) -> None:
    """Ask a few questions, and write a configuration file.

    It asks for the store, for its address and the like, for a fallback to environment variables, and for the secrets
    that the application needs. It asks for no credential, only for the variable that holds one. An existing file is
    never changed. The written file is trusted.

    Example: strongroom config init
    """
    if os.path.lexists(file):
        raise ConfigurationError(f"{file} exists already: edit it, and run strongroom config check")
    try:
        text = "\n".join(_document())
    except click.Abort as abort:
        if sys.stdin.isatty() or isinstance(abort.__context__, KeyboardInterrupt):  # Ctrl-C or Ctrl-D
            raise
        click.echo(err=True)  # the cursor is beside the question
        raise click.UsageError(f"Stdin ended before the last question, so {file} is not written") from None
    discovery.load(document=parse_toml(text, str(file)))
    with (
        private.faults_as(ConfigurationError, f"Cannot write {file}"),
        os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644), "w", encoding="utf-8") as stream,
    ):
        # Not wider than 0644: a file that others may write is refused.
        os.fchmod(stream.fileno(), os.fstat(stream.fileno()).st_mode & 0o755)
        stream.write(text)
    trust_file(file)
    output.say(f"Wrote {file}. Next: strongroom config check, then strongroom doctor")


def _document() -> Iterator[str]:
    """Ask, and yield the lines of the file."""
    stores = {plugin.name: plugin for plugin in plugins.installed() if not plugin.fault}
    default = _FIRST if _FIRST in stores else _FALLBACK
    kinds = click.Choice(sorted(stores))
    store = str(click.prompt("Where are the secrets?", type=kinds, default=default, err=True))
    options = list(_ask_options(stores[store].schema))
    chain = [store]
    if store != _FALLBACK and click.confirm(
        "Read environment variables if the store lacks a secret?", default=True, err=True
    ):
        chain.append(_FALLBACK)
    yield f"chain = [{', '.join(map(toml_string, chain))}]"
    if click.confirm(
        "Is this for production, where an outage is an error and addresses are https?", default=False, err=True
    ):
        yield "production = true"
    if rows := list(_ask_rows()):
        yield from ("", "[secrets]", *rows)
    if options:
        yield from ("", f"[stores.{toml_key(store)}]", *options)
    yield ""


def _ask_options(schema: Schema) -> Iterator[str]:
    for option in schema.options.values():
        if str not in members(option.hint) and Path not in members(option.hint):
            continue
        if option.option.secret:
            if variable := _ask(option, "the variable that holds "):
                yield f"{option.name} = {{ env = {toml_string(variable)} }}"
        elif _is_asked(option) and (value := _ask(option)):
            yield f"{option.name} = {toml_string(value)}"


def _is_asked(option: OptionSchema) -> bool:
    about = option.option
    return option.required or about.address or about.location or about.locates


def _ask(option: OptionSchema, before: str = "") -> str:
    needed = option.required and not option.option.ambient
    empty = "" if needed else f", empty for {option.default or 'none'}"
    if option.option.ambient:
        empty = f", empty to read {' or '.join(option.option.ambient)}"
    question = f"{option.name}: {before}{option.option.help}{empty}"
    return str(click.prompt(question, default=None if needed else "", show_default=False, err=True)).strip()


def _ask_rows() -> Iterator[str]:
    """Ask for rows of `[secrets]` until an empty line."""
    from strongroom._config.document import Document, Table
    from strongroom._config.secrets_table import read_secrets

    question = "A secret that the application needs, as VARIABLE=PATH#KEY, empty to finish"
    while text := click.prompt(question, default="", show_default=False, err=True):
        variable, separator, reference = text.partition("=")
        if not separator:
            output.say(f"Write VARIABLE=PATH#KEY, not {shown(text)}, or nothing to finish")
            continue
        try:
            read_secrets(Table({variable.strip(): reference.strip()}, Document("the answer"), "secrets"))
        except StrongroomError as error:
            output.say(str(error))
            continue
        yield f"{toml_key(variable.strip())} = {toml_string(reference.strip())}"
