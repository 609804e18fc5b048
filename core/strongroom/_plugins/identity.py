"""The identity of a store for the disk cache: what decides which secret a path is, and who reads it.

Separate from the package: it is imported with `disk = true` alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from strongroom._config import Config
from strongroom._plugins import STORES, ConfiguredPlugin
from strongroom._plugins.distributions import entry_point, metadata_text
from strongroom.secret import SensitiveDict, Value
from strongroom.store import DynamicStore, KeyedStore
from strongroom.store.option import named_contents
from strongroom.store.protocols import traits_of

_OTHER_READS = (DynamicStore, KeyedStore)
"""Stores that create secrets, or that no read of a whole secret can stand for."""


class StoreIdentity(NamedTuple):
    """The identity of a store.

    Attributes:
        lasting: the plugin, its distribution, and its options with the files and variables that they name, and with the
            defaults of those that are not given: another release of the plugin may have another default.
        release: the digest of the metadata of the plugin's distribution. What a path is can differ between releases.
        former: the identity that releases before version 2 of the entries had: options, and the metadata's text.
    """

    lasting: Mapping[str, Value]
    release: str = ""
    former: Mapping[str, Value] | None = None


def identity(config: Config, store: str) -> StoreIdentity | None:
    """Return the identity of a store.

    With another address, mount, namespace, role or token, it is another one, which finds none of the entries.
    Return None if the disk cache must not keep the answers of the store: all classes that the opener is annotated to
    return have to allow it in their traits, and an option may leave open who reads. The store is not opened.

    Raises:
        PluginError, ConfigurationError: see `ConfiguredPlugin`.
    """
    about = config.store(store)
    plugin = ConfiguredPlugin(config, store)
    known = plugin.schema
    if not known.stores or not all(_is_kept(kind, store) for kind in known.stores):
        return None
    found = {name: setting.value for name, setting in plugin.settings().items()}
    options = {name: _plain(value) for name, value in found.items()}
    named: dict[str, Value] = {}
    for name, option in known.options.items():
        refers = option.option.identity
        contents = named_contents(options.get(name)) if refers is None else refers(found.get(name))
        if contents is None:
            return None
        named |= contents
    text = metadata_text(entry_point(STORES, about.plugin))
    common: dict[str, Value] = {
        "plugin": about.plugin,
        "options": SensitiveDict(options),
        "named": SensitiveDict(named),
    }
    defaults = {
        name: _plain(option.default)
        for name, option in known.options.items()
        if name not in options and option.default is not None
    }
    lasting = SensitiveDict(common, distribution=_name_in(text), defaults=SensitiveDict(defaults))
    former = SensitiveDict(common, distribution=text)
    return StoreIdentity(lasting, hashlib.sha256(text.encode()).hexdigest(), former)


def _name_in(metadata: str) -> str:
    """Return the name of a distribution. A parser of its metadata reads the README too, which takes 7 ms."""
    names = (line.partition(":")[2].strip() for line in metadata.splitlines() if line.startswith("Name:"))
    return next(names, "")


def _is_kept(kind: type, store: str) -> bool:
    traits = traits_of(kind, f"Store {store}")
    return traits.disk_cache and not traits.local and not issubclass(kind, _OTHER_READS)


def _plain(value: Any) -> Any:  # any type of an option
    """Return an option's value without paths, which a digest does not take."""
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return SensitiveDict((str(name), _plain(item)) for name, item in value.items())
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, str | bytes | int | float) else repr(value)
