"""The encrypted cache of a link."""

from strongroom.cache.memory import MemoryCache, Snapshot

__all__ = ["MemoryCache", "Snapshot"]
