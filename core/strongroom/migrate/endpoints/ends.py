"""The two ends of a migration, opened by the name of a store: what it reads from, and what it writes to.

An importer of a plugin's name comes before the store of that name, and so does an exporter: `env` as a source is every
variable, with those that no rule names, where the store `env` is only what the mapping knows; `dotenv` as a target is a
file that is written, where the store is read-only. Either may return a store all the same: ask first whether it is one,
since a store that can be written to has the method of an exporter too.
"""

from __future__ import annotations

from collections.abc import Callable

from strongroom import plugins
from strongroom.config import Config
from strongroom.migrate.spi import Exporter, Importer
from strongroom.store import SecretStore


def prepare_source(config: Config, store: str) -> Callable[[], Importer | SecretStore]:
    """Checks the plugin and the options of a source now, and returns what opens it.

    Raises:
        PluginError, ConfigurationError: as `plugins.prepare` does; when called, also that what it gives is neither.
    """
    plugin, opener = _opener(config, store, plugins.IMPORTERS)

    def open_source() -> Importer | SecretStore:
        opened = opener()
        if isinstance(opened, SecretStore | Importer):
            return opened
        raise plugins.broken(plugin, opened, "importer and no store")

    return open_source


def prepare_target(config: Config, store: str) -> Callable[[], Exporter | SecretStore]:
    """Checks the plugin and the options of a target now, and returns what opens it.

    Raises:
        PluginError, ConfigurationError: as `plugins.prepare` does; when called, also that what it gives is neither.
    """
    plugin, opener = _opener(config, store, plugins.EXPORTERS)

    def open_target() -> Exporter | SecretStore:
        opened = opener()
        if isinstance(opened, SecretStore | Exporter):
            return opened
        raise plugins.broken(plugin, opened, "exporter and no store")

    return open_target


def _opener(config: Config, store: str, group: str) -> tuple[str, Callable[[], object]]:
    plugin = config.store(store).plugin
    return plugin, plugins.prepare_any(config, store, group if plugins.offers(group, plugin) else plugins.STORES)
