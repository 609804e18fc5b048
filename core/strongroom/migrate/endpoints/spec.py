"""The name of a store on a command line: `NAME` or `NAME:LOCATION`, and which of its options that gives. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from strongroom.config import Config, Given, Rank, StoreConfig
from strongroom.errors import ConfigurationError, shown
from strongroom.plugins.option_schema import Schema

_SHORT: Mapping[str, str] = {"k8s": "kubernetes"}
"""Names that a command line has for plugins beside their own."""


class Spec(NamedTuple):
    """A store as somebody names it.

    Attributes:
        text: the whole of it.
        name: a store of the configuration, or a plugin.
        location: what follows the colon; None where there is none.
    """

    text: str
    name: str
    location: str | None


def parse_spec(text: str) -> Spec:
    """The store's name, and its LOCATION where it has one.

    Raises:
        ConfigurationError: a part of it is empty.
    """
    name, colon, location = text.partition(":")
    if not name or (colon and not location):
        raise ConfigurationError(
            f"The store {shown(text)}: it is NAME or PLUGIN:LOCATION, such as vault:secret/billing"
        )
    return Spec(text, name, location if colon else None)


def named(config: Config, spec: Spec) -> StoreConfig:
    """The store that is named: of the configuration, else the plugin without options."""
    if spec.name in config.stores:
        return config.stores[spec.name]
    return StoreConfig.bare(_SHORT.get(spec.name, spec.name))


def placed(config: Config, spec: Spec, schema: Schema) -> Config:
    """The configuration with one more store, named as the whole spec is: the named one, at that location.

    The location is the whole of where it is: an option of it that is left out has its default, whatever the
    configuration says of the store.

    Raises:
        ConfigurationError: the plugin takes no location.
    """
    about = named(config, spec)
    options: dict[str, Given] = dict(about.options)
    if spec.location is not None:
        origin = f"The store {shown(spec.text)}"
        locating = [name for name, option in schema.options.items() if option.option.location]
        if not locating:
            raise ConfigurationError(f"{origin}: the plugin {about.plugin} takes no LOCATION after a colon")
        options = {name: given for name, given in options.items() if name not in locating}
        parts = spec.location.split("/", len(locating) - 1)
        options |= {name: Given(part, origin, Rank.ARGUMENT) for name, part in zip(locating, parts, strict=False)}
    store = StoreConfig(spec.text, about.plugin, f"The store {shown(spec.text)}", options)
    stores: Mapping[str, StoreConfig] = {**config.stores, spec.text: store}
    return replace(config, stores=stores)
