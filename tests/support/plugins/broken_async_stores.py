"""Deliberately broken asynchronous stores, each with the test of the contract that must catch it."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import ClassVar

import pytest

from strongroom.errors import SecretNotFoundError
from strongroom.secret import Secret
from strongroom.store import AsyncSecretStore
from strongroom.testing import AsyncStoreContract


class InMemory(AsyncSecretStore):
    """A store that works, and whose service never answers after `hang`."""

    def __init__(self):
        self.held = {}
        self.hangs = False

    async def aread(self, path):
        if self.hangs:
            await self.wait()
        if path not in self.held:
            raise SecretNotFoundError(path)
        return Secret(path, self.held[path])

    async def wait(self):
        await asyncio.Event().wait()

    async def aclose(self):
        """Do nothing."""


class WrongAsync(AsyncStoreContract):
    """A broken `Store`. The test `caught_by` must fail with the message `caught_with`."""

    impossible = frozenset({"denied"})
    caught_by: ClassVar[str]
    caught_with: ClassVar[str]
    Store: ClassVar[Callable[[], InMemory]]

    @pytest.fixture
    def holding(self):
        def fill(contents):
            store = type(self).Store()
            store.held.update(contents)
            return store

        return fill

    @pytest.fixture
    def unreachable(self):
        store = type(self).Store()
        store.hangs = True
        return store


class BlocksTheLoop(WrongAsync):
    caught_by = "test_event_loop_is_not_blocked"
    caught_with = "the event loop was blocked"

    class Store(InMemory):
        async def wait(self):
            threading.Event().wait(1.5)  # its fault


class GoesOnWhenCancelled(WrongAsync):
    time_to_end = 0.2
    caught_by = "test_cancelled_read_ends"
    caught_with = "a read that was cancelled continues"

    class Store(InMemory):
        async def wait(self):
            for _ in range(20):
                with suppress(asyncio.CancelledError):
                    await asyncio.sleep(0.1)


class ReadsInItsOwnWay(WrongAsync):
    caught_by = "test_it_is_an_asynchronous_store"
    caught_with = "define aread alone"

    class Store(InMemory):
        def read(self, path):
            return Secret(path, self.held[path])


class MixesItsTasksUp(WrongAsync):
    caught_by = "test_tasks_get_their_own_answers"
    caught_with = "aread() returned the secret of another path"

    class Store(InMemory):
        async def aread(self, path):
            self.path = path
            await asyncio.sleep(0)
            return await super().aread(self.path)


WRONG = WrongAsync.__subclasses__()
