"""Stores named on the command line, as NAME or PLUGIN:LOCATION."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from strongroom.cli.terminal.confirmation import describe_target

if TYPE_CHECKING:
    from contextlib import ExitStack

    from strongroom.config import Config
    from strongroom.migrate.spi import Failure
    from strongroom.store.boundary.validation import ValidatedStore


def describe_store(config: Config, name: str) -> str:
    """Return the target store in words, with its addresses, location and environment.

    Raises:
        ConfigurationError, PluginError: the store does not exist, or its options are invalid.
    """
    from strongroom import plugins
    from strongroom.chain.target import WriteTarget
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
