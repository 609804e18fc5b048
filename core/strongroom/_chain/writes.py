"""Writes to one link, past its cache: under check-and-set if the store has it, and one merge of a path at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import methodcaller
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from strongroom.errors import ConflictError, SecretNotFoundError, StoreUnavailableError
from strongroom.secret import Secret, SensitiveDict, Value, Version, same
from strongroom.store import remaining
from strongroom.store.process import random_factor

if TYPE_CHECKING:
    from strongroom._chain.link import Link

_FIRST_PAUSE = 0.01
_LAST_PAUSE = 0.25


class Writes:
    """The writes to one link."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self.reset()

    def reset(self) -> None:
        """Drop the locks of merges in progress: the child of a fork has none of them."""
        self._path_locks: WeakValueDictionary[str, threading.RLock] = WeakValueDictionary()
        self._path_locks_lock = threading.RLock()

    def replace(self, path: str, data: SensitiveDict) -> Version | None:
        """Write the whole secret."""
        return self._link.at_store(path, lambda store: store.write(path, data), changes="write")

    def delete(self, path: str) -> None:
        """Delete the secret."""
        self._link.at_store(path, methodcaller("delete", path), changes="delete")

    def merge(self, path: str, combine: Callable[[Secret | None], SensitiveDict]) -> Version | None:
        """Write what `combine` returns for the secret before. Repeat after a conflict while there is time.

        A store without check-and-set whose versions are consecutive shows by the number of a write if another process
        came between: its changes are merged then. Of any other store the secret is read again just before the write,
        and a write of another process between the two is lost.

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
                before = self._current(path)
                store = self._link.connection.opened(path)  # it is open: the secret before comes from it
                if store.traits.consecutive:
                    return self._merge_by_number(path, self._confirmed_newest(path, before), combine)
                merged = combine(before)
                try:
                    if "checked" in store.capabilities:
                        return self._write_over(before, path, merged, changes="write")
                    self._check_unchanged(path, before)
                except ConflictError as error:
                    conflict = error
                else:
                    return self.replace(path, merged)
                if remaining() <= pause:
                    raise conflict
                time.sleep(pause * random_factor(0.5, 1.0))  # so that rivals do not meet again
                pause = min(pause * 2, _LAST_PAUSE)

    def _merge_by_number(
        self, path: str, before: Secret | None, combine: Callable[[Secret | None], SensitiveDict]
    ) -> Version | None:
        """Write, and write again as long as other writers came between, with the changes of all their versions."""
        merged, pause = combine(before), _FIRST_PAUSE
        last: Version | None = _number(before)
        changes = _Changes({} if before is None else before.data)
        while True:
            written = self.replace(path, merged)
            between = self._between(path, last, written)
            if not between:
                return written
            changes.add(between, merged)
            time.sleep(min(pause * random_factor(0.5, 1.0), remaining()))  # so that rivals do not meet again
            pause = min(pause * 2, _LAST_PAUSE)
            merged, last = combine(Secret(path, changes.applied(), written)), written

    def _confirmed_newest(self, path: str, before: Secret | None) -> Secret | None:
        """Return the newest version, which has a higher number if the store's answer was late.

        The store has confirmed that it has no later one: a merge never begins with a version that may be old.

        Raises:
            StoreError: whether there is a later version is unknown.
        """
        number = _number(before)
        while before is not None and (later := self._version(path, number + 1)) is not None:
            before, number = later, number + 1
        return before

    def _between(self, path: str, last: Version | None, written: Version | None) -> list[Secret]:
        """Return the versions between two numbers, oldest first, but none before one that was destroyed."""
        found: list[Secret] = []
        for number in range(int(written or 0) - 1, int(last or 0), -1):
            if (version := self._version(path, number)) is None:
                break
            found.append(version)
        return found[::-1]

    def _version(self, path: str, number: int) -> Secret | None:
        try:
            return self._link.at_store(path, lambda store: store.read_version(path, number))
        except SecretNotFoundError:
            return None

    def roll_back(self, path: str, to: Version) -> Version | None:
        """Write the data of an old version, unless another writer comes between."""
        # Read the old version first: a store without versions refuses here, before the secret itself is read.
        old = self._link.at_store(path, lambda store: store.read_version(path, to))
        return self._write_over(self._current(path), path, old.data, changes="rollback")

    def _current(self, path: str) -> Secret | None:
        """Return the secret that the store holds now, past the cache."""
        try:
            secret: Secret = self._link.at_store(path, methodcaller("read", path))
        except SecretNotFoundError:
            return None
        return secret

    def _write_over(
        self, before: Secret | None, path: str, data: Mapping[str, Value], *, changes: str
    ) -> Version | None:
        """Write if the secret is still the one before."""
        expected = None if before is None else before.version
        return self._link.at_store(path, lambda store: store.write_if(path, data, expected), changes=changes)

    def _check_unchanged(self, path: str, before: Secret | None) -> None:
        if self._current(path) != before:
            raise ConflictError(path, "it changed while it was being merged", store=self._link.name)

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


def _number(secret: Secret | None) -> int:
    return 0 if secret is None else int(secret.version or 0)


class _Changes:
    """The changes of other writers' versions since the secret with which this writer began.

    Each of these writers may have begun with the same secret, or an older one, without the changes of the others. So
    each version is compared with the secret at the beginning, not with the version before it, and a key is removed only
    if all of them lack it.
    """

    def __init__(self, base: Mapping[str, Value]) -> None:
        self._base = base
        self._changed = SensitiveDict()
        self._kept: set[str] = set()

    def add(self, versions: Sequence[Secret], own: Mapping[str, Value]) -> None:
        """Add the changes of these versions, oldest first, without those that this writer made itself."""
        for version in versions:
            self._kept.update(version.data)
            for key, value in version.data.items():
                if not any(key in known and same(value, known[key]) for known in (self._base, own)):
                    self._changed[key] = value

    def applied(self) -> SensitiveDict:
        """Return the secret at the beginning with the changes."""
        return SensitiveDict({key: value for key, value in self._base.items() if key in self._kept} | self._changed)


def refuse_to_hide(path: str, data: SensitiveDict, target: Link, lower: Sequence[Link]) -> None:
    """Refuse a new secret that would hide keys of a lower link: reads of the whole secret would lose them.

    Args:
        path: the secret's path.
        data: the new secret.
        target: the link to write to.
        lower: the links after it.

    Raises:
        ConflictError: it would hide some.
    """
    for link in lower:
        if not link.covers(path):
            continue
        if link.creates(path):
            reason = f"it would hide what store {link.name} issues there"
            raise ConflictError(path, reason, store=target.name, hint="Write it elsewhere, or pass replace=True")
        try:
            reading = link.read(path, fresh=True)
        except SecretNotFoundError:
            continue
        hidden = sorted(reading.data.keys() - data.keys())
        if hidden:
            reason = f"it would hide the keys {', '.join(hidden)}, which only store {link.name} has"
            raise ConflictError(path, reason, store=target.name, hint="Set these too, or pass replace=True")
