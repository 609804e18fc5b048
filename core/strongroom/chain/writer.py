"""Writes of one link: each invalidates the cache, and merges into one path come one after another."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from operator import methodcaller
from threading import RLock
from typing import TYPE_CHECKING, TypeVar
from weakref import WeakValueDictionary

from strongroom.errors import ConflictError, SecretNotFoundError, StoreUnavailableError
from strongroom.secret import Secret, SensitiveDict, Version
from strongroom.store import is_held_here, random_factor, reentrant_lock, remaining

if TYPE_CHECKING:
    from strongroom.chain.store_handle import StoreHandle
    from strongroom.store.boundary.guard import GuardedStore

_R = TypeVar("_R")

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

    def write(self, path: str, data: SensitiveDict) -> Version | None:
        """Replace the whole secret."""
        return self._change("write", path, lambda store: store.write(path, data))

    def delete(self, path: str) -> None:
        """Remove the secret."""
        self._change("delete", path, methodcaller("delete", path))

    def at_store(self, path: str, operation: Callable[[GuardedStore], _R], *, changes: str = "") -> _R:
        """Return the operation's result on the store itself, past the cache. `changes` is the name of a change."""
        return self._change(changes, path, operation) if changes else self._handle.call(path, operation)

    def roll_back(self, path: str, to: Version) -> Version | None:
        """Write the data of an old version, unless another writer comes between."""
        # Read the old version first: a store without versions refuses here, before the secret itself is read.
        old = self._handle.call(path, lambda store: store.read_version(path, to))
        newest = self._current(path)
        expected = None if newest is None else newest.version
        return self._change("rollback", path, lambda store: store.write_if(path, old.data, expected))

    def merge(
        self, path: str, data: SensitiveDict, check: Callable[[Secret | None, SensitiveDict], None]
    ) -> Version | None:
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
        with self._turn(path):
            pause = _FIRST_PAUSE
            while True:
                before = self._current(path)
                merged = data if before is None else SensitiveDict({**before.data, **data})
                check(before, merged)
                try:
                    return self._write_after(path, before, merged)
                except ConflictError as error:
                    conflict = error
                if remaining() <= pause:
                    raise conflict
                time.sleep(pause * random_factor(0.5, 1.0))  # so that rivals do not meet again
                pause = min(pause * 2, _LAST_PAUSE)

    @contextmanager
    def _turn(self, path: str) -> Iterator[None]:
        """Wait for the turn of this thread to merge into a path: only other processes are rivals for check-and-set."""
        with self._path_locks_lock:
            lock = self._path_locks.setdefault(path, reentrant_lock())
        if is_held_here(lock):  # by the merge that a signal handler interrupted: this one would be undone
            raise StoreUnavailableError(path, "this thread is writing it already", store=self._name)
        if not lock.acquire(timeout=remaining()):
            raise StoreUnavailableError(path, "earlier writes to it took all the time", store=self._name)
        try:
            yield
        finally:
            lock.release()

    def _current(self, path: str) -> Secret | None:
        """Return the secret that the store holds now, past the cache."""
        try:
            return self._handle.call(path, lambda store: store.read(path))
        except SecretNotFoundError:
            return None

    def _write_after(self, path: str, before: Secret | None, merged: SensitiveDict) -> Version | None:
        if self._handle.opened(path).checked:  # it is open: the secret before comes from it
            expected = None if before is None else before.version
            return self._change("write", path, lambda store: store.write_if(path, merged, expected))
        if self._current(path) != before:
            raise ConflictError(path, "it changed while it was being merged", store=self._name)
        return self.write(path, merged)

    def _change(self, name: str, path: str, operation: Callable[[GuardedStore], _R]) -> _R:
        """Write. The cache forgets the path before, so that nobody joins an older read, and after."""
        self._forget(path)
        try:
            return self._handle.call(path, operation, changes=name)
        finally:
            self._forget(path)
