"""The disk caches of a manager's stores. Imported only for a configuration with `disk = true`."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from pathlib import Path

from strongroom._config import Config
from strongroom._config.trust import require_trusted_origin
from strongroom._disk_cache.container import Container
from strongroom._disk_cache.store_cache import StoreCache
from strongroom._plugins.identity import identity


def cache_folder(config: Config) -> Path:
    """Return the folder of the disk cache.

    Raises:
        ConfigurationError: a file that is not trusted names it.
    """
    if config.cache.folder is None:
        from platformdirs import user_cache_path

        return user_cache_path("strongroom") / "secrets"
    require_trusted_origin(config, "cache.folder", "it names the folder of the disk cache")
    return config.cache.folder.absolute()


def disk_caches(config: Config, opened: Collection[str]) -> dict[str, StoreCache]:
    """Return the disk cache of each store of the chain that may have one: the first read tells whether it has.

    Args:
        config: the configuration.
        opened: the stores that the application opened, whose options are not known.

    Raises:
        ConfigurationError: see `cache_folder`.
    """
    folder = cache_folder(config)
    container = Container(folder, config.cache.max_bytes)
    return {
        link.store: StoreCache(container, link.store, partial(identity, config, link.store), config.cache)
        for link in config.chain
        if link.disk and link.store not in opened
    }


def forget_everything(config: Config) -> None:
    """Drop every entry of the disk cache, after a change of stores that went past their links, such as a migration.

    A failure is logged, as that of any other write: see `StoreCache.forget`.
    """
    if config.cache.disk:
        folder = cache_folder(config)
        container = Container(folder, config.cache.max_bytes)
        StoreCache(container, "of any name", dict, config.cache).forget()
