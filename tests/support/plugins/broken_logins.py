"""Deliberately broken stores of a service with a login, each with the test of the contract that must catch it."""

from __future__ import annotations

import logging
from typing import Annotated, ClassVar

import httpx

from strongroom.errors import AuthenticationError, StoreUnavailableError
from strongroom.store import Option
from strongroom.store.calls import Fault
from support.plugins.broken_services import BrokenContract
from support.services.zoo import LoginStore, ZooService


class WrongLogin(BrokenContract):
    """A broken `Store` of the zoo."""

    Store: ClassVar[type[LoginStore]]
    Service = ZooService


def open_broken(
    *,
    url: Annotated[str, Option("its address", address=True)],
    key: Annotated[str, Option("the key", secret=True, sent_to="url")],
    name: str,
) -> LoginStore:
    return globals()[name].Store(httpx.Client(base_url=url), key)


class TellsTheKeyOfARefusedLogin(WrongLogin):
    caught_by = "test_refused_login_is_a_denial[rejected]"
    caught_with = "AuthenticationError shows a value"

    class Store(LoginStore):
        def _exchange(self):
            try:
                return super()._exchange()
            except Fault as fault:
                raise Fault(type(fault.error)(reason=f"the login with {self._key} failed"), fault.fate) from None


class LogsTheKeyOfARefusedLogin(WrongLogin):
    caught_by = "test_refused_login_is_a_denial[denied]"
    caught_with = "a value is in the log of zoo"

    class Store(LoginStore):
        def _exchange(self):
            try:
                return super()._exchange()
            except Fault:
                logging.getLogger("zoo").warning("The login with %s failed", self._key)
                raise


class TakesARefusedLoginForAnOutage(WrongLogin):
    caught_by = "test_refused_login_is_a_denial[rejected]"
    caught_with = "the login failed"

    class Store(LoginStore):
        def _exchange(self):
            try:
                return super()._exchange()
            except Fault:
                raise StoreUnavailableError(reason="the login failed") from None


class TakesALoginThatIsDownForADenial(WrongLogin):
    caught_by = "test_failed_login_is_an_outage[failed]"
    caught_with = "the login failed"

    class Store(LoginStore):
        def _exchange(self):
            try:
                return super()._exchange()
            except Fault:
                raise Fault(AuthenticationError(reason="the login failed")) from None


class LogsInOnce(WrongLogin):
    caught_by = "test_login_that_fails_once_is_repeated"
    caught_with = "the login failed"

    class Store(LoginStore):
        def _exchange(self):
            try:
                return super()._exchange()
            except Fault as fault:
                raise Fault(type(fault.error)(reason="the login failed")) from None


class KeepsARevokedToken(WrongLogin):
    caught_by = "test_revoked_token_is_replaced"
    caught_with = "AuthenticationError"

    class Store(LoginStore):
        def _call(self, path, operation, **options):
            return self._caller.call(path, operation, **options)


WRONG: list[type[WrongLogin]] = WrongLogin.__subclasses__()
