"""When credentials are renewed, replaced and let go, with a clock that tests move and a server that answers as told."""

import logging
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from strongroom.errors import ConfigurationError, StoreError, StoreUnavailableError
from strongroom.store import remaining, time_limit
from strongroom_vault.auth.token import StaticToken
from strongroom_vault.dynamic.dynamic_store import VaultDynamic
from strongroom_vault.dynamic.lease_client import Row
from strongroom_vault.http import request_policy
from strongroom_vault.http.address import Address
from strongroom_vault.http.drivers import new_driver
from strongroom_vault.http.nodes import Cluster
from strongroom_vault.http.tls import TLSSettings
from strongroom_vault.session.session import Session

PATH, PLACE = "database/app", "creds/app"
CANARY, LEASE_ID = "canary-pass", "database/creds/app/one"


class Server:
    """Answers by path, as a database engine does where a test does not say otherwise."""

    def __init__(self, fault_server, answered):
        self.fault_server, self.answered, self.replies, self.made = fault_server, answered, {}, 0
        self.open = threading.Event()
        self.open.set()
        fault_server.answers[:] = [self.answer]
        self.makes()

    def answer(self, connection):
        name = name_of(self.fault_server.requests[-1])
        status, body = self.replies.get(name, (403, {"errors": []}))
        if name == "app" and isinstance(body, dict) and "username" in body.get("data", {}):
            self.made += 1
            body["data"]["username"] = f"user-{self.made}"
        self.open.wait(60)
        connection.sendall(self.answered(status, body))

    @property
    def asked(self):
        return [name_of(request) for request in self.fault_server.requests]

    def makes(self, ttl=100, **more):
        data = {"username": "", "password": CANARY}
        reply = {"lease_id": LEASE_ID, "lease_duration": ttl, "renewable": True, "data": data}
        self.replies["app"] = 200, {**reply, **more}

    def renews(self, ttl=100):
        self.replies["renew"] = 200, {"lease_id": LEASE_ID, "lease_duration": ttl, "renewable": True}

    def fails(self, name, status=501):
        self.replies[name] = status, {"errors": [CANARY]}


def name_of(request):
    return request.target.rpartition("/")[2]


@pytest.fixture
def server(fault_server, answered):
    return Server(fault_server, answered)


@pytest.fixture
def opened(fault_server, monkeypatch):
    """A store, its clock, and `turn`: what its thread would do, which does not run."""
    clock = SimpleNamespace(time=1000.0)
    addresses = [Address.parse(fault_server.url)]
    tell = lambda: clock.time  # noqa: E731
    driver = new_driver(addresses, TLSSettings())
    session = Session(
        driver, Cluster(addresses), StaticToken("s.canary-token"), namespace=None, mount="database", clock=tell
    )
    store = VaultDynamic(session, {PATH: Row(PLACE)}, clock=tell, draw=lambda: 0.5)
    woken = []
    monkeypatch.setattr(store.renewer, "wake", lambda: woken.append(clock.time))
    session.renewal.has_work = lambda _: False
    yield SimpleNamespace(store=store, clock=clock, turn=store.turn, woken=woken)
    store._leased.clear()  # the faulty server would not answer their revocation
    store.close()


def user(opened):
    return opened.store.read(PATH).data["username"]


