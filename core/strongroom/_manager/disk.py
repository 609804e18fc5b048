"""The disk caches of a manager's stores. Imported only for a configuration with `disk = true`."""

from __future__ import annotations

import logging
from collections.abc import Collection
from functools import partial
from pathlib import Path

from strongroom._config import Config
from strongroom._config.trust import require_trusted_origin
from strongroom._disk_cache.container import Container
from strongroom._disk_cache.store_cache import StoreCache
from strongroom._plugins.identity import identity
from strongroom.errors import ConfigurationError
from strongroom.files.private import user_folder

logger = logging.getLogger("strongroom.secrets_manager")


def cache_folder(config: Config) -> Path:
    """Return the folder of the disk cache.

    Raises:
        ConfigurationError: a file that is not trusted names it, or the user has no home folder.
    """
    if config.cache.folder is None:
        return user_folder("cache") / "secrets"
    require_trusted_origin(config, "cache.folder", "names the folder of the disk cache")
    return config.cache.folder.absolute()


def _container(config: Config) -> Container | None:
    """Return the files of the disk cache; None with a warning if the user has no home folder: each read is a miss."""
    try:
        return Container(cache_folder(config), config.cache.max_bytes)
    except ConfigurationError as error:
        if config.cache.folder is not None:
            raise
        logger.warning("The disk cache is not used: %s", error)
        return None


def disk_caches(config: Config, opened: Collection[str]) -> dict[str, StoreCache]:
    """Return the disk cache of each store of the chain that may have one: the first read tells whether it has.

    Args:
        config: the configuration.
        opened: the stores that the application opened, whose options are not known.

    Raises:
        ConfigurationError: a file that is not trusted names the folder.
    """
    container = _container(config)
    if container is None:
        return {}
    return {
        link.store: StoreCache(container, link.store, partial(identity, config, link.store), config.cache)
        for link in config.chain
        if link.disk and link.store not in opened
    }


def forget_everything(config: Config) -> None:
    """Drop every entry of the disk cache, after a change of stores that went past their links, such as a migration.

    A failure is logged, as that of any other write: see `StoreCache.forget`.
    """
    if config.cache.disk and (container := _container(config)) is not None:
        StoreCache(container, "of any name", dict, config.cache).forget()
