"""The credential of one path, for connections that outlive it.

A connection provider asks for the credential whenever it opens a connection. If the server refuses it, the provider
reads it past the cache, at most once a second for each path, and then tries the pending value of a rotation. When the
credential changes, the provider drains its pool: idle connections are closed, and busy ones when they are returned.
"""

from __future__ import annotations

import asyncio
import os
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from math import inf
from threading import RLock
from time import monotonic
from typing import Any, TypeVar, cast
from weakref import WeakKeyDictionary

from strongroom._manager import SecretsManager
from strongroom._manager.manager import parts_of
from strongroom.errors import SecretNotFoundError, StrongroomError
from strongroom.rotate.state import pending_path, pending_secret
from strongroom.secret import SensitiveDict, protect_data
from strongroom.secrets_manager import default_manager

_T = TypeVar("_T")
_O = TypeVar("_O")

FRESH_READ_PAUSE = 1.0
"""The shortest time between two reads of one path past the cache, in seconds."""


class Reread(Enum):
    """A way to read the credential after the server refused the current one. They are tried in this order."""

    FRESH = "past the cache"
    PENDING = "the new value of a rotation that is under way"


@dataclass(frozen=True, slots=True)
class ServerLogin:
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
        self._latest: ServerLogin | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._accepted: ServerLogin | None = None  # a pending credential that opened a connection since the last change

    @property
    def manager(self) -> SecretsManager:
        """The manager that reads the credential."""
        return default_manager() if self._manager is None else self._manager

    def is_current(self, login: ServerLogin | None) -> bool:
        """Return False if a later read of this source brought other data. Nothing is read."""
        return login is not None and login in (self._latest, self._accepted)

    # --- reading ------------------------------------------------------------------------------------------------------

    def current(self) -> ServerLogin:
        """Return the credential from the cache of the chain, or from its stores.

        Raises:
            StrongroomError: the chain cannot answer.
        """
        return self._noted(self.manager.resolve(self.path).value)

    async def acurrent(self) -> ServerLogin:
        """`current`. A cached credential is returned without a thread."""
        self._loop = asyncio.get_running_loop()
        return self._noted((await self.manager.aresolve(self.path)).value)

    def after_refusal(self, way: Reread) -> ServerLogin | None:
        """Return the credential past the cache. A `PENDING` one may be None: no rotation is under way.

        Raises:
            StrongroomError: the chain cannot answer.
        """
        manager = self.manager
        refusals = _refusals.setdefault(manager, {}).setdefault(self.path, _Refusals())
        if way is Reread.FRESH:
            return self._noted(refusals.fresh(manager, self.path))
        pending = refusals.pending(manager, self.path)
        return None if pending is None else ServerLogin(self.path, pending)

    async def aafter_refusal(self, way: Reread) -> ServerLogin | None:
        return await asyncio.to_thread(self.after_refusal, way)

    def _noted(self, data: object) -> ServerLogin:
        login = ServerLogin(self.path, cast("SensitiveDict", data))
        if login != self._latest:
            self._latest, self._accepted = login, None
        return login

    # --- connecting ---------------------------------------------------------------------------------------------------

    def connect(
        self,
        open_: Callable[[ServerLogin], _T],
        refuses: Callable[[Exception], bool],
        wait: Callable[[Awaitable[Any]], Any] | None = None,
    ) -> tuple[_T, ServerLogin]:
        """Return a new connection, and the credential that opened it.

        Args:
            open_: opens a connection.
            refuses: whether an exception of `open_` may mean that the server refused the credential. Any other one ends
                the attempts.
            wait: returns the result of a coroutine, for a driver that runs in a greenlet of an event loop. It then
                waits for the asynchronous reads.

        Raises:
            StrongroomError: the chain has no credential.
            Exception: the first one of `open_`, if no credential was accepted.
        """
        login: ServerLogin = self.current() if wait is None else wait(self.acurrent())
        try:
            return open_(login), login
        except Exception as error:  # noqa: BLE001  # of a driver
            failure = _frameless(error)
        for way in Reread if refuses(failure) else ():
            other: ServerLogin | None = None
            with suppress(StrongroomError):  # the refusal says more
                other = self.after_refusal(way) if wait is None else wait(self.aafter_refusal(way))
            if other is not None and other != login:
                with suppress(Exception):  # likewise
                    connection = open_(other)
                    self._accepted = other
                    return connection, other
        raise failure

    async def aconnect(
        self, open_: Callable[[ServerLogin], Awaitable[_T]], refuses: Callable[[Exception], bool]
    ) -> tuple[_T, ServerLogin]:
        login = await self.acurrent()
        try:
            return await open_(login), login
        except Exception as error:  # noqa: BLE001
            failure = _frameless(error)
        for way in Reread if refuses(failure) else ():
            other = None
            with suppress(StrongroomError):
                other = await self.aafter_refusal(way)
            if other is not None and other != login:
                with suppress(Exception):
                    connection = await open_(other)
                    self._accepted = other
                    return connection, other
        raise failure

    # --- changes ------------------------------------------------------------------------------------------------------

    def drain_on_change(
        self, owner: _O, drain: Callable[[_O], object], *, pace: Callable[[_O], float | None] = lambda _: None
    ) -> None:
        """Call `drain(owner)` after each change of the credential, from the thread of the watch, while `owner` lives.

        Args:
            owner: the pool or engine. It is not kept alive.
            drain: must not hold a reference to `owner`.
            pace: returns the longest time until the next look in seconds, or None for the interval of the chain's
                links. It is called now and after each look, in that thread too, and must not hold a reference either.
        """
        reference = weakref.ref(owner)

        def changed(_change: object) -> None:
            with suppress(StrongroomError):
                self.current()
            if (living := reference()) is not None:
                drain(living)

        def longest() -> float | None:
            return None if (living := reference()) is None else pace(living)

        watch = parts_of(self.manager).watcher.watch([self.path], changed, None, longest)
        weakref.finalize(owner, watch.close)

    def drain_in_loop(self, owner: _O, drain: Callable[[_O], Coroutine[Any, Any, object]]) -> None:
        """`drain_on_change`, with a coroutine function for the event loop in which the last connection was opened."""

        def schedule(living: _O) -> None:
            if self._loop is not None and not self._loop.is_closed():
                asyncio.run_coroutine_threadsafe(drain(living), self._loop)

        self.drain_on_change(owner, schedule)


def _frameless(error: Exception) -> Exception:
    """Return the error, and leave out its frames and those of its causes: the driver's variables hold the password."""
    each: BaseException | None = error
    while each is not None and each.__traceback__ is not None:
        each.__traceback__ = None
        each = each.__cause__ or each.__context__
    return error


class _Refusals:
    """The reads of one path after refusals: one at a time, and one of each kind in `FRESH_READ_PAUSE` seconds."""

    def __init__(self) -> None:
        self._lock = RLock()
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
