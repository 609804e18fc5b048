"""The number of connections to one address is bounded; requests queue for them within their deadline."""

import sys
import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from types import SimpleNamespace

import pytest

from strongroom.store import time_limit
from strongroom_vault.errors import VaultConnectionError
from strongroom_vault.http import request_policy
from strongroom_vault.http.address import Address
from strongroom_vault.http.drivers import curl_driver, urllib3_driver
from strongroom_vault.http.drivers import pool as drivers_pool
from strongroom_vault.http.drivers.pool import Idle, Pool
from strongroom_vault.http.messages import HttpRequest, SendStep
from strongroom_vault.http.nodes import Cluster
from strongroom_vault.http.request_policy import exchange
from strongroom_vault.http.tls import TLSSettings
from support.clock import LONG
from support.scenarios.load import wait_until

REQUEST = HttpRequest("GET", "/v1/secret/data/app", {})
ENOUGH_PROBES = 2
ADDRESS = Address("http", "127.0.0.1", 8200)


@pytest.fixture
def slow():
    """A server that answers after a moment, but not before `gate` is set, and counts connections, reads and probes.

    It answers a probe at once while it `is_alive`.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self):
            self.server.connections += 1
            super().setup()

        def finish(self):
            super().finish()
            self.server.closed += 1

        def do_GET(self):
            if self.path == "/v1/sys/seal-status":
                self.server.probes += 1
                if self.server.probes == ENOUGH_PROBES or not self.server.is_alive:
                    self.server.probed.set()
                self.server.is_alive or self.server.gate.wait(LONG)
            else:
                self.server.reads += 1
                time.sleep(0.05)
                self.server.gate.wait(LONG)
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_):
            pass

    class Server(ThreadingHTTPServer):
        request_queue_size = 256

        def handle_error(self, *_):
            """A client that gives up closes its connection."""

    server = Server(("127.0.0.1", 0), Handler)
    server.connections, server.closed, server.gate = 0, 0, threading.Event()
    server.reads, server.probes, server.is_alive, server.probed = 0, 0, True, threading.Event()
    server.gate.set()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.gate.set()
    server.shutdown()
    server.server_close()


@pytest.fixture(params=[curl_driver.CurlDriver, urllib3_driver.Urllib3Driver], ids=["curl", "urllib3"])
def opened(request, slow, monkeypatch):
    """A function that opens a driver with at most so many connections, and returns it and the address."""
    drivers = []

    def open_(connections):
        monkeypatch.setattr(sys.modules[request.param.__module__], "MAX_CONNECTIONS", connections)
        address = Address("http", "127.0.0.1", slow.server_address[1])
        drivers.append(request.param([address], TLSSettings()))
        return drivers[-1], address

    yield open_
    for driver in drivers:
        driver.close()


def read(driver, address, seconds):
    ends = time.monotonic() + seconds
    with time_limit(seconds):
        return driver.run(exchange(REQUEST, Cluster([address]), lambda: max(0.0, ends - time.monotonic())))


@pytest.fixture(autouse=True)
def short_silence(monkeypatch):
    """A server is asked if it is alive after 0.3 s instead of 2.5 s of silence."""
    monkeypatch.setattr(request_policy, "_SILENCE", 0.8)
    monkeypatch.setattr(request_policy, "_LONGEST_LIVENESS_SHARE", 0.5)


def test_readers_of_a_slow_server_share_a_bounded_number_of_connections(slow, opened):
    """They wait for a connection longer than a server may be silent, and each sends one request."""
    driver, address = opened(4)
    with ThreadPoolExecutor(80) as pool:
        replies = list(pool.map(lambda _: read(driver, address, LONG), range(80)))
    assert {reply.status for reply in replies} == {200}
    assert slow.connections - slow.probes <= 4
    assert slow.reads == 80


def test_a_server_that_is_alive_is_waited_for(slow, opened):
    """The read is sent once. The only connection waits for its reply, so the probes have their own."""
    slow.gate.clear()
    driver, address = opened(1)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(read, driver, address, LONG)
        assert slow.probed.wait(LONG)
        assert not waiting.done()
        slow.gate.set()
        assert waiting.result().status == 200
    assert slow.reads == 1
    assert read(driver, address, LONG).status == 200
    assert slow.connections == 1 + slow.probes


def test_a_server_that_answers_no_probe_is_not_waited_for(slow, opened):
    slow.is_alive = False
    slow.gate.clear()
    driver, address = opened(1)
    began = time.monotonic()
    with pytest.raises(VaultConnectionError, match="no whole reply in time"):
        read(driver, address, LONG)
    assert time.monotonic() - began < LONG / 2
    assert (slow.reads, slow.probes) == (1, 1)


class Connection:
    """A connection without a server."""


def step(seconds):
    return SendStep(REQUEST, ADDRESS, seconds)


def test_connections_go_to_threads_in_the_order_of_their_requests():
    """A thread that reads in a loop passes none that waits, which would have no connection until its deadline."""
    pool = Pool(Connection, lambda _: None, 1)
    taken, _ = pool.take(step(LONG))
    order = []

    def wait_for_turn():
        connection, _ = pool.take(step(LONG))
        order.append("waiting")
        pool.give_back(connection, usable=True)

    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(wait_for_turn)
        wait_until(lambda: pool.waiting)
        pool.give_back(taken, usable=True)
        again, _ = pool.take(step(LONG))
        order.append("again")
        waiting.result()
    assert (again, order) == (taken, ["waiting", "again"])
    late = step(0.0)
    assert pool.take(late)[0] is None
    assert late.waited >= 0.0
    pool.give_back(again, usable=False)
    assert pool.take(step(0.0))[0] is not again


def test_a_free_connection_is_taken_without_a_wait():
    """So nothing is taken off the time of the request, by which its server is judged."""
    pool = Pool(Connection, lambda _: None, 1)
    connection, _ = pool.take(step(LONG))
    pool.give_back(connection, usable=True)
    again = step(LONG)
    assert pool.take(again)[0] is connection
    assert again.waited == 0.0


def test_an_interrupted_thread_leaves_the_line():
    """A turn that stayed would block all later requests until their deadlines."""

    class Interrupted(deque):
        def append(self, turn):
            super().append(turn)
            raise KeyboardInterrupt

    pool = Pool(Connection, lambda _: None, 1)
    pool._line = Interrupted()  # as a signal of this moment
    with pytest.raises(KeyboardInterrupt):
        pool.take(step(LONG))
    assert pool.waiting == 0


def test_idle_connections_are_closed_after_a_peak(slow, opened, monkeypatch):
    """A process that read a thousand secrets once must not keep their connections; one is kept for the next request."""
    monkeypatch.setattr(drivers_pool, "IDLE_SECONDS", 0.2)
    driver, address = opened(4)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: read(driver, address, LONG), range(8)))
        list(pool.map(lambda _: len(list(batch(driver, address, 3))), range(2)))
        peak = slow.connections
        wait_until(lambda: slow.closed == peak - 1)
    assert read(driver, address, LONG).status == 200
    assert slow.connections == peak


def test_a_connection_that_is_used_often_stays_open(monkeypatch):
    """Only those are closed that were idle for the whole time, the oldest first."""
    closed = []
    now = 0.0
    monkeypatch.setattr(drivers_pool, "time", SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setattr(drivers_pool, "active_count", lambda: 1)  # no thread: its method is called here
    idle = Idle(closed.append)
    for connection in "abc":
        idle.append(connection)
    assert idle.pop() == "c"
    now = drivers_pool.IDLE_SECONDS
    idle.append("c")
    assert idle._close_old() == drivers_pool.IDLE_SECONDS  # until the next look
    assert (closed, list(idle)) == (["a", "b"], ["c"])
    idle.close()
    assert closed == ["a", "b", "c"]


def test_a_process_of_one_thread_stays_one(slow, opened, monkeypatch):
    """It may be about to fork, as a server that loads its application first."""
    monkeypatch.setattr(drivers_pool, "active_count", lambda: 1)
    before = set(threading.enumerate())
    driver, address = opened(4)
    assert len(list(batch(driver, address, 3))) == 3
    assert read(driver, address, LONG).status == 200
    assert not [thread.name for thread in set(threading.enumerate()) - before if thread.name == "vault connections"]


def test_a_reader_that_gets_no_connection_fails_at_its_deadline(slow, opened):
    slow.gate.clear()
    driver, address = opened(1)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(read, driver, address, LONG)
        while not slow.connections:
            time.sleep(0.01)
        with pytest.raises(VaultConnectionError) as busy:
            read(driver, address, 1.0)
        assert str(busy.value) == (
            f"Vault is too slow for all requests ({address}: no connection was free in time). "
            "Read fewer secrets at the same time, or raise the timeout"
        )
        slow.gate.set()
        assert first.result().status == 200
    assert slow.connections - slow.probes == 1


def test_a_failed_request_gives_its_connection_back(slow, opened):
    driver, address = opened(1)
    slow.gate.clear()
    for _ in range(3):
        with pytest.raises(VaultConnectionError):
            read(driver, address, 0.1)
    slow.gate.set()
    assert read(driver, address, LONG).status == 200


def batch(driver, address, count):
    return driver.run_many((number, partial(exchange, REQUEST, Cluster([address]))) for number in range(count))


def test_batches_in_a_row_use_the_same_connections(slow, opened):
    """Each reader stops after its last result, as a batch of the chain does."""
    driver, address = opened(64)
    for count in (12, 5, 12):
        results = batch(driver, address, count)
        assert {reply.status for _, reply in islice(results, count)} == {200}
        results.close()
    assert slow.connections <= 12


def test_batches_at_the_same_time_keep_a_bounded_number_of_connections(slow, opened):
    driver, address = opened(4)
    batches = [batch(driver, address, 4) for _ in range(3)]
    assert [len(list(results)) for results in zip(*batches, strict=True)] == [3] * 4
    wait_until(lambda: slow.connections - slow.closed <= 4)
