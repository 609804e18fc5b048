"""The credential of one path, for connections that outlive it.

A connection provider asks for the credential whenever it opens a connection. If the server refuses it, the provider
reads it past the cache, at most once a second for each path, and then tries the pending value of a rotation. When the
credential changes, the provider drains its pool: idle connections are closed, and busy ones when they are returned.
"""

from __future__ import annotations

import asyncio
import os
import weakref
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from math import inf
from time import monotonic
from typing import TypeVar, cast
from weakref import WeakKeyDictionary

from strongroom.errors import SecretNotFoundError, StrongroomError
from strongroom.manager import SecretsManager
from strongroom.rotate.state import pending_path, pending_secret
from strongroom.secret import SensitiveDict, protect_data
from strongroom.secrets_manager import default_manager
from strongroom.store import reentrant_lock

_T = TypeVar("_T")

FRESH_READ_PAUSE = 1.0
"""The shortest time between two reads of one path past the cache, in seconds."""


class Reading(Enum):
    """A way to read the credential. Connections try them in this order."""

    CURRENT = "from the cache of the chain, or from its stores"
    FRESH = "past the cache"
    PENDING = "the new value of a rotation that is under way"


@dataclass(frozen=True, slots=True)
class Login:
    """A credential as it was read at one time. Two are equal if their data are."""

    path: str
    data: SensitiveDict = field(repr=False)


class CredentialSource:
    """The credential of one path.

    Args:
        path: such as `database/connection`.
        manager: None is the default manager of the process, looked up at each read.
    """

    def __init__(self, path: str, manager: SecretsManager | None = None) -> None:
        self.path = path
        self._manager = manager
        self._latest: Login | None = None
        self._accepted: Login | None = None  # a pending credential that opened a connection since the last change

    @property
    def manager(self) -> SecretsManager:
        """The manager that reads the credential."""
        return default_manager() if self._manager is None else self._manager

    def is_current(self, login: Login | None) -> bool:
        """Return False if a later read of this source brought other data. Nothing is read."""
        return login is not None and login in (self._latest, self._accepted)

    # --- reading ------------------------------------------------------------------------------------------------------

    def read(self, reading: Reading = Reading.CURRENT) -> Login | None:
        """Return the credential. A `PENDING` one may be None: no rotation is under way.

        Raises:
            StrongroomError: the chain cannot answer.
        """
        if reading is Reading.CURRENT:
            return self._noted(self.manager.resolve(self.path).value)
        manager = self.manager
        refusals = _refusals.setdefault(manager, {}).setdefault(self.path, _Refusals())
        if reading is Reading.FRESH:
            return self._noted(refusals.fresh(manager, self.path))
        pending = refusals.pending(manager, self.path)
        return None if pending is None else Login(self.path, pending)

    async def aread(self, reading: Reading = Reading.CURRENT) -> Login | None:
        """`read`. A cached credential is returned without a thread."""
        if reading is not Reading.CURRENT:
            return await asyncio.to_thread(self.read, reading)
        return self._noted((await self.manager.aresolve(self.path)).value)

    def _noted(self, data: object) -> Login:
        login = Login(self.path, cast("SensitiveDict", data))
        if login != self._latest:
            self._latest, self._accepted = login, None
        return login

    # --- connecting ---------------------------------------------------------------------------------------------------

    def connect(
        self,
        open_: Callable[[Login], _T],
        refuses: Callable[[Exception], bool],
        read: Callable[[Reading], Login | None] | None = None,
    ) -> tuple[_T, Login]:
        """Return a new connection, and the credential that opened it.

        Args:
            open_: opens a connection.
            refuses: whether an exception of `open_` may mean that the server refused the credential. Any other one ends
                the attempts.
            read: replaces `CredentialSource.read`.

        Raises:
            StrongroomError: the chain has no credential.
            Exception: the first one of `open_`, if no credential was accepted.
        """
        read = read or self.read
        login = cast("Login", read(Reading.CURRENT))
        try:
            return open_(login), login
        except Exception as error:
            if not refuses(error):
                raise
            for reading in (Reading.FRESH, Reading.PENDING):
                other = None
                with suppress(StrongroomError):  # the refusal says more
                    other = read(reading)
                if other is not None and other != login:
                    with suppress(Exception):  # likewise
                        connection = open_(other)
                        self._accepted = other
                        return connection, other
            raise

    async def aconnect(
        self, open_: Callable[[Login], Awaitable[_T]], refuses: Callable[[Exception], bool]
    ) -> tuple[_T, Login]:
        """`connect`, for an asynchronous driver."""
        login = cast("Login", await self.aread())
        try:
            return await open_(login), login
        except Exception as error:
            if not refuses(error):
                raise
            for reading in (Reading.FRESH, Reading.PENDING):
                other = None
                with suppress(StrongroomError):
                    other = await self.aread(reading)
                if other is not None and other != login:
                    with suppress(Exception):
                        connection = await open_(other)
                        self._accepted = other
                        return connection, other
            raise

    # --- changes ------------------------------------------------------------------------------------------------------

    def drain_on_change(self, owner: object, drain: Callable[[], object]) -> None:
        """Call `drain` after each change of the credential, from the thread of the watch, while `owner` lives.

        Args:
            owner: the pool or engine. It is not kept alive.
            drain: must not hold a reference to `owner`.
        """

        def changed(_change: object) -> None:
            with suppress(StrongroomError):
                self.read()
            drain()

        watch = self.manager.watch([self.path], changed)
        weakref.finalize(owner, watch.close)


class _Refusals:
    """The reads of one path after refusals: one at a time, and one of each kind in `FRESH_READ_PAUSE` seconds."""

    def __init__(self) -> None:
        self._lock = reentrant_lock()
        self._fresh_at = self._pending_at = -inf
        self._pending: SensitiveDict | None = None

    def fresh(self, manager: SecretsManager, path: str) -> object:
        """Return the data of a fresh read; those of the cache, right after another one."""
        with self._lock:
            due = monotonic() - self._fresh_at >= FRESH_READ_PAUSE
            if due:
                self._fresh_at = monotonic()
            return manager.resolve(path, fresh=due).value

    def pending(self, manager: SecretsManager, path: str) -> SensitiveDict | None:
        """Return the pending value; the one of the last read, right after another one."""
        with self._lock:
            if monotonic() - self._pending_at >= FRESH_READ_PAUSE:
                self._pending_at, self._pending = monotonic(), None
                self._pending = _pending(manager, path)
            return self._pending


_refusals: WeakKeyDictionary[SecretsManager, dict[str, _Refusals]] = WeakKeyDictionary()


def _pending(manager: SecretsManager, path: str) -> SensitiveDict | None:
    """Return the new value of a rotation: that of Strongroom's own, or that of the store's."""
    try:
        document = manager.resolve(pending_path(path), fresh=True).value
    except SecretNotFoundError:
        document = {}
    if isinstance(document, dict) and (data := pending_secret(document)) is not None:
        return data
    pending = manager.versions.pending(path)
    return None if pending is None else protect_data(pending.data)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_refusals.clear)  # a thread of the parent may have held a lock
