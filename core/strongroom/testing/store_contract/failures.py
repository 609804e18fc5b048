"""The contract of failures: denied, unreachable and absent are three classes, raised in time and without values."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from typing import Any

import pytest

from strongroom._boundary.guard import GuardedStore
from strongroom.errors import AuthenticationError, PermissionDeniedError, StoreUnavailableError
from strongroom.store import SecretStore, time_limit
from strongroom.testing.store_contract.base import (
    NAME,
    PATH,
    REQUESTS,
    STATES,
    ContractBase,
    Holding,
    Restarted,
    fails,
    in_state,
    needs,
    perform,
    secret_data,
)

_LIMIT = 0.2
"""Seconds that a call has."""

_GRACE = 1.0
"""Seconds that a call may take longer."""

_ATTEMPTS = 3
"""The fastest counts: on a busy machine, a call that heeds its time may end late."""


class FailureContract(ContractBase):
    """Denials and outages."""

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Parametrize with the states that the store can be in and the operations that it has."""
        if "operation" in metafunc.fixturenames:
            state = next(state for state in STATES if state in metafunc.function.__name__)
            skip = pytest.mark.skip(reason=f"{state!r} is declared impossible")
            operations = [name for name, needed in REQUESTS.items() if needed in {"", *self.capabilities}]
            metafunc.parametrize(
                "operation", [pytest.param("read", marks=skip)] if state in self.impossible else operations
            )
        elif "state" in metafunc.fixturenames:
            skip = pytest.mark.skip(reason="'denied' and 'unreachable' are declared impossible")
            metafunc.parametrize("state", sorted(STATES - self.impossible) or [pytest.param("unreachable", marks=skip)])
        super().pytest_generate_tests(metafunc)

    def test_impossible_state_has_no_fixture(self) -> None:
        """A state that is declared impossible cannot be shown."""
        for state in self.impossible & STATES:
            owner = next(base for base in type(self).__mro__ if state in vars(base))
            assert owner is ContractBase, f"{state!r} is declared impossible, and {owner.__name__} has a fixture for it"

    def test_denied_is_denied(self, request: pytest.FixtureRequest, operation: str) -> None:
        """A denial is never an absence, an empty list or an outage."""
        guarded = GuardedStore(request.getfixturevalue("denied"), NAME)
        with fails(PermissionDeniedError, AuthenticationError):
            perform(guarded, operation)

    def test_unreachable_is_unavailable_in_time(self, request: pytest.FixtureRequest, operation: str) -> None:
        """An outage is never an absence, and is reported within the time that the call has."""
        guarded = GuardedStore(request.getfixturevalue("unreachable"), NAME)
        for _ in _until_in_time():
            with time_limit(_LIMIT), fails(StoreUnavailableError):
                perform(guarded, operation)

    def test_dripping_service_is_unavailable_in_time(self, dripping: SecretStore) -> None:
        """A service that sends single bytes for ever is an outage, within the time that the call has."""
        guarded = GuardedStore(dripping, NAME)
        for _ in _until_in_time():
            with time_limit(_LIMIT), fails(StoreUnavailableError):
                guarded.read(PATH)

    def test_connection_that_was_closed_while_idle_is_replaced(self, restarted: Restarted) -> None:
        """The next read returns the secret. An outage here would turn into the value of a fallback."""
        store, restart = restarted({PATH: secret_data(own="0")})
        guarded = GuardedStore(store, NAME)
        for _ in range(2):
            assert guarded.read(PATH).data["own"] == "0"
            restart()
        assert guarded.read(PATH).data["own"] == "0"
        guarded.close()

    def test_close_ends_connections_and_threads(self, request: pytest.FixtureRequest, holding: Holding) -> None:
        """After `close`, the connections and threads of a store end."""
        contents = {PATH: secret_data()}
        writable = "writable" in self.capabilities
        self.note_resources()
        store: Any = request.getfixturevalue("store") if writable else holding(contents)
        if writable:
            store.write(PATH, contents[PATH])
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(store.read, [PATH] * 4))
        store.close()
        self.check_ended()

    def test_store_itself_raises_the_class_of_the_failure(self, request: pytest.FixtureRequest, state: str) -> None:
        """The store tells a denial from an outage without the guard, in the classes of `strongroom.errors`."""
        kinds = {"denied": (PermissionDeniedError, AuthenticationError), "unreachable": (StoreUnavailableError,)}
        store: SecretStore = request.getfixturevalue(state)
        with time_limit(_LIMIT) if state == "unreachable" else nullcontext(), fails(*kinds[state]):
            store.read(PATH)

    @needs("probed")
    def test_unreachable_store_is_not_well(self, request: pytest.FixtureRequest) -> None:
        """A probe of an unreachable store reports the outage in time."""
        guarded = GuardedStore(in_state(request, "unreachable", self.impossible), NAME)
        for _ in _until_in_time():
            with time_limit(_LIMIT), suppress(StoreUnavailableError):
                assert not guarded.probe().ok


def _until_in_time() -> Iterator[None]:
    """Yield for each attempt, until one has ended within the time that a call has."""
    for attempt in range(_ATTEMPTS):
        began = time.monotonic()
        yield
        taken = time.monotonic() - began
        if taken < _LIMIT + _GRACE:
            return
        assert attempt < _ATTEMPTS - 1, f"it took {taken:.1f} s, and had {_LIMIT} s"
