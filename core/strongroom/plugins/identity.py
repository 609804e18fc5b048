"""The identity of a store for the disk cache: what decides which secret a path is, and who reads it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from strongroom.bounded_file import read_bytes
from strongroom.config import Config
from strongroom.plugins.distributions import entry_point, metadata_text
from strongroom.plugins.loader import STORES, schema, settings
from strongroom.secret import SensitiveDict, Value
from strongroom.store.protocols import capabilities_of, traits_of

_LARGEST_FILE = 1 << 16
_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]+")
_OTHER_READS = frozenset({"dynamic", "keyed"})
"""Capabilities of stores that create secrets, or that no read of a whole secret can stand for."""


def allows_disk_cache(config: Config, store: str) -> bool:
    """Return True if the disk cache may keep the answers of a store. The store is not opened.

    All classes that the opener is annotated to return have to say so in their traits.

    Raises:
        PluginError, ConfigurationError: see `loader.schema`.
    """
    kinds = schema(config, store).stores
    return bool(kinds) and all(
        (traits := traits_of(kind, f"Store {store}")).disk_cache
        and not traits.local
        and not capabilities_of(kind) & _OTHER_READS
        for kind in kinds
    )


def identity(config: Config, store: str) -> Mapping[str, Value]:
    """Return the plugin, the metadata of its distribution, and its options with the files and variables that they name.

    With another address, mount, namespace, role or token, this is another identity, which finds none of the entries.

    Raises:
        PluginError, ConfigurationError: see `loader.settings`.
    """
    about = config.store(store)
    options = {name: _plain(setting.value) for name, setting in settings(config, store).items()}
    return SensitiveDict({
        "plugin": about.plugin,
        "distribution": metadata_text(entry_point(STORES, about)),
        "options": SensitiveDict(options),
        "named": SensitiveDict(_named(options)),
    })  # fmt: skip


def _plain(value: Any) -> Any:  # any type of an option
    """Return an option's value without paths, which a digest does not take."""
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return SensitiveDict((str(name), _plain(item)) for name, item in value.items())
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _named(value: Any) -> dict[str, Value]:
    """Return the contents of the files and variables that the options name: a credential may be in them."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list):
        return {name: content for item in value for name, content in _named(item).items()}
    if not isinstance(value, str):
        return {}
    if _VARIABLE.fullmatch(value) and value in os.environ:
        return {value: os.environ[value]}
    try:  # a relative file too: services with equal options keep their credentials in different folders
        content, _ = read_bytes(Path(value).expanduser(), _LARGEST_FILE)
    except (OSError, ValueError, RuntimeError):
        return {}
    return {value: content}
