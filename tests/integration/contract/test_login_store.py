"""The store of the documentation that logs in: one login for many reads, a new one in time, and no storm of logins."""

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

from strongroom.errors import AuthenticationError, SecretNotFoundError, StoreUnavailableError
from strongroom.store import time_limit
from strongroom.testing import CANARY, ServiceContract
from strongroom.testing.store_contract.base import fails
from support.clock import Clock
from support.search_path import search_path
from support.services.faulty import long_processes
from support.services.zoo import KEY, PLUGIN, ZooService

sys.path.append(str(Path(__file__).parents[3] / "docs" / "how-to" / "plugins"))

import login_store
from login_store import LoginStore

__all__ = ["search_path"]

TESTS = Path(__file__).parents[2]


@pytest.mark.long
@long_processes
class TestService(ServiceContract):
    """The store on a real server, to read only."""

    @pytest.fixture
    def service(self, search_path, monkeypatch, tmp_path):
        search_path.install("strongroom-zoo", {PLUGIN: "support.services.zoo:open_zoo"})
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(tmp_path / "site"), str(TESTS))))  # for child processes
        with ZooService() as service:
            yield service


class Zoo:
    """The service behind httpx's transport.

    Attributes:
        logins: the number of logins so far.
        valid: the tokens that it accepts.
        faults: statuses of the next logins.
        accepts: whether it accepts new tokens.
    """

    def __init__(self):
        self.logins, self.valid, self.faults, self.accepts = 0, set(), [], True
        self.lock = threading.Lock()

    def answer(self, request):
        given = request.headers["Authorization"].removeprefix("Bearer ")
        with self.lock:
            if request.url.path == "/login":
                self.logins += 1
                if self.faults:
                    return httpx.Response(self.faults.pop(0))
                if given != KEY:
                    return httpx.Response(401, json={})
                if self.accepts:
                    self.valid.add(f"{CANARY}-{self.logins}")
                return httpx.Response(200, json={"token": f"{CANARY}-{self.logins}", "expires_in": 600})
            if given not in self.valid:
                return httpx.Response(401, json={})
        found = request.url.path == "/secrets/a"
        return httpx.Response(200 if found else 404, json={"data": {"k": "v"}} if found else {})

    def store(self, key=KEY):
        client = httpx.Client(base_url="https://zoo.example", transport=httpx.MockTransport(self.answer))
        return LoginStore(client, key)


@pytest.fixture
def zoo():
    return Zoo()


def test_one_login_serves_all_threads(zoo):
    """Absences too."""
    store = zoo.store()
    with ThreadPoolExecutor(8) as pool:
        assert [secret.data["k"] for secret in pool.map(store.read, "a" * 16)] == ["v"] * 16
    with fails(SecretNotFoundError):
        store.read("b")
    assert zoo.logins == 1


def test_token_is_renewed_before_it_ends(zoo, monkeypatch):
    """After two thirds of its life."""
    clock = Clock()
    monkeypatch.setattr(login_store, "time", SimpleNamespace(monotonic=clock))
    store = zoo.store()
    for seconds, logins in ((0, 1), (399, 1), (2, 2), (99, 2)):
        clock.move(seconds)
        store.read("a")
        assert zoo.logins == logins


def test_rejected_token_is_replaced_once(zoo):
    """It was revoked before its end. If the service rejects the new one too, that is the answer."""
    store = zoo.store()
    store.read("a")
    zoo.valid.clear()
    assert store.read("a").data == {"k": "v"}
    assert zoo.logins == 2
    zoo.valid.clear()
    zoo.accepts = False
    with fails(AuthenticationError):
        store.read("a")
    assert zoo.logins == 3


def test_rejected_key_is_sent_once(zoo):
    """More would lock the account."""
    with fails(AuthenticationError):
        zoo.store("wrong").read("a")
    assert zoo.logins == 1


@pytest.mark.parametrize("status", [429, 503])
def test_login_that_fails_once_is_repeated(zoo, status):
    zoo.faults = [status]
    assert zoo.store().read("a").data == {"k": "v"}
    assert zoo.logins == 2


def test_lasting_failure_of_the_login_is_an_outage(zoo):
    zoo.faults = [503] * 100
    with time_limit(0.3), fails(StoreUnavailableError):
        zoo.store().read("a")
