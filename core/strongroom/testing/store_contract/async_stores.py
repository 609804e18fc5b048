"""The contract of asynchronous stores: that of a store, and what event loops need."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from strongroom._boundary.guard import GuardedStore
from strongroom.errors import SecretNotFoundError, StoreError
from strongroom.store import AsyncSecretStore, time_limit
from strongroom.testing.store_contract.base import NAME, PATH, Holding, examine, in_state, secret_data
from strongroom.testing.store_contract.contract import StoreContract

_LIMIT = 1.0
"""Seconds that a call has."""

_TURNS = 3


class AsyncStoreContract(StoreContract):
    """`StoreContract` for an `AsyncSecretStore`. Its tests call the blocking methods; these look at coroutines.

    Declarations and fixtures are those of `StoreContract`.
    """

    def test_it_is_an_asynchronous_store(self, holding: Holding) -> None:
        """It is an `AsyncSecretStore`, and has no blocking read."""
        store = holding({PATH: secret_data()})
        assert isinstance(store, AsyncSecretStore)
        assert type(store).read is AsyncSecretStore.read, "define aread alone: read is made of it"
        store.close()

    def test_tasks_get_their_own_answers(self, holding: Holding) -> None:
        """Many reads at a time in one loop, of secrets that exist and one that does not."""
        paths = [f"contract/{number}" for number in range(20)]
        guarded = GuardedStore(holding({path: secret_data(own=path) for path in paths}), NAME)
        answers = dict(guarded.read_many([*paths, "contract/absent"]))
        absence = answers.pop("contract/absent")
        assert isinstance(absence, SecretNotFoundError)
        examine(absence)
        for path in paths:
            answer = answers[path]
            if isinstance(answer, StoreError):
                raise answer
            assert answer.data["own"] == path
        guarded.close()

    def test_event_loop_is_not_blocked(self, request: pytest.FixtureRequest) -> None:
        """While a service does not answer, the loop serves others."""
        store, turns = in_state(request, "unreachable", self.impossible), 0

        async def turn() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(_LIMIT / 100)
                turns += 1

        async def read() -> None:
            beside = asyncio.create_task(turn())
            with time_limit(_LIMIT), suppress(StoreError, TimeoutError):
                await asyncio.wait_for(store.aread(PATH), _LIMIT)
            beside.cancel()
            await store.aclose()

        asyncio.run(read())
        assert turns >= _TURNS, "the event loop was blocked: a call that waits must be awaited"
        store.close()

    def test_cancelled_read_ends(self, request: pytest.FixtureRequest) -> None:
        """A task that is cancelled while it waits for the service ends."""
        store = in_state(request, "unreachable", self.impossible)

        async def read() -> None:
            task = asyncio.ensure_future(store.aread(PATH))
            await asyncio.sleep(_LIMIT / 10)
            task.cancel()
            await asyncio.wait([task], timeout=self.time_to_end)
            assert task.done(), "a read that was cancelled continues"
            await store.aclose()

        asyncio.run(read())
        store.close()