def warnings_of(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_lease_is_renewed_at_two_thirds_and_a_third_of_the_grace(server, opened):
    """As a token is; and a read says that it is good until the grace begins."""
    server.renews()
    assert opened.store.read(PATH).ttl == pytest.approx(85)
    assert opened.turn() == pytest.approx(71.67, abs=0.01)
    opened.clock.time += 72
    assert opened.turn() == pytest.approx(71.67, abs=0.01)
    assert server.asked == ["app", "renew"]
    assert opened.store.read(PATH).ttl == pytest.approx(85)


def test_what_nobody_reads_is_renewed_once_more_and_then_let_go(server, opened):
    """It was read since it was made; and not again while the renewal lasted."""
    server.renews()
    user(opened)
    opened.clock.time += 72
    opened.turn()
    opened.clock.time += 72
    assert opened.turn() is None
    assert server.asked == ["app", "renew"]


def test_what_is_read_again_in_time_is_renewed_at_once(server, opened):
    """By the thread, which the read wakes."""
    server.renews()
    user(opened)
    opened.clock.time += 72
    opened.turn()
    opened.clock.time += 80
    assert opened.turn() is None
    opened.woken.clear()
    assert user(opened) == "user-1"
    assert opened.woken == [opened.clock.time]
    opened.turn()
    assert server.asked == ["app", "renew", "renew"]


def test_a_renewal_that_brings_less_is_the_last_and_the_next_read_gets_others(server, opened, caplog):
    """With a good part of the old lease to go, so that a pool has time."""
    user(opened)
    server.renews(ttl=40)
    opened.clock.time += 72
    assert opened.turn() is None
    opened.woken.clear()
    assert user(opened) == "user-2"
    assert opened.woken  # these are to be renewed
    assert server.asked == ["app", "renew", "app"]
    assert not warnings_of(caplog)


def test_after_a_renewal_that_fails_the_next_read_gets_others(server, opened, caplog):
    """And where nobody reads, it is tried again before the end."""
    server.makes(ttl=1000)
    user(opened)
    server.fails("renew")
    opened.clock.time += 720
    assert opened.turn() == pytest.approx(10)
    opened.clock.time += 10
    assert opened.turn() == pytest.approx(20)
    assert len(warnings_of(caplog)) == 2
    server.renews(ttl=1000)
    opened.clock.time += 20
    opened.turn()
    assert user(opened) == "user-1"
    server.fails("renew")
    opened.clock.time += 720
    opened.turn()
    assert user(opened) == "user-2"


def test_where_no_others_can_be_had_the_old_ones_serve_to_their_end(server, opened, caplog):
    """Others are asked for again and again, each time after a pause; and what has ended is never given."""
    user(opened)
    server.fails("app")
    opened.clock.time += 86
    pauses, end = [], 1100.0
    while opened.clock.time < end:
        secret = opened.store.read(PATH)
        assert secret.data["username"] == "user-1"
        assert 0 < secret.ttl <= end - opened.clock.time
        assert opened.store.read(PATH) == secret  # nobody asks within the pause
        pauses.append(secret.ttl)
        opened.clock.time += secret.ttl
    assert 3 <= len(pauses) <= 12
    assert all("could not be replaced" in said for said in warnings_of(caplog))
    with pytest.raises(StoreUnavailableError):
        opened.store.read(PATH)
    server.makes()
    assert user(opened) == "user-2"


def test_while_one_thread_asks_for_others_the_rest_go_on_with_what_lives(server, opened):
    """Nobody waits for an engine that takes its time, and no cache keeps what is near its end."""
    user(opened)
    opened.clock.time += 86
    server.open.clear()
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(user, opened)
        while server.asked != ["app", "app"]:
            time.sleep(0.01)
        secret = opened.store.read(PATH)
        assert (secret.data["username"], secret.ttl) == ("user-1", 0)
        server.open.set()
        assert asking.result(60) == "user-2"
    assert user(opened) == "user-2"


def test_an_engine_that_hangs_leaves_time_for_what_lives(server, opened):
    """Half of what the read may take."""
    user(opened)
    opened.clock.time += 86
    server.open.clear()
    with time_limit(2.0):
        assert user(opened) == "user-1"
        assert remaining() > 0
    server.open.set()


def test_renewals_that_fail_end_with_the_lease_and_are_never_a_hot_loop(server, opened):
    user(opened)
    server.fails("renew")
    opened.clock.time += 72
    turns = 0
    while (pause := opened.turn()) is not None:
        assert pause >= 0.5
        opened.clock.time += pause
        turns += 1
    assert turns <= 5


def test_a_lease_that_the_server_does_not_know_is_given_to_nobody(server, opened, caplog):
    """An operator revoked it: what it stands for is dead, whatever its time says."""
    user(opened)
    server.fails("renew", 400)
    opened.clock.time += 72
    opened.turn()
    assert user(opened) == "user-2"
    assert "does not know their lease any more" in warnings_of(caplog)[0]


def test_a_lease_that_cannot_be_renewed_is_replaced_early(server, opened):
    """At the time of a renewal."""
    server.makes(renewable=False)
    assert opened.store.read(PATH).ttl == pytest.approx(71.67, abs=0.01)
    assert opened.turn() is None
    opened.clock.time += 72
    assert user(opened) == "user-2"


def test_the_last_second_may_be_half_of_one(server, opened):
    """What is left of a lease comes rounded: nothing is served that may be over."""
    server.makes(ttl=2)
    user(opened)
    server.renews(ttl=2)
    opened.clock.time += 1.5
    opened.turn()
    assert opened.store.read(PATH).ttl == 1.5
    opened.clock.time += 1.5
    assert user(opened) == "user-2"


def test_a_lease_of_no_time_is_given_and_not_kept(server, opened):
    """Each read gets others."""
    server.makes(ttl=0)
    assert opened.store.read(PATH).ttl <= 0.001
    opened.clock.time += 1
    assert user(opened) == "user-2"


def test_close_goes_on_to_the_next_lease_only_where_there_is_hope(server, opened, caplog):
    """One failure is said for all that are left, by their number."""
    server.makes(renewable=False)
    for _ in range(3):
        user(opened)
        opened.clock.time += 75
    server.fails("revoke", 502)
    opened.store.close()
    assert server.asked.count("revoke") == 1
    assert "There are 1, and the last ends in 25 s" in warnings_of(caplog)[0]


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        ((200, b"<html>"), StoreUnavailableError),
        ((200, {"lease_id": LEASE_ID, "lease_duration": 100, "data": [CANARY]}), StoreUnavailableError),
        ((200, {"lease_id": 7, "lease_duration": 100, "data": {"password": CANARY}}), StoreUnavailableError),
        ((200, {"lease_id": LEASE_ID, "lease_duration": "100", "data": {"password": CANARY}}), StoreUnavailableError),
        ((200, {"lease_id": LEASE_ID, "lease_duration": -1, "data": {"password": CANARY}}), StoreUnavailableError),
        ((200, {"lease_id": "", "lease_duration": 0, "data": {"password": CANARY}}), ConfigurationError),
        ((400, {"errors": [CANARY]}), ConfigurationError),
        ((404, {"errors": []}), ConfigurationError),
        ((429, {"errors": [CANARY]}), StoreUnavailableError),
        ((500, {"errors": [CANARY]}), StoreUnavailableError),
        ((503, {"errors": [CANARY]}), StoreUnavailableError),
        ((418, {"errors": [CANARY]}), StoreError),
    ],
)
def test_a_reply_that_gives_no_credentials_shows_nothing(server, opened, monkeypatch, reply, kind):
    """Neither in the message nor in the frames that it comes through."""
    monkeypatch.setattr(request_policy, "_LIMIT_PAUSE", 0.0)
    server.replies["app"] = reply
    repeated = reply[0] in {429, 500, 503}
    with time_limit(0.3 if repeated else 60), pytest.raises(kind) as failed:
        opened.store.read(PATH)
    error, frames = failed.value, failed.value.__traceback__.tb_next
    shown = "".join(traceback.TracebackException(type(error), error, frames, capture_locals=True).format())
    assert "dynamic_store.py" in shown
    assert "canary" not in f"{shown}{error!r}{vars(error)}"


def test_what_holds_credentials_shows_none(server, opened):
    """However it is printed."""
    user(opened)
    held = opened.store.roles[PATH].credentials
    assert "canary" not in f"{held!r}{opened.store!r}{vars(opened.store)}"
