"""Deliberately broken rotators, each with the test of the contract that must catch it."""

import logging
from typing import ClassVar

import pytest

from strongroom.errors import AuthenticationError, StoreUnavailableError
from strongroom.testing import RotatorContract
from support.scenarios.rotating import FIRST, Service, ServiceUserRotator


class GoodRotator(ServiceUserRotator):
    """A rotator that keeps the contract, for the classes below to break."""

    down = False

    def prove(self, credentials):
        self._answer()
        super().prove(credentials)

    def apply(self, credentials):
        self._answer()
        super().apply(credentials)

    def _answer(self):
        if self.down:
            raise StoreUnavailableError(None, "the service does not answer")


class WrongRotator(RotatorContract):
    """A broken `Rotator`. The test `caught_by` must fail with the message `caught_with`."""

    caught_by: ClassVar[str]
    caught_with: ClassVar[str]
    Rotator: ClassVar[type[GoodRotator]]

    @pytest.fixture
    def service(self):
        return Service()

    @pytest.fixture
    def rotator(self, service):
        return type(self).Rotator(service)

    @pytest.fixture
    def current(self):
        return FIRST

    @pytest.fixture
    def accepted(self, service):
        return service.lets_in

    @pytest.fixture
    def unreachable(self, service):
        rotator = type(self).Rotator(service)
        rotator.down = True
        return rotator, FIRST


class MakesTheSameTwice(WrongRotator):
    caught_by = "test_create_returns_the_keys_that_change"
    caught_with = "create returned the same credential twice"

    class Rotator(GoodRotator):
        def create(self, current):
            return {"password": "always-the-same"}


class ChangesNothing(WrongRotator):
    caught_by = "test_create_returns_the_keys_that_change"
    caught_with = "create changed no key"

    class Rotator(GoodRotator):
        def create(self, current):
            return {"password": current["password"]}


class WritesIntoWhatItWasGiven(WrongRotator):
    caught_by = "test_create_returns_the_keys_that_change"
    caught_with = "create changed the mapping that it was given"

    class Rotator(GoodRotator):
        def create(self, current):
            made = super().create(current)
            current["extra"] = "text"
            return made


class AppliesInCreate(WrongRotator):
    caught_by = "test_create_changes_nothing_outside"
    caught_with = "create applied the new credential"

    class Rotator(GoodRotator):
        def create(self, current):
            made = super().create(current)
            self.service.accepted.add(made["password"])
            return made


class LacksAKeyAndRaisesAKeyError(WrongRotator):
    caught_by = "test_a_secret_without_its_keys_is_refused"
    caught_with = "KeyError"

    class Rotator(GoodRotator):
        def create(self, current):
            current["password"]
            return super().create(current)


class EndsTheOldOneInApply(WrongRotator):
    caught_by = "test_the_new_credential_works_once_it_is_applied"
    caught_with = "apply ended the old credential"

    class Rotator(GoodRotator):
        def apply(self, credentials):
            self.service.accepted = {credentials.new["password"]}


class AppliesOnce(WrongRotator):
    caught_by = "test_apply_is_idempotent"
    caught_with = "refuses the login"

    class Rotator(GoodRotator):
        def apply(self, credentials):
            self.service.accepted ^= {credentials.new["password"]}


class ProvesNothing(WrongRotator):
    caught_by = "test_prove_tells_a_credential_that_works_from_one_that_does_not"
    caught_with = "DID NOT RAISE"

    class Rotator(GoodRotator):
        def prove(self, credentials):
            pass


class ShowsTheValue(WrongRotator):
    caught_by = "test_prove_tells_a_credential_that_works_from_one_that_does_not"
    caught_with = "AuthenticationError shows a value"

    class Rotator(GoodRotator):
        def prove(self, credentials):
            if not self.service.lets_in(credentials.new):
                raise AuthenticationError(None, f"refused: {credentials.new['password']}")


class LogsTheValue(WrongRotator):
    caught_by = "test_apply_is_idempotent"
    caught_with = "a value is in the log of broken"

    class Rotator(GoodRotator):
        def apply(self, credentials):
            logging.getLogger("broken").debug("setting %s", credentials.new["password"].reveal())
            super().apply(credentials)


class EndsTheNewOneInRevoke(WrongRotator):
    caught_by = "test_revoke_ends_the_old_credential_alone"
    caught_with = "revoke ended the new credential"

    class Rotator(GoodRotator):
        def revoke(self, credentials):
            self.service.accepted.clear()
            return ()


class RevokesNothing(WrongRotator):
    caught_by = "test_revoke_ends_the_old_credential_alone"
    caught_with = "revoke did not end the old credential"

    class Rotator(GoodRotator):
        def revoke(self, credentials):
            return ()


class RevokesOnce(WrongRotator):
    caught_by = "test_revoke_is_idempotent"
    caught_with = "KeyError"

    class Rotator(GoodRotator):
        def revoke(self, credentials):
            self.service.accepted.remove(credentials.old["password"].reveal())
            return ()


class ReturnsOneNameAsText(WrongRotator):
    caught_by = "test_revoke_is_idempotent"
    caught_with = "revoke must return a list of keys"

    class Rotator(GoodRotator):
        def revoke(self, credentials):
            super().revoke(credentials)
            return "previous"


class CannotGoBack(WrongRotator):
    caught_by = "test_an_undo_brings_the_old_credential_back"
    caught_with = "refuses"

    class Rotator(GoodRotator):
        def apply(self, credentials):
            if credentials.new["password"] != FIRST["password"]:
                super().apply(credentials)

        def revoke(self, credentials):
            self.service.accepted -= {FIRST["password"]}
            return ()


class TakesAnOutageForARefusal(WrongRotator):
    caught_by = "test_a_service_that_does_not_answer_is_an_outage"
    caught_with = "AuthenticationError"

    class Rotator(GoodRotator):
        def _answer(self):
            if self.down:
                raise AuthenticationError(None, "refused")


class ClosesARotatorOnce(WrongRotator):
    caught_by = "test_it_is_a_rotator"
    caught_with = "closed twice"

    class Rotator(GoodRotator):
        def close(self):
            super().close()
            assert self.closed == 1, "closed twice"


WRONG = [found for found in list(vars().values()) if isinstance(found, type) and issubclass(found, WrongRotator)][1:]
