"""The contract of rotators, as a class of tests."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, ClassVar, TypeAlias

import pytest

from strongroom.errors import AuthenticationError, InvalidDataError, StoreUnavailableError, StrongroomError
from strongroom.rotate.spi import CredentialPair, Rotator
from strongroom.secret import SensitiveDict, Value, check_data, protect_data, same
from strongroom.store import time_limit
from strongroom.testing.store_contract.base import Supervised, in_state

Accepted: TypeAlias = Callable[[Mapping[str, Value]], bool]
Read: TypeAlias = Callable[[str], SensitiveDict]

_PATH = "contract/app"
_LIMIT = 0.5
_PATIENCE = 30.0
"""Seconds that a call has, and after which it is late for sure."""

_SHORTEST_VALUE = 8


class RotatorContract(Supervised):
    """Check each sentence of `strongroom.rotate.spi` about rotators that says *must*.

    Subclass it in a test module, and return a rotator of a service that accepts the credential of `current`::

        class TestMyRotator(RotatorContract):
            @pytest.fixture
            def rotator(self, service):
                return open_my_rotator(url=service.url)

            @pytest.fixture
            def current(self, service):
                return {"username": "app", "password": service.password, "host": ...}

            @pytest.fixture
            def accepted(self, service):
                return lambda secret: ...        # log in without the rotator

            @pytest.fixture
            def unreachable(self, silent_server): ...    # (rotator, current) of a service that does not answer
    """

    one_credential: ClassVar[bool] = False
    """True if the service has one credential at a time, so that `apply` ends the old one."""

    local: ClassVar[bool] = False
    """True if no service checks the credential: those who use it read the store. Then `accepted` is not needed."""

    impossible: ClassVar[AbstractSet[str]] = frozenset()
    """The states that the rotator is never in: "unreachable"."""

    def __init_subclass__(cls, **options: Any) -> None:
        """Leave out the tests of a service for a local rotator: one skipped test reports that."""
        super().__init_subclass__(**options)
        for name in _OF_A_SERVICE if cls.local else ():
            setattr(cls, name, None)

    # --- overridden ---------------------------------------------------------------------------------------------------

    @pytest.fixture
    def rotator(self) -> Rotator:
        """Return an open rotator."""
        pytest.fail("override the fixture `rotator`")

    @pytest.fixture
    def current(self) -> Mapping[str, Value]:
        """Return the whole secret as it is stored. The service accepts its credential."""
        pytest.fail("override the fixture `current`")

    @pytest.fixture
    def accepted(self) -> Accepted:
        """Return a function that takes a secret and returns whether the service accepts its credential now."""
        pytest.fail("override the fixture `accepted`, or declare `local = True`")

    @pytest.fixture
    def read(self) -> Read:
        """Return a function that reads another secret, such as that of an administrator."""
        return CredentialPair("", SensitiveDict(), SensitiveDict()).read

    @pytest.fixture
    def unreachable(self) -> tuple[Rotator, Mapping[str, Value]]:
        """Return an open rotator and a secret whose service accepts connections and never answers."""
        pytest.fail("override the fixture `unreachable`, or declare `impossible = {'unreachable'}`")

    # --- for the tests ------------------------------------------------------------------------------------------------

    @pytest.fixture(autouse=True)
    def _silent_logs(self, caplog: pytest.LogCaptureFixture) -> Iterator[set[str]]:
        """Fail if a log record shows one of the values that the test adds to the set."""
        caplog.set_level(logging.DEBUG)
        values: set[str] = set()
        yield values
        for record in (*caplog.get_records("setup"), *caplog.get_records("call")):
            shown = f"{record.getMessage()} {vars(record)}"
            assert not any(value in shown for value in values), f"a value is in the log of {record.name}"

    @pytest.fixture
    def made(
        self, rotator: Rotator, current: Mapping[str, Value], read: Read, _silent_logs: set[str]
    ) -> CredentialPair:
        """Return the current and a new credential. Nothing is applied yet."""
        old = protect_data(current)
        credentials = CredentialPair(_PATH, old=old, new=protect_data({**old, **rotator.create(old)}), read=read)
        _silent_logs.update(_values(credentials))
        return credentials

    # --- create -------------------------------------------------------------------------------------------------------

    def test_it_is_a_rotator(self, rotator: Rotator) -> None:
        """It has the methods, and can be closed twice."""
        assert isinstance(rotator, Rotator)
        rotator.close()
        rotator.close()

    def test_create_returns_the_keys_that_change(self, rotator: Rotator, current: Mapping[str, Value]) -> None:
        """They can be stored, at least one has another value, and a second call returns another credential."""
        old = protect_data(current)
        first, second = rotator.create(old), rotator.create(old)
        for made in (first, second):
            check_data(_PATH, made)
            assert any(key not in old or not same(made[key], old[key]) for key in made), "create changed no key"
        assert not same(dict(first), dict(second)), "create returned the same credential twice"
        assert same(old, protect_data(current)), "create changed the mapping that it was given"

    def test_a_service_checks_the_credential(self) -> None:
        """Tests of the service follow, unless `local` is declared."""
        if self.local:
            pytest.skip("no service checks the credential (`local`)")

    def test_create_changes_nothing_outside(self, made: CredentialPair, accepted: Accepted) -> None:
        """Before `apply` the service accepts the old credential and refuses the new one."""
        assert accepted(made.old), "create ended the old credential"
        assert not accepted(made.new), "create applied the new credential"

    def test_a_secret_without_its_keys_is_refused(self, rotator: Rotator) -> None:
        """It is an InvalidDataError, and no KeyError of the rotator itself, if it needs keys."""
        try:
            made = rotator.create(SensitiveDict())
        except InvalidDataError:
            return
        assert made, "create changed no key"

    # --- apply and prove ----------------------------------------------------------------------------------------------

    def test_the_new_credential_works_once_it_is_applied(
        self, rotator: Rotator, made: CredentialPair, accepted: Accepted
    ) -> None:
        """The service accepts it, and the old one too if it can have two."""
        rotator.apply(made)
        assert accepted(made.new), "the service refuses the new credential after apply"
        if not self.one_credential:
            assert accepted(made.old), "apply ended the old credential"

    def test_apply_is_idempotent(self, rotator: Rotator, made: CredentialPair) -> None:
        """A process may end after `apply`, and another one repeats it."""
        rotator.apply(made)
        rotator.apply(made)
        rotator.prove(made)

    def test_prove_tells_a_credential_that_works_from_one_that_does_not(
        self, rotator: Rotator, made: CredentialPair
    ) -> None:
        """Before `apply` it raises AuthenticationError, which shows no value; afterwards it returns."""
        with pytest.raises(AuthenticationError) as caught:
            rotator.prove(made)
        _examine(caught.value, made)
        rotator.apply(made)
        rotator.prove(made)

    # --- revoke -------------------------------------------------------------------------------------------------------

    def test_revoke_is_idempotent(self, rotator: Rotator, made: CredentialPair) -> None:
        """A second call is harmless. Each returns the keys that the secret no longer needs."""
        rotator.apply(made)
        for _ in range(2):
            names = rotator.revoke(made)
            assert not isinstance(names, str), "revoke must return a list of keys"
            assert all(isinstance(name, str) for name in names), "revoke must return a list of keys"
        rotator.prove(made)

    def test_revoke_ends_the_old_credential_alone(
        self, rotator: Rotator, made: CredentialPair, accepted: Accepted
    ) -> None:
        """The service accepts the new credential, and it alone."""
        rotator.apply(made)
        rotator.revoke(made)
        assert accepted(made.new), "revoke ended the new credential"
        assert not accepted(made.old), "revoke did not end the old credential"

    @pytest.mark.parametrize("after", ["create", "apply", "revoke"])
    def test_an_undo_brings_the_old_credential_back(
        self, rotator: Rotator, made: CredentialPair, after: str, accepted: Accepted
    ) -> None:
        """The same calls with `old` and `new` exchanged, after each step that may have been complete."""
        if after != "create":
            rotator.apply(made)
        if after == "revoke":
            rotator.revoke(made)
        undo = CredentialPair(made.path, old=made.new, new=made.old, read=made.read)
        rotator.apply(undo)
        rotator.prove(undo)
        rotator.revoke(undo)
        assert accepted(made.old), "the service refuses the old credential after an undo"
        assert not accepted(made.new), "the service accepts the new credential after an undo"

    # --- failures -----------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("method", ["apply", "prove"])
    def test_a_service_that_does_not_answer_is_an_outage(
        self, method: str, read: Read, request: pytest.FixtureRequest
    ) -> None:
        """It is a StoreUnavailableError without a value, within the time that the call has."""
        rotator, current = in_state(request, "unreachable", self.impossible)
        old = protect_data(current)
        credentials = CredentialPair(_PATH, old=old, new=protect_data({**old, **rotator.create(old)}), read=read)
        began = time.monotonic()
        with time_limit(_LIMIT), pytest.raises(StoreUnavailableError) as caught:
            getattr(rotator, method)(credentials)
        assert time.monotonic() - began < _PATIENCE, f"{method} does not heed the time that it has"
        _examine(caught.value, credentials)


_OF_A_SERVICE = (
    "test_create_changes_nothing_outside",
    "test_the_new_credential_works_once_it_is_applied",
    "test_prove_tells_a_credential_that_works_from_one_that_does_not",
    "test_revoke_ends_the_old_credential_alone",
    "test_an_undo_brings_the_old_credential_back",
    "test_a_service_that_does_not_answer_is_an_outage",
)


def _values(credentials: CredentialPair) -> set[str]:
    """Return the values that differ between the credentials: these are secret for sure."""
    found = set()
    for secret, other in ((credentials.old, credentials.new), (credentials.new, credentials.old)):
        for key, value in secret.items():
            differs = key not in other or not same(value, other[key])
            if differs and isinstance(value, str) and len(value) >= _SHORTEST_VALUE and "user" not in key:
                found.add(str(value))
    return found


def _examine(error: StrongroomError, credentials: CredentialPair) -> None:
    """Assert that the error shows no value."""
    shown = f"{error} {error!r} {error.args!r} {vars(error)!r}"
    assert not any(value in shown for value in _values(credentials)), f"{type(error).__name__} shows a value"
