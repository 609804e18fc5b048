"""Stores named on the command line, as NAME or PLUGIN:LOCATION."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from strongroom.cli.invocation import complete
from strongroom.cli.terminal.confirmation import describe_target

if TYPE_CHECKING:
    from contextlib import ExitStack

    from strongroom.config import Config
    from strongroom.migrate.spi import Failure
    from strongroom.store.boundary.validation import ValidatedStore

_F = TypeVar("_F", bound=Callable[..., Any])


def describe_store(config: Config, name: str) -> str:
    """Return the target store in words, with its addresses, location and environment.

    Raises:
        ConfigurationError, PluginError: the store does not exist, or its options are invalid.
    """
    from strongroom import plugins
    from strongroom.chain.chain import WriteTarget
    from strongroom.migrate.endpoints import located

    config, group = located(config, name, plugins.EXPORTERS)
    return describe_target(WriteTarget(name, frozenset()), config, plugins.settings(config, name, group))


def open_reader(config: Config, name: str, stack: ExitStack) -> tuple[ValidatedStore, Sequence[Failure]]:
    """Open a store, or a source of variables as a store, and close it with the stack.

    Returns:
        The store, and the variables that no mapping rule covers.

    Raises:
        ConfigurationError, PluginError: the store does not exist, or its options are invalid.
        StoreError: it cannot be opened, or read.
    """
    from strongroom import plugins
    from strongroom.migrate.endpoints import located, open_endpoint
    from strongroom.migrate.sources import ImportedStore
    from strongroom.migrate.spi import Importer
    from strongroom.store import SecretStore, time_limit
    from strongroom.store.boundary.enforcement import Boundary
    from strongroom.store.boundary.validation import ValidatedStore

    config, group = located(config, name, plugins.IMPORTERS)
    with time_limit(config.timeout):
        opened = open_endpoint(config, name, group)
    unmapped: Sequence[Failure] = ()
    if not isinstance(opened, SecretStore):
        if not isinstance(opened, Importer):
            raise plugins.broken(config.store(name).plugin, opened, "importer and no store")
        opened = ImportedStore(opened, name, config.timeout)
        unmapped = opened.unmapped
    front = ValidatedStore(opened, name, Boundary(opened, name, limit=config.timeout))
    stack.callback(front.close)
    return front, unmapped


def store_option(verb: str) -> Callable[[_F], _F]:
    """Return the option `--store` of a command that does this with a store of the chain, such as `Write to`."""
    text = f"{verb} this store instead of the first writable one of the chain."
    return click.option("--store", metavar="NAME", shell_complete=complete("store"), help=text)


on_conflict_option = click.option(
    "--on-conflict",
    type=click.Choice(("fail", "skip", "overwrite", "merge")),
    default="fail",
    show_default=True,
    help="What to do if the target has another value.",
)
encrypt_to_option = click.option(
    "--encrypt-to",
    metavar="RECIPIENT",
    multiple=True,
    help="Encrypt the written file to this age recipient. Repeatable.",
)


def with_mapping(config: Config, sources: tuple[str, ...], file: Path | None) -> Config:
    """Return the configuration with this mapping file for every source of variables.

    Raises:
        click.UsageError: no source takes a mapping file.
        ConfigurationError, PluginError: a source does not exist.
    """
    if file is None:
        return config
    from strongroom import plugins
    from strongroom.config import OptionValue, Rank
    from strongroom.migrate.endpoints import named, parse_spec
    from strongroom.migrate.plans.mapping_export import MAPPING_FILE

    stores = dict(config.stores)
    for spec in map(parse_spec, sources):
        name, about = spec.name, named(config, spec)
        if not plugins.offers(plugins.IMPORTERS, about.plugin):
            continue
        if MAPPING_FILE in plugins.schema(config, about.plugin, plugins.IMPORTERS).options:
            given = OptionValue(str(file.absolute()), "--mapping-file", Rank.ARGUMENT)
            stores[name] = about.with_options({MAPPING_FILE: given})
    if stores == dict(config.stores):
        raise click.UsageError("--mapping-file only applies to variables: no source is env, dotenv or the like")
    return replace(config, stores=stores)
