"""The keyset of a process: read once, renewed by a watch and by texts of unknown keys, dropped in a fork's child."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Mapping
from math import inf
from typing import Any
from weakref import WeakKeyDictionary, WeakSet, ref

from strongroom._manager import SecretsManager
from strongroom.encryption.keyset import Keyset
from strongroom.errors import Answer, ConfigurationError, StoreUnavailableError, StrongroomError
from strongroom.secrets_manager import default_manager
from strongroom.store import fork_safe_lock

logger = logging.getLogger("strongroom.encryption")

FRESH_READ_PAUSE = 1.0
"""For how many seconds an unknown key, or the failure of a read past the cache, is remembered."""

FRUITLESS_READS = 5
"""The most reads past the cache within `FRESH_READ_PAUSE` that do not find their key. Who can write rows can make up
ids, and must stall neither the store nor an event loop."""

RECHECK = 10.0
"""For how many seconds a process encrypts before it asks the cache of the chain whether the keyset still counts."""


def load(path: str, *, manager: SecretsManager | None = None, fresh: bool = False) -> Keyset:
    """Read a keyset at the start of a process, so that no later use has to wait for it, and return it.

    Args:
        path: its path.
        manager: None is the default manager of the process.
        fresh: read it past the cache, also if this process knows it.

    Raises:
        StrongroomError: it cannot be read, or is not a keyset.
    """
    ring = ring_of(manager or default_manager(), path)
    return (ring.renewed() if fresh else ring.generation()).keyset


async def aload(path: str, *, manager: SecretsManager | None = None, fresh: bool = False) -> Keyset:
    """`load`, off the event loop. Without it, the first use in an event loop blocks the loop for one read."""
    return await asyncio.to_thread(load, path, manager=manager, fresh=fresh)


class Generation:
    """A keyset, and the ciphers that are derived from it, which end with it."""

    __slots__ = ("ciphers", "keyset")

    def __init__(self, keyset: Keyset) -> None:
        self.keyset = keyset
        self.ciphers: dict[str, Any] = {}


class Ring:
    """The keyset at one path, as a process knows it. It is renewed by a watch, and by texts of unknown keys.

    A key that was once read is kept: somebody may have rolled the secret back, and texts of that key are there.
    """

    def __init__(self, manager: SecretsManager, path: str) -> None:
        self.path = path
        self.recheck = -inf
        self.latest: Generation | None = None
        self._manager = ref(manager)
        self._is_watched = False
        self._fresh_at = -inf
        self._absent: set[str] = set()  # the ids that reads past the cache did not find since `_absent_since`
        self._absent_since = -inf
        self._failure: StrongroomError | None = None  # of the last read past the cache
        self._lock = fork_safe_lock(self, "_lock")
        _rings_of_process.add(self)

    def generation(self) -> Generation:
        """Return the keyset, which the first call reads."""
        if (latest := self.latest) is not None:
            return latest
        with self._lock:
            return self.latest or self._read()

    def confirm(self) -> None:
        """Ask the cache of the chain whether the keyset still counts: it must not encrypt long after its outage.

        Raises:
            StoreUnavailableError: the store has not answered for longer than the cache serves a stale secret.
        """
        with self._lock:
            if time.monotonic() > self.recheck:
                self._read()

    def renewed(self) -> Generation:
        """Return the keyset past the cache."""
        with self._lock:
            return self._read(fresh=True)

    def with_key(self, key_id: str) -> Generation | None:
        """Return the keyset if it has this key. It is read past the cache if no such read has begun since this call.

        A text of a key is newer than the key. So a read that began after the text was seen has the key, and one before
        may not. Nobody waits for a later read: an id that was not found is remembered for `FRESH_READ_PAUSE`, and after
        `FRUITLESS_READS` in that time further ids fail without a read.

        Raises:
            StoreUnavailableError: a store that may have the key does not answer.
        """
        seen = time.monotonic()
        with self._lock:
            if key_id not in self.generation().keyset.keys and self._fresh_at < seen and self._may_read_for(key_id):
                self._read_again()
                if self._failure is None and key_id not in self.generation().keyset.keys:
                    self._absent.add(key_id)
            latest = self.generation()
            if key_id in latest.keyset.keys:
                return latest
            if self._failure is not None:
                raise self._failure.copy()
            return None

    def _may_read_for(self, key_id: str) -> bool:
        now = time.monotonic()
        if self._failure is not None:
            return now >= self._fresh_at + FRESH_READ_PAUSE
        if now >= self._absent_since + FRESH_READ_PAUSE:
            self._absent.clear()
            self._absent_since = now
        return key_id not in self._absent and len(self._absent) < FRUITLESS_READS

    def _read_again(self) -> None:
        self._fresh_at, self._failure = time.monotonic(), None
        try:
            self._read(fresh=True)
        except StrongroomError as error:
            self._failure = error.copy()

    def forget(self) -> None:
        """Drop the keys, in the child of a fork."""
        self.latest = None
        self.recheck = self._fresh_at = self._absent_since = -inf

    def _read(self, *, fresh: bool = False) -> Generation:
        manager = self._manager()
        if manager is None:
            raise ConfigurationError("The manager of an encrypted column does not exist any more")
        found = manager.resolve(self.path, fresh=fresh)
        if fresh and any(attempt.answer is Answer.UNAVAILABLE for attempt in found.attempts):
            self._failure = StoreUnavailableError(self.path, attempts=found.attempts)  # it may have other keys
        data = found.value
        generation = self._renew(Keyset.parse(data if isinstance(data, Mapping) else {}, self.path))
        if not self._is_watched:
            living: ref[Ring] = ref(self)
            manager.watch([self.path], lambda _change: _follow(living))
            self._is_watched = True
        return generation

    def _renew(self, keyset: Keyset) -> Generation:
        self.recheck = time.monotonic() + RECHECK
        if self.latest is not None:
            before = self.latest.keyset
            if lost := sorted(before.keys.keys() - keyset.keys.keys()):
                keyset = Keyset(keyset.primary, keyset.previous, {**before.keys, **keyset.keys})
                if keyset != before:
                    logger.warning(
                        "The keyset %s has lost keys that this process keeps: %s", self.path, ", ".join(lost)
                    )
            if keyset == before:
                return self.latest
        self.latest = generation = Generation(keyset)
        return generation

    def follow(self) -> None:
        """Read the keyset after a change. One that cannot be used leaves the keyset as it is."""
        try:
            with self._lock:
                self._read()
        except StrongroomError as error:
            logger.error("The keyset was not renewed. %s", error)  # noqa: TRY400  # its frames hold the keys


def _follow(ring: ref[Ring]) -> None:
    if (living := ring()) is not None:
        living.follow()


_rings: WeakKeyDictionary[SecretsManager, dict[str, Ring]] = WeakKeyDictionary()
_rings_of_process: WeakSet[Ring] = WeakSet()


def ring_of(manager: SecretsManager, path: str) -> Ring:
    """Return the keyset of a manager at a path."""
    rings = _rings.setdefault(manager, {})
    found = rings.get(path)
    return rings.setdefault(path, Ring(manager, path)) if found is None else found


def _forget_in_child() -> None:
    for ring in list(_rings_of_process):
        ring.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)
