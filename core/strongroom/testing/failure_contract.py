"""The contract of failure: denied, unreachable and absent are three things, and none of them takes long or talks."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import pytest

from strongroom.errors import AuthenticationError, PermissionDeniedError, StoreError, StoreUnavailableError
from strongroom.store import SecretStore, time_limit
from strongroom.store.guard import GuardedStore
from strongroom.testing.contract_base import NAME, PATH, Basis, fails, secret_data

_LIMIT = 0.5
_GRACE = 1.0

_OPERATIONS: Mapping[str, Callable[[GuardedStore], Any]] = {
    "read": lambda front: front.read(PATH),
    "read_key": lambda front: front.read_key(PATH, "user"),
    "read_many": lambda front: _only(front.read_many([PATH])),
    "list": lambda front: list(front.list_entries("contract")),
    "write": lambda front: front.write(PATH, secret_data()),
    "write_if": lambda front: front.write_if(PATH, secret_data(), None),
    "write_many": lambda front: _only(front.write_many([(PATH, secret_data())])),
    "delete": lambda front: front.delete(PATH),
    "versions": lambda front: front.versions(PATH),
    "read_version": lambda front: front.read_version(PATH, 1),
    "undelete": lambda front: front.undelete(PATH, 1),
    "destroy": lambda front: front.destroy(PATH, 1),
    "read_metadata": lambda front: front.read_metadata(PATH),
    "write_metadata": lambda front: front.write_metadata(PATH, {"owner": "billing"}),
}
_CAPABILITY = {
    "read_key": "keyed",
    "list": "listable",
    "write": "writable",
    "write_if": "checked",
    "write_many": "writable",
    "delete": "writable",
    **dict.fromkeys(
        ("versions", "read_version", "undelete", "destroy", "read_metadata", "write_metadata"), "versioned"
    ),
}


class Failing(Basis):
    """What happens when the store may not, or cannot, answer."""

    @pytest.mark.parametrize("operation", _OPERATIONS)
    def test_denied_is_denied(self, request: pytest.FixtureRequest, operation: str) -> None:
        """A denial is never an absence, an empty list or an outage."""
        if self._is_in("denied", operation):
            front = GuardedStore(request.getfixturevalue("denied"), NAME)
            with fails(PermissionDeniedError, AuthenticationError):
                _OPERATIONS[operation](front)

    @pytest.mark.parametrize("operation", _OPERATIONS)
    def test_unreachable_is_unavailable_in_time(self, request: pytest.FixtureRequest, operation: str) -> None:
        """An outage is never an absence, and is known within the time that the call has."""
        if self._is_in("unreachable", operation):
            front = GuardedStore(request.getfixturevalue("unreachable"), NAME)
            began = time.monotonic()
            with time_limit(_LIMIT), fails(StoreUnavailableError):
                _OPERATIONS[operation](front)
            assert time.monotonic() - began < _LIMIT + _GRACE

    @pytest.mark.parametrize(
        ("state", "kinds"),
        [("denied", (PermissionDeniedError, AuthenticationError)), ("unreachable", (StoreUnavailableError,))],
        ids=["denied", "unreachable"],
    )
    def test_failure_is_from_the_tree_before_the_front_sees_it(
        self, request: pytest.FixtureRequest, state: str, kinds: tuple[type[StoreError], ...]
    ) -> None:
        """The store itself tells a denial from an outage, in Strongroom's classes."""
        if self._is_in(state, "read"):
            store: SecretStore = request.getfixturevalue(state)
            with time_limit(_LIMIT), fails(*kinds):
                store.read(PATH)

    def test_unreachable_store_is_not_well(self, request: pytest.FixtureRequest) -> None:
        """A store that can say how it is does not say that it is well when it is not, and says it in time."""
        if "probed" in self.capabilities and self._is_in("unreachable", "read"):
            front = GuardedStore(request.getfixturevalue("unreachable"), NAME)
            began = time.monotonic()
            with time_limit(_LIMIT), suppress(StoreUnavailableError):
                assert not front.probe().ok
            assert time.monotonic() - began < _LIMIT + _GRACE

    def _is_in(self, state: str, operation: str) -> bool:
        """Whether the store can be in this state and has this operation."""
        if state in self.impossible:
            owner = next(cls for cls in type(self).__mro__ if state in vars(cls))
            assert owner is Basis, f"{state!r} is declared impossible, and {owner.__name__} has a fixture for it"
            return False
        return _CAPABILITY.get(operation) in {None, *self.capabilities}


def _only(outcomes: Any) -> None:
    """Raises the one outcome of a bulk call, as a single call would."""
    [(_, outcome)] = list(outcomes)
    if isinstance(outcome, StoreError):
        raise outcome
