"""Type checks for the tests of an application and of a store. Nothing here runs."""

from typing import assert_type

import pytest

from strongroom import Secret, SecretsManager
from strongroom.store import SecretStore
from strongroom.store.memory import MemoryStore
from strongroom.testing import (
    NON_TEXT_CASES,
    OverrideValue,
    SimulatedFailure,
    Slow,
    StoreContract,
    override,
    silent_server,
)
from strongroom.testing.store_contract.base import Contents, Holding


class ReadOnly:
    def read(self, path: str) -> Secret:
        return Secret(path, {})

    def close(self) -> None: ...


class TestWritable(StoreContract):
    capabilities = frozenset({"listable", "writable"})
    cannot_hold = NON_TEXT_CASES | {"nul"}

    @pytest.fixture
    def store(self) -> MemoryStore:
        return MemoryStore()

    @pytest.fixture
    def denied(self) -> SecretStore:
        return ReadOnly()


class TestReadOnly(StoreContract):
    impossible = {"denied", "unreachable"}  # noqa: RUF012  # the base declares it for the class

    @pytest.fixture
    def holding(self) -> Holding:
        def fill(_: Contents) -> ReadOnly:
            return ReadOnly()

        return fill


def an_application_overrides() -> None:
    slow = Slow(0.5, {"key": b"v"})
    with override({"a": {"key": "v"}, "b#key": 5, "c": SimulatedFailure.DENIED, "d": slow}) as manager:
        assert_type(manager, SecretsManager)
    with silent_server() as (host, port):
        assert_type(f"http://{host}:{port}", str)
    contents: dict[str, OverrideValue] = {
        "a": {"key": "v"},
        "b#key": 5,
        "c": SimulatedFailure.DENIED,
        "d": slow,
    }
    override(contents)
    override({"a": object()})  # type: ignore[dict-item]
    Slow(0.5)  # type: ignore[call-arg]
