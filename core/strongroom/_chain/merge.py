"""Merges into the secrets of one link: under check-and-set if the store has it, one after another for each path."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from strongroom.errors import ConflictError, StoreUnavailableError
from strongroom.secret import Secret, SensitiveDict, Version
from strongroom.store import remaining
from strongroom.store.process import random_factor

if TYPE_CHECKING:
    from strongroom._chain.link import Link

_FIRST_PAUSE = 0.01
_LAST_PAUSE = 0.25


class Merges:
    """The merges of one link."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self.reset()

    def reset(self) -> None:
        """Drop the locks of merges in progress: the child of a fork has none of them."""
        self._path_locks: WeakValueDictionary[str, threading.RLock] = WeakValueDictionary()
        self._path_locks_lock = threading.RLock()

    def merge(self, path: str, combine: Callable[[Secret | None], SensitiveDict]) -> Version | None:
        """Write what `combine` returns for the secret before. Repeat after a conflict while there is time.

        If the store has no check-and-set, the secret is read again just before the write: a write of another process
        between the two is lost.

        Args:
            path: a checked path.
            combine: takes the secret before, or None, and returns the whole data to write; raises to refuse.

        Raises:
            ConflictError: other writers won until the time was up, or a store without check-and-set refused the write,
                such as one to a deleted secret: a repetition would find it in the same state.
        """
        with self._turn(path):
            pause = _FIRST_PAUSE
            while True:
                before = self._link.current(path)
                merged = combine(before)
                try:
                    # The store is open: the secret before comes from it.
                    if "checked" in self._link.connection.opened(path).capabilities:
                        return self._write_if(path, before, merged)
                    self._check_unchanged(path, before)
                except ConflictError as error:
                    conflict = error
                else:
                    return self._link.write(path, merged)
                if remaining() <= pause:
                    raise conflict
                time.sleep(pause * random_factor(0.5, 1.0))  # so that rivals do not meet again
                pause = min(pause * 2, _LAST_PAUSE)

    @contextmanager
    def _turn(self, path: str) -> Iterator[None]:
        """Wait for the turn of this thread to merge into a path: only other processes are rivals for check-and-set."""
        with self._path_locks_lock:
            lock = self._path_locks.setdefault(path, threading.RLock())
        if not lock.acquire(timeout=remaining()):
            raise StoreUnavailableError(path, "earlier writes to it took all the time", store=self._link.name)
        try:
            yield
        finally:
            lock.release()

    def _write_if(self, path: str, before: Secret | None, merged: SensitiveDict) -> Version | None:
        expected = None if before is None else before.version
        return self._link.at_store(path, lambda store: store.write_if(path, merged, expected), changes="write")

    def _check_unchanged(self, path: str, before: Secret | None) -> None:
        if self._link.current(path) != before:
            raise ConflictError(path, "it changed while it was being merged", store=self._link.name)
