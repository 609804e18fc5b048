"""The store with an asynchronous client of the documentation, against a server on loopback: its contract and loop."""

import asyncio
import json
import socketserver
import sys
import threading
from pathlib import Path

import pytest

from strongroom import SecretsManager, StoreUnavailableError
from strongroom.errors import WriteOutcomeUnknownError
from strongroom.paths import entries_below
from strongroom.store import time_limit
from strongroom.testing import StoreContract, silent_server
from support.forks import forked

sys.path.append(str(Path(__file__).parents[3] / "docs" / "how-to" / "plugins"))

from line_store import LineStore


class Handler(socketserver.StreamRequestHandler):
    """Answers one line of JSON."""

    def handle(self):
        request = json.loads(self.rfile.readline())
        self.wfile.write(json.dumps(self.server.answer(**request)).encode() + b"\n")


class Server(socketserver.ThreadingTCPServer):
    """Holds secrets in memory."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.held = {}
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def answer(self, operation, path, token, data=None):
        if token != "right":
            return {"status": "denied"}
        if operation == "list":
            return {"status": "ok", "names": sorted(entries_below(self.held, path))}
        if operation == "write":
            self.held[path] = data
        elif path not in self.held:
            return {"status": "absent"}
        elif operation == "delete":
            del self.held[path]
        return {"status": "ok", "data": self.held.get(path)}


@pytest.fixture
def server():
    with Server() as server:
        yield server
        server.shutdown()


@pytest.fixture
def manager(server):
    """A manager of a store with 200 secrets."""
    server.held.update({f"a/{number}": {"key": f"value {number}"} for number in range(200)})
    with SecretsManager(chain=[LineStore(*server.server_address, "right")], cache_ttl=0) as manager:
        yield manager


@pytest.mark.long
class TestLineStore(StoreContract):
    capabilities = frozenset({"bulk", "listable", "writable"})
    many = 200

    @pytest.fixture
    def store(self, server):
        return LineStore(*server.server_address, "right")

    @pytest.fixture
    def denied(self, server):
        return LineStore(*server.server_address, "wrong")

    @pytest.fixture
    def unreachable(self):
        with silent_server() as (host, port):
            yield LineStore(host, port, "right")


def test_a_call_ends_at_its_deadline():
    """A read is an outage; the outcome of a write is unknown. The loop serves the next call."""
    with silent_server() as address, SecretsManager(chain=[LineStore(*address, "right")]) as manager:
        with time_limit(0.1), pytest.raises(StoreUnavailableError):
            manager.get_secret("a/1", "key")
        with time_limit(0.1), pytest.raises(WriteOutcomeUnknownError):
            manager.set_secret("a/1", {"key": "value"}, replace=True)


def test_a_batch_of_200_has_each_secret_and_each_error(manager):
    """An absent path hides no other."""
    batch = manager.get_secrets([*(f"a/{number}" for number in range(200)), "a/absent"])
    assert dict(batch) == {f"a/{number}": {"key": f"value {number}"} for number in range(200)}
    assert list(batch.errors) == ["a/absent"]


def test_a_call_may_come_from_an_event_loop(manager):
    """Awaited, or blocking: the store's loop is in another thread."""

    async def read():
        return await manager.aget_secret("a/1", "key"), manager.get_secret("a/2", "key")

    assert asyncio.run(read()) == ("value 1", "value 2")


def test_the_child_of_a_fork_starts_a_new_loop(manager):
    """It has none of its parent's threads. The parent's loop continues."""
    assert manager.get_secret("a/1", "key") == "value 1"
    assert forked(lambda: manager.get_secret("a/2", "key")) == "value 2"
    assert manager.get_secret("a/3", "key") == "value 3"
