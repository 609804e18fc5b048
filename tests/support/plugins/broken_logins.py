"""Deliberately broken stores of a service with a login, each with the test of the contract that must catch it."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Annotated, ClassVar

import httpx
import pytest

from strongroom.errors import AuthenticationError, StoreUnavailableError
from strongroom.store import Option
from strongroom.store.calls import Fault
from strongroom.testing import ServiceContract
from support.search_path import SearchPath
from support.services.zoo import LoginStore, ZooService

TESTS = Path(__file__).parents[2]


class WrongLogin(ServiceContract):
    """A broken `Store` of the zoo. The test `caught_by` must fail with the message `caught_with`."""

    caught_by: ClassVar[str]
    caught_with: ClassVar[str]
    Store: ClassVar[type[LoginStore]]

    @pytest.fixture
    def service(self, monkeypatch, tmp_path):
        SearchPath(tmp_path, monkeypatch).install("broken", {"broken": f"{__name__}:open_broken"})
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(tmp_path / "site"), str(TESTS))))
        with BrokenZoo(type(self).__name__) as service:
            yield service


class BrokenZoo(ZooService):
    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    def options(self, address: tuple[str, int] | None = None) -> dict[str, object]:
        return {**super().options(address), "plugin": "broken", "name": self._name}


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
