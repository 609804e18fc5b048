"""The operations of an asynchronous store, awaited in the running event loop. Answers and errors are the guard's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from strongroom.errors import InvalidPathError, StoreError
from strongroom.secret import Secret, Value, Version
from strongroom.store.boundary import answers
from strongroom.store.daemon import overrun
from strongroom.store.deadline import remaining
from strongroom.store.protocols import Health

if TYPE_CHECKING:
    from strongroom.store.boundary.enforcement import Boundary

_METHODS = {
    "read": "aread",
    "write": "awrite",
    "write_if": "awrite_if",
    "delete": "adelete",
    "list_entries": "alist_entries",
    "walk": "alist_entries",
    "probe": "aprobe",
}
"""The store's method behind each operation."""

_TURN = 256
"""After this many names the loop serves others: an asynchronous generator need not wait for anything."""


class AwaitedStore:
    """The operations of an `AsyncSecretStore` as coroutines. Each has the name of the blocking one of `GuardedStore`.

    Args:
        store: the store, whose optional methods are found by name.
        boundary: of this store.
    """

    def __init__(self, store: Any, boundary: Boundary) -> None:
        self._store = store
        self._boundary = boundary

    def find(self, operation: str) -> Callable[..., Awaitable[Any]] | None:
        """Return the operation of this name; None if the store has no asynchronous method for it."""
        return getattr(self, operation) if hasattr(self._store, _METHODS[operation]) else None

    async def read(self, path: str) -> Secret:
        """Return the whole secret at `path`."""
        return await self._boundary.acall(
            path, partial(self._store.aread, path), lambda answer: answers.as_secret(answer, path, "aread")
        )

    async def write(self, path: str, data: Mapping[str, Value]) -> Version | None:
        """Replace the whole secret."""
        return await self._changed(path, "awrite", partial(self._store.awrite, path, data))

    async def write_if(self, path: str, data: Mapping[str, Value], expected: Version | None) -> Version | None:
        """Replace the whole secret if its newest version is `expected`; None expects that it does not exist."""
        return await self._changed(path, "awrite_if", partial(self._store.awrite_if, path, data, expected))

    async def delete(self, path: str) -> None:
        """Delete the secret."""
        await self._boundary.acall(path, partial(self._store.adelete, path), lambda _: None, changes=True)

    async def list_entries(self, prefix: str) -> list[str]:
        """Return the names directly below `prefix`, folders ending in `/`. Refuse any with a slash inside."""
        names, error = await self._listed(prefix)
        if error is not None:
            raise error
        return names

    async def walk(self, prefix: str) -> list[str]:
        """Return the path of every secret below `prefix`, folder by folder."""
        paths: list[str] = []
        folders, first = [prefix], None
        while folders:
            folder = folders.pop()
            names, error = await self._listed(folder)
            first = first or error
            for name in names:
                path = f"{folder}/{name}" if folder else name
                if (below := answers.subfolder(path, name)) is None:
                    paths.append(path)
                else:
                    folders.append(below)
        if first is not None:
            raise first
        return paths

    async def probe(self) -> Health:
        """Return the store's health."""
        health = await self._boundary.acall(None, self._store.aprobe, answers.as_health)
        return self._boundary.with_own_error(health)

    async def _changed(self, path: str, method: str, start: Callable[[], Awaitable[Any]]) -> Version | None:
        return await self._boundary.acall(path, start, lambda answer: answers.as_version(answer, method), changes=True)

    async def _listed(self, prefix: str) -> tuple[list[str], StoreError | None]:
        """Return the names below a folder that have no slash inside, and the error of the first that has."""

        def checked(names: list[object]) -> tuple[list[str], InvalidPathError | None]:
            texts = [answers.as_name("alist_entries", name) for name in names]
            errors = {name: error for name in texts if (error := answers.entry_error(name, prefix)) is not None}
            return [name for name in texts if name not in errors], next(iter(errors.values()), None)

        names, error = await self._boundary.acall(
            prefix or None, partial(_collected, self._store.alist_entries, prefix), checked
        )
        return names, None if error is None else error.copy(store=self._boundary.name)


async def _collected(method: Callable[[str], AsyncIterator[object]], prefix: str) -> list[object]:
    """Return the items of an asynchronous generator, within the deadline even if it never waits."""
    items: list[object] = []
    generator: Any = method(prefix)
    try:
        async for item in generator:
            items.append(item)
            if len(items) % _TURN == 0:
                if not remaining():
                    raise overrun()
                await asyncio.sleep(0)
    finally:
        if (close := getattr(generator, "aclose", None)) is not None:
            with suppress(RuntimeError):  # it ignores that it is closed
                await close()
    return items
