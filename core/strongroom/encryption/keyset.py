"""Keysets: the keys of encrypted fields, as one secret holds them, and the handle by which a process knows one.

The handle reads its keyset once. A watch and texts of unknown keys renew it, and a fork's child drops it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import secrets
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from math import inf
from typing import NoReturn, Self
from weakref import WeakKeyDictionary

from strongroom._manager import SecretsManager
from strongroom._manager.manager import manager_of, parts_of
from strongroom._watch.watch import Change
from strongroom.errors import Answer, InvalidDataError, StoreUnavailableError, StrongroomError, shown
from strongroom.secret import SensitiveBytes, SensitiveStr, Value
from strongroom.secrets_manager import default_manager
from strongroom.store import fork_safe_lock

logger = logging.getLogger("strongroom.encryption")

PRIMARY = "primary"
"""The key of a keyset that holds the id of the newest key, which encrypts."""

PREVIOUS = "previous"
"""The key of a keyset that holds the id of the key that still encrypts during the grace time of a rotation."""

SHORTEST_KEY = 32
"""Characters."""

KEY_ID = r"[a-z0-9_-]{1,32}"
"""The pattern of an id. A database may compare without case, and a text has a dot after it."""

FRESH_READ_PAUSE = 1.0
"""For how many seconds no unknown key is looked for, after a read past the cache that failed or did not find its key.
Who can write rows can make up ids, and must stall neither the store nor an event loop."""

RECHECK = 10.0
"""For how many seconds a process encrypts before it asks the cache of the chain whether the keyset still counts."""


@dataclass(frozen=True)
class Keyset:
    """The keys of a secret.

    Attributes:
        encrypting: the id of the key that encrypts: `previous` if the secret has it, otherwise `primary`.
        keys: the keys by their ids.
        primary: the id of the newest key.
        previous: the id of the key before it during the grace time of a rotation; None otherwise.
    """

    primary: str
    previous: str | None
    keys: Mapping[str, SensitiveBytes] = field(repr=False)

    @property
    def encrypting(self) -> str:
        return self.previous or self.primary

    def __reduce__(self) -> NoReturn:
        raise TypeError("A Keyset cannot be pickled, since the pickle would hold its keys: call load in each process")

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    @classmethod
    def parse(cls, data: Mapping[str, Value], path: str | None = None) -> Keyset:
        """Return the keyset that a secret holds.

        Raises:
            InvalidDataError: it holds none.
        """
        keys: dict[str, SensitiveBytes] = {}
        for key_id in data.keys() - {PRIMARY, PREVIOUS}:
            key = data[key_id]
            if not re.fullmatch(KEY_ID, key_id):
                raise InvalidDataError(path, f"the key {shown(key_id)} is not an id of at most 32 of a-z, 0-9, - and _")
            if not isinstance(key, str) or len(key) < SHORTEST_KEY:
                raise InvalidDataError(path, f"the key {key_id} is not a text of at least {SHORTEST_KEY} characters")
            keys[key_id] = SensitiveBytes(key.encode())
        primary, previous = data.get(PRIMARY), data.get(PREVIOUS)
        if primary is None and previous is None and len(keys) == 1:
            primary = next(iter(keys))
        if primary is None:
            raise InvalidDataError(path, f"it has {len(keys)} keys, and no {PRIMARY!r} that names the newest one")
        for name, named in ((PRIMARY, primary), (PREVIOUS, previous)):
            if named is not None and (not isinstance(named, str) or named not in keys):
                raise InvalidDataError(path, f"{name!r} names a key that it does not have")
        return cls(str(primary), None if previous is None else str(previous), keys)


def new_key(taken: Collection[str]) -> tuple[str, SensitiveStr]:
    """Return the id of a new key, which is not among those taken, and the key.

    The id has five digits: redaction takes a number of six for a value, and would hide the ids of texts in logs.
    """
    while (key_id := str(10_000 + secrets.randbelow(90_000))) in taken:
        pass
    return key_id, SensitiveStr(secrets.token_urlsafe(32))


# --- the keyset of a process ------------------------------------------------------------------------------------------


def load(path: str, *, manager: SecretsManager | None = None, fresh: bool = False) -> Keyset:
    """Read a keyset at the start of a process, so that no later use has to wait for it, and return it.

    Args:
        path: its path.
        manager: None is the default manager of the process.
        fresh: read it past the cache, also if this process knows it.

    Raises:
        StrongroomError: it cannot be read, or is not a keyset.
    """
    handle = handle_of(manager or default_manager(), path)
    return handle.read(fresh=True) if fresh else handle.keyset()


async def aload(path: str, *, manager: SecretsManager | None = None, fresh: bool = False) -> Keyset:
    """`load`, off the event loop. Without it, the first use in an event loop blocks the loop for one read."""
    return await asyncio.to_thread(load, path, manager=manager, fresh=fresh)


class KeysetHandle:
    """The keyset at one path, as a process knows it.

    A key that was once read is kept: somebody may have rolled the secret back, and texts of that key are there.
    """

    def __init__(self, manager: SecretsManager, path: str) -> None:
        self._path = path
        self._manager = manager_of(parts_of(manager))  # `_handles` lives as long as the other object
        self._latest: Keyset | None = None
        self._recheck_at = self._look_at = -inf
        self._failure: StrongroomError | None = None  # of the last read past the cache
        self._is_watched = False
        self._lock = fork_safe_lock(self, "_lock")

    def forget(self) -> None:
        """Drop the keys, in the child of a fork."""
        self._latest = None
        self._recheck_at = self._look_at = -inf

    def keyset(self) -> Keyset:
        """Return the keyset, which the first call reads."""
        if (latest := self._latest) is not None:
            return latest
        with self._lock:
            return self._latest or self.read()

    def confirmed(self) -> Keyset:
        """Return the keyset for an encryption, which must not go on long after the chain has lost the keyset.

        Raises:
            StoreUnavailableError: the store has not answered for longer than the cache serves a stale secret.
        """
        latest = self._latest
        if latest is None or time.monotonic() > self._recheck_at:
            with self._lock:  # another thread may have read it meanwhile
                return self.read() if time.monotonic() > self._recheck_at else self.keyset()
        return latest

    def with_key(self, key_id: str) -> Keyset:
        """Return the keyset after a search for this key, which is in a text and not in the keyset as it is known.

        A text of a key is newer than the key: a read past the cache finds it, unless it was lost or made up.

        Raises:
            StoreUnavailableError: a store that may have the key does not answer.
        """
        with self._lock:
            keyset = self.keyset()
            if key_id not in keyset.keys and time.monotonic() >= self._look_at:
                try:
                    self._failure = None
                    keyset = self.read(fresh=True)
                except StrongroomError as error:
                    self._failure = error.copy()
                if key_id not in keyset.keys:
                    self._look_at = time.monotonic() + FRESH_READ_PAUSE
            if key_id not in keyset.keys and self._failure is not None:
                raise self._failure.copy()
            return keyset

    def read(self, *, fresh: bool = False) -> Keyset:
        """Read the keyset from the chain, or past its cache, and return it."""
        with self._lock:
            found = self._manager.resolve(self._path, fresh=fresh)
            if fresh and any(attempt.answer is Answer.UNAVAILABLE for attempt in found.attempts):
                self._failure = StoreUnavailableError(self._path, attempts=found.attempts)  # it may have other keys
            data = found.value if isinstance(found.value, Mapping) else {}
            self._latest = keyset = self._with_lost_keys(Keyset.parse(data, self._path))
            self._recheck_at = time.monotonic() + RECHECK
            if not self._is_watched:
                self._manager.watch([self._path], self._follow)
                self._is_watched = True
            return keyset

    def _follow(self, _: Change) -> None:
        self.read()

    def _with_lost_keys(self, found: Keyset) -> Keyset:
        before = self._latest
        if before is None:
            return found
        keyset = replace(found, keys={**before.keys, **found.keys})
        if keyset == before:
            return before
        if lost := sorted(before.keys.keys() - found.keys.keys()):
            logger.warning("The keyset %s has lost keys that this process keeps: %s", self._path, ", ".join(lost))
        return keyset


_handles: WeakKeyDictionary[SecretsManager, dict[str, KeysetHandle]] = WeakKeyDictionary()


def handle_of(manager: SecretsManager, path: str) -> KeysetHandle:
    """Return the handle of the keyset at a path, which all columns of a manager share."""
    handles = _handles.setdefault(manager, {})
    return handles.get(path) or handles.setdefault(path, KeysetHandle(manager, path))


def _forget_in_child() -> None:
    for handles in list(_handles.values()):
        for handle in handles.values():
            handle.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)
