"""The operations of an asynchronous store, awaited in the running event loop. Answers and errors are the guard's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from strongroom.errors import InvalidPathError, StoreError
from strongroom.secret import Secret
from strongroom.store.asynchronous import BLOCKING
from strongroom.store.boundary import answers
from strongroom.store.daemon import overrun
from strongroom.store.deadline import remaining
from strongroom.store.protocols import Health

if TYPE_CHECKING:
    from strongroom.store.boundary.enforcement import Boundary

_TURN = 256
"""After this many names the loop serves others: an asynchronous generator need not wait for anything."""


_CHECKS: dict[str, Callable[..., Any]] = {
    "read": lambda answer, path: answers.as_secret(answer, path, "aread"),
    "write": lambda answer, *_: answers.as_version(answer, "awrite"),
    "write_if": lambda answer, *_: answers.as_version(answer, "awrite_if"),
    "delete": lambda *_: None,
    "versions": lambda answer, _: answers.as_versions(answer, "aversions"),
    "read_version": lambda answer, path, version: answers.as_secret_of(answer, path, version, "aread_version"),
    "undelete": lambda *_: None,
    "destroy": lambda *_: None,
    "read_metadata": lambda answer, _: answers.as_labels(answer, "aread_metadata"),
    "write_metadata": lambda *_: None,
}
"""The operations that are one call: answer and arguments -> the answer, checked."""


class AwaitedStore:
    """The operations of an `AsyncSecretStore` as coroutines."""

    def __init__(self, store: Any, boundary: Boundary) -> None:
        self._store = store
        self._boundary = boundary

    def find(self, operation: str) -> Callable[..., Awaitable[Any]] | None:
        """Return the operation of this name; None if the store has no asynchronous method for it."""
        if not hasattr(self._store, "alist_entries" if operation == "walk" else f"a{operation}"):
            return None
        return partial(self._called, operation) if operation in _CHECKS else getattr(self, operation)

    def _called(self, operation: str, path: str, *arguments: Any) -> Awaitable[Any]:
        start = partial(getattr(self._store, f"a{operation}"), path, *arguments)
        check = _CHECKS[operation]
        changes = BLOCKING.get(operation, False)
        return self._boundary.acall(path, start, lambda answer: check(answer, path, *arguments), changes=changes)

    async def read(self, path: str) -> Secret:
        """Return the whole secret at `path`."""
        secret: Secret = await self._called("read", path)
        return secret

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

    async def close(self) -> None:
        """Close the store once. Every later call is refused."""
        await self._boundary.aclose()

    async def _listed(self, prefix: str) -> tuple[list[str], StoreError | None]:
        """Return the names below a folder that have no slash inside, and the error of the first that has."""

        def checked(names: list[object]) -> tuple[list[str], InvalidPathError | None]:
            texts = [answers.as_text("alist_entries", name) for name in names]
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
