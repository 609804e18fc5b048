"""Writes of one link: each invalidates the cache, and merges into one path come one after another."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from threading import RLock
from typing import Any
from weakref import WeakValueDictionary

from strongroom.chain.calls.steps import Step, Steps
from strongroom.chain.store_handle import DELETE, READ, READ_VERSION, WRITE, WRITE_IF, Operation, StoreHandle
from strongroom.errors import ConflictError, SecretNotFoundError, StoreUnavailableError
from strongroom.secret import Secret, SensitiveDict, Version
from strongroom.store import is_held_here, random_factor, reentrant_lock, remaining

_SHORTEST_PAUSE = 0.001
_FIRST_PAUSE = 0.01
_LAST_PAUSE = 0.25


class LinkWriter:
    """Changes the secrets of one link."""

    def __init__(self, name: str, handle: StoreHandle, forget: Callable[[str], None]) -> None:
        self._name = name
        self._handle = handle
        self._forget = forget
        self.reset()

    def reset(self) -> None:
        """Drop the locks of merges in progress: the child of a fork has none of them."""
        self._path_locks: WeakValueDictionary[str, RLock] = WeakValueDictionary()
        self._path_locks_lock = threading.RLock()  # a signal handler may run while its thread holds it

    def write(self, path: str, data: SensitiveDict) -> Steps[Version | None]:
        """Replace the whole secret."""
        return self._change("write", path, WRITE, path, data)

    def delete(self, path: str) -> Steps[None]:
        """Remove the secret."""
        return self._change("delete", path, DELETE, path)

    def at_store(self, path: str, operation: Operation, *arguments: object, changes: str = "") -> Steps[Any]:
        """Return the operation's result on the store itself, past the cache. `changes` is the name of a change."""
        if changes:
            return self._change(changes, path, operation, *arguments)
        return self._handle.steps(path, operation, *arguments)

    def roll_back(self, path: str, to: Version) -> Steps[Version | None]:
        """Write the data of an old version, unless another writer comes between."""
        # Read the old version first: a store without versions refuses here, before the secret itself is read.
        old: Secret = yield from self._handle.steps(path, READ_VERSION, path, to)
        newest = yield from self._current(path)
        expected = None if newest is None else newest.version
        version: Version | None = yield from self._change("rollback", path, WRITE_IF, path, old.data, expected)
        return version

    def merge(
        self, path: str, data: SensitiveDict, check: Callable[[Secret | None, SensitiveDict], Steps[None]]
    ) -> Steps[Version | None]:
        """Set the keys of `data` and keep the others. Repeat after a conflict while there is time.

        If the store has no check-and-set, the secret is read again just before the write: a write of another process
        between the two is lost.

        Args:
            path: a checked path.
            data: the keys to set.
            check: called with the secret before, or None, and the merged data; raises to refuse.

        Raises:
            ConflictError: other writers won until the time was up.
        """
        with self._path_locks_lock:
            path_lock = self._path_locks.setdefault(path, reentrant_lock())
        turn = _Turn(path_lock, path, self._name)
        try:
            yield Step(turn.take, turn.atake)
            pause = _FIRST_PAUSE
            while True:
                before = yield from self._current(path)
                merged = data if before is None else SensitiveDict({**before.data, **data})
                yield from check(before, merged)
                try:
                    return (yield from self._write_after(path, before, merged))
                except ConflictError as error:
                    conflict = error
                if remaining() <= pause:
                    raise conflict
                seconds = pause * random_factor(0.5, 1.0)  # so that rivals do not meet again
                yield Step(partial(time.sleep, seconds), partial(_asleep, seconds))
                pause = min(pause * 2, _LAST_PAUSE)
        finally:
            turn.end()

    def _current(self, path: str) -> Steps[Secret | None]:
        """Return the secret that the store holds now, past the cache."""
        try:
            secret: Secret = yield from self._handle.steps(path, READ, path)
        except SecretNotFoundError:
            return None
        return secret

    def _write_after(self, path: str, before: Secret | None, merged: SensitiveDict) -> Steps[Version | None]:
        if self._handle.opened(path).checked:  # it is open: the secret before comes from it
            expected = None if before is None else before.version
            version: Version | None = yield from self._change("write", path, WRITE_IF, path, merged, expected)
            return version
        if (yield from self._current(path)) != before:
            raise ConflictError(path, "it changed while it was being merged", store=self._name)
        return (yield from self.write(path, merged))

    def _change(self, name: str, path: str, operation: Operation, *arguments: object) -> Steps[Any]:
        """Write. The cache forgets the path before, so that nobody joins an older read, and after."""
        self._forget(path)
        try:
            return (yield from self._handle.steps(path, operation, *arguments, changes=name))
        finally:
            self._forget(path)


class _Turn:
    """The turn of one thread or task to merge into a path: only other processes are rivals for check-and-set.

    Args:
        lock: of the path. A task holds it for the thread of its loop.
        path: for errors.
        store: for errors.
    """

    def __init__(self, lock: RLock, path: str, store: str) -> None:
        self._lock = lock
        self._path = path
        self._store = store
        self._is_taken = False

    def take(self) -> None:
        """Wait for the turn in this thread."""
        if is_held_here(self._lock):  # by the merge that a signal handler interrupted: this one would be undone
            raise StoreUnavailableError(self._path, "this thread is writing it already", store=self._store)
        if not self._lock.acquire(timeout=remaining()):
            raise self._late()
        self._is_taken = True

    async def atake(self) -> None:
        """Wait for the turn in the running event loop."""
        pause = _SHORTEST_PAUSE
        while is_held_here(self._lock) or not self._lock.acquire(blocking=False):
            if not remaining():
                raise self._late()
            await _asleep(pause)
            pause = min(pause * 2, _FIRST_PAUSE)
        self._is_taken = True

    def end(self) -> None:
        """Leave the turn to the next one."""
        if self._is_taken:
            self._lock.release()

    def _late(self) -> StoreUnavailableError:
        return StoreUnavailableError(self._path, "earlier writes to it took all the time", store=self._store)


async def _asleep(seconds: float) -> None:
    import asyncio  # most programs have no event loop

    await asyncio.sleep(seconds)
