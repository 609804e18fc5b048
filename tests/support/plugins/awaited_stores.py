"""Asynchronous stores whose calls can be seen, and can be made to fail."""

import asyncio
import threading

from strongroom.store import AsyncSecretStore
from strongroom.store.memory import MemoryStore


class Store(AsyncSecretStore):
    """A `MemoryStore` behind a client that waits. `faults` maps a method to a coroutine function that it awaits."""

    def __init__(self, **faults):
        self.memory = MemoryStore()
        self.faults = faults
        self.calls, self.threads = [], set()

    async def _called(self, method, path):
        self.threads.add(threading.current_thread())
        self.calls.append((method, path))
        await asyncio.sleep(0)
        if (fault := self.faults.get(method)) is not None:
            return await fault()
        return None

    async def aread(self, path):
        return await self._called("aread", path) or self.memory.read(path)

    async def alist_entries(self, prefix):
        for name in list(self.memory.list_entries(prefix)):
            yield await self._called("alist_entries", prefix) or name

    async def awrite(self, path, data):
        return await self._called("awrite", path) or self.memory.write(path, data)

    async def adelete(self, path):
        await self._called("adelete", path)
        self.memory.delete(path)

    async def aclose(self):
        pass


class Checked(Store):
    async def awrite_if(self, path, data, expected):
        return await self._called("awrite_if", path) or self.memory.write_if(path, data, expected)


class Versioned(Checked):
    async def aversions(self, path):
        return await self._called("aversions", path) or self.memory.versions(path)

    async def aread_version(self, path, version):
        return await self._called("aread_version", path) or self.memory.read_version(path, version)

    async def akept_versions(self, path):
        return await self._called("akept_versions", path) or self.memory.kept_versions(path)

    async def aundelete(self, path, version):
        await self._called("aundelete", path)
        self.memory.undelete(path, version)

    async def adestroy(self, path, version):
        await self._called("adestroy", path)
        self.memory.destroy(path, version)

    async def aread_metadata(self, path):
        return await self._called("aread_metadata", path) or self.memory.read_metadata(path)

    async def awrite_metadata(self, path, metadata):
        await self._called("awrite_metadata", path)
        self.memory.write_metadata(path, metadata)


async def hang():
    await asyncio.Event().wait()
