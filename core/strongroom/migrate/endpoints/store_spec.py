"""The name of a store on a command line, `NAME` or `NAME:LOCATION`, and the plugin and options that it stands for.

An importer of a plugin's name is preferred to the store of that name, and so is an exporter. The source `env` is every
variable, including those without a mapping, while the store `env` knows only the mapped ones. The target `dotenv` is a
file that is written, while the store `dotenv` is read-only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from strongroom import plugins
from strongroom.config import Config, OptionValue, Rank, StoreConfig
from strongroom.errors import ConfigurationError, shown
from strongroom.migrate.spi import Exporter, Importer
from strongroom.plugins.option_schema import Schema
from strongroom.store import SecretStore

_SHORT_NAMES: Mapping[str, str] = {"k8s": "kubernetes"}
"""Other names of plugins on a command line."""

_ENCRYPT_TO = "encrypt_to"
"""The option of file stores that holds the age recipients."""


class Spec(NamedTuple):
    """The parsed name of a store.

    Attributes:
        text: the whole name.
        name: a store of the configuration, or a plugin.
        location: the part after the colon, or None.
    """

    text: str
    name: str
    location: str | None


def parse_spec(text: str) -> Spec:
    """Split a store's name at the first colon.

    Raises:
        ConfigurationError: a part is empty, or the location is `-`.
    """
    name, colon, location = text.partition(":")
    if not name or (colon and not location):
        raise ConfigurationError(
            f"The store {shown(text)}: it is NAME or PLUGIN:LOCATION, such as vault:secret/billing"
        )
    if location == "-":
        raise ConfigurationError(f"The store {shown(text)}: standard input and output are not supported. Name a file")
    return Spec(text, name, location if colon else None)


def named(config: Config, spec: Spec) -> StoreConfig:
    """Return the configured store of that name, or the plugin of that name without options."""
    if spec.name in config.stores:
        return config.stores[spec.name]
    return StoreConfig.bare(_SHORT_NAMES.get(spec.name, spec.name))


def placed(config: Config, spec: Spec, schema: Schema) -> Config:
    """Return the configuration with one more store: the named one at the spec's location, under the spec's whole text.

    The location replaces all options that locate the store: one that it leaves out gets the plugin's default.

    Raises:
        ConfigurationError: the plugin takes no location.
    """
    about = named(config, spec)
    options: dict[str, OptionValue] = dict(about.options)
    if spec.location is not None:
        origin = f"The store {shown(spec.text)}"
        locating = [name for name, option in schema.options.items() if option.option.location]
        if not locating:
            raise ConfigurationError(f"{origin}: the plugin {about.plugin} takes no LOCATION after a colon")
        options = {name: given for name, given in options.items() if name not in locating}
        parts = spec.location.split("/", len(locating) - 1)
        options |= {name: OptionValue(part, origin, Rank.ARGUMENT) for name, part in zip(locating, parts, strict=False)}
    store = StoreConfig(spec.text, about.plugin, f"The store {shown(spec.text)}", options)
    stores: Mapping[str, StoreConfig] = {**config.stores, spec.text: store}
    return replace(config, stores=stores)


def with_recipients(config: Config, store: str, recipients: Sequence[str]) -> Config:
    """Return the configuration in which a target is encrypted to these age recipients; none leaves it unchanged.

    Raises:
        ConfigurationError: the store cannot encrypt, so that it would be written in plain text.
    """
    if not recipients:
        return config
    about = config.store(store)
    if _ENCRYPT_TO not in plugins.schema(config, store, plugin_group(plugins.EXPORTERS, about.plugin)).options:
        reason = f"{about.plugin} cannot encrypt to recipients. Only files can: leave --encrypt-to out"
        raise ConfigurationError(f"The store {shown(store)}: {reason}")
    given = OptionValue(list(recipients), "--encrypt-to", Rank.ARGUMENT)
    changed = replace(about, options={**about.options, _ENCRYPT_TO: given})
    return replace(config, stores={**config.stores, store: changed})


def plugin_group(preferred: str, plugin: str) -> str:
    """Return the preferred entry-point group if it has the plugin, and that of stores if not."""
    return preferred if plugins.offers(preferred, plugin) else plugins.STORES


def prepare_source(config: Config, store: str) -> Callable[[], Importer | SecretStore]:
    """Check the plugin and the options of a source, and return a function that opens it.

    Raises:
        PluginError, ConfigurationError: as `plugins.prepare` does. The returned function raises `PluginError` if the
            plugin returns neither an importer nor a store.
    """
    plugin, opener = _prepare(config, store, plugins.IMPORTERS)

    def open_source() -> Importer | SecretStore:
        opened = opener()
        # Ask for a store first: a store can have the methods of an importer or an exporter too.
        if isinstance(opened, SecretStore | Importer):
            return opened
        raise plugins.broken(plugin, opened, "importer and no store")

    return open_source


def prepare_target(config: Config, store: str) -> Callable[[], Exporter | SecretStore]:
    """Check the plugin and the options of a target, and return a function that opens it.

    Raises:
        PluginError, ConfigurationError: see `prepare_source`.
    """
    plugin, opener = _prepare(config, store, plugins.EXPORTERS)

    def open_target() -> Exporter | SecretStore:
        opened = opener()
        if isinstance(opened, SecretStore | Exporter):
            return opened
        raise plugins.broken(plugin, opened, "exporter and no store")

    return open_target


def _prepare(config: Config, store: str, group: str) -> tuple[str, Callable[[], object]]:
    plugin = config.store(store).plugin
    return plugin, plugins.prepare_any(config, store, plugin_group(group, plugin))
