"""The asynchronous store of the documentation keeps the contract, against a server on loopback."""

import json
import socketserver
import sys
import threading
from pathlib import Path

import pytest

from strongroom.paths import entries_below
from strongroom.testing import AsyncStoreContract, silent_server

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


class TestLineStore(AsyncStoreContract):
    capabilities = frozenset({"listable", "writable"})
    many = 200

    @pytest.fixture
    def server(self):
        with Server() as server:
            yield server
            server.shutdown()

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
