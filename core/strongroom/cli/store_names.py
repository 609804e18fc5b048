"""Where the stores that a command line names are, in words: each is NAME or PLUGIN:LOCATION."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from strongroom.cli.terminal.confirmation import described
from strongroom.errors import shown

if TYPE_CHECKING:
    from contextlib import ExitStack

    from strongroom.config import Config
    from strongroom.migrate.spi import Failure
    from strongroom.store.guard import GuardedStore


def target_in_words(config: Config, name: str) -> str:
    """The store that is written to: its addresses and its place there, and the environment.

    Raises:
        ConfigurationError, PluginError: there is no such store, or its options are wrong.
    """
    from strongroom import plugins
    from strongroom.chain.chain import WriteTarget

    config, group = placed_at(config, name, plugins.EXPORTERS)
    return described(WriteTarget(name, frozenset()), config, plugins.settings(config, name, group))


def placed_at(config: Config, name: str, group: str) -> tuple[Config, str]:
    """The configuration with the store that the name means, under that whole name, and the group of its plugin.

    Args:
        config: the configuration.
        name: NAME or PLUGIN:LOCATION.
        group: of the plugin that is preferred: `plugins.IMPORTERS` or `plugins.EXPORTERS`.

    Raises:
        ConfigurationError, PluginError: there is no such store, or it takes no LOCATION.
    """
    from strongroom import plugins
    from strongroom.migrate.endpoints.store_spec import named, parse_spec, placed

    spec = parse_spec(name)
    plugin = named(config, spec).plugin
    group = group if plugins.offers(group, plugin) else plugins.STORES
    return placed(config, spec, plugins.schema(config, plugin, group)), group


def open_reader(config: Config, name: str, stack: ExitStack) -> tuple[GuardedStore, Sequence[Failure]]:
    """The store to read, closed with the stack; variables as the secrets that they are folded into.

    Returns:
        It, and what it has and no rule says the place of.

    Raises:
        ConfigurationError, PluginError: there is no such store, or its options are wrong.
        StoreError: it could not be opened, or read.
    """
    from strongroom import plugins
    from strongroom.migrate.endpoints.sources import ImportedStore
    from strongroom.migrate.endpoints.store_spec import prepare_source
    from strongroom.store import SecretStore
    from strongroom.store.guard import open_guarded

    config, _ = placed_at(config, name, plugins.IMPORTERS)
    opener = prepare_source(config, name)
    unmapped: list[Failure] = []

    def open_store() -> SecretStore:
        opened = opener()
        if isinstance(opened, SecretStore):
            return opened
        store = ImportedStore(opened)
        unmapped.extend(store.unmapped)
        return store

    front = open_guarded(open_store, name)
    stack.callback(front.close)
    return front, unmapped


encrypt_to_option = click.option(
    "--encrypt-to",
    metavar="RECIPIENT",
    multiple=True,
    help="Encrypt the file that is written to this age recipient. Repeat it for more.",
)


def listed(names: tuple[str, ...]) -> str:
    """The names of stores, in one phrase."""
    *most, last = map(shown, names)
    return f"{', '.join(most)} and {last}" if most else last


def with_mapping(config: Config, sources: tuple[str, ...], file: Path | None) -> Config:
    """The configuration in which the sources of variables read that mapping file.

    Raises:
        click.UsageError: none of the sources takes one.
        ConfigurationError, PluginError: there is no such source.
    """
    if file is None:
        return config
    from strongroom import plugins
    from strongroom.config import OptionValue, Rank
    from strongroom.migrate.endpoints.store_spec import named, parse_spec
    from strongroom.migrate.plans.mapping import MAPPING_FILE

    stores = dict(config.stores)
    for spec in map(parse_spec, sources):
        name, about = spec.name, named(config, spec)
        if not plugins.offers(plugins.IMPORTERS, about.plugin):
            continue
        if MAPPING_FILE in plugins.schema(config, about.plugin, plugins.IMPORTERS).options:
            given = OptionValue(str(file.absolute()), "--mapping-file", Rank.ARGUMENT)
            stores[name] = replace(about, options={**about.options, MAPPING_FILE: given})
    if stores == dict(config.stores):
        raise click.UsageError("--mapping-file is for variables: none of the sources, such as env or dotenv, takes one")
    return replace(config, stores=stores)
