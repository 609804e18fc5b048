"""A service that exchanges a key for a token, and an opener of the documentation's store that logs in."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Annotated, Any, Self
from urllib.parse import unquote

import httpx

from strongroom.encoding import to_json
from strongroom.secret import Value
from strongroom.store import Option
from strongroom.testing import CANARY
from support.services.faulty import HTTPService

sys.path.append(str(Path(__file__).parents[3] / "docs" / "how-to" / "plugins"))

from login_store import LoginStore

PLUGIN = "zoo"
KEY = f"{CANARY}-key"


class ZooService(HTTPService):
    """The service, started by `with`. It can be read only. A refused login quotes the key."""

    plugin = PLUGIN

    def __enter__(self) -> Self:
        self.held: dict[str, Any] = {}
        self.tokens: set[str] = set()
        self._server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"zoo": self}))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def options(self, address: tuple[str, int] | None = None) -> Mapping[str, object]:
        host, port = address or self._server.server_address[:2]
        return {"plugin": self.plugin, "url": f"http://{host!s}:{port}", "key": KEY}

    def put(self, path: str, data: Mapping[str, Value]) -> None:
        self.held[path] = {key: to_json(value) for key, value in data.items()}

    def revoke_tokens(self) -> bool:
        self.tokens.clear()
        return True


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64


class _Handler(BaseHTTPRequestHandler):
    zoo: ZooService
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        if not self.zoo.meet(self, changes=False, login=self.path == "/login"):
            status, answer = self._answer(self.headers["Authorization"].removeprefix("Bearer "))
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    do_POST = do_GET  # noqa: N815  # the names of http.server

    def _answer(self, given: str) -> tuple[int, Any]:
        if self.path == "/login":
            if given != KEY:
                return 401, {"error": f"no such key: {given}"}
            token = f"{CANARY}-token-{self.zoo.logins}"
            self.zoo.tokens.add(token)
            return 200, {"token": token, "expires_in": 600}
        if given not in self.zoo.tokens:
            return 401, {"error": "token"}
        path = unquote(self.path.removeprefix("/secrets/"))
        return (200, {"data": self.zoo.held[path]}) if path in self.zoo.held else (404, {"error": "absent"})


def open_zoo(
    *,
    url: Annotated[str, Option("its address", address=True)],
    key: Annotated[str, Option("the key", secret=True, sent_to="url")],
) -> LoginStore:
    return LoginStore(httpx.Client(base_url=url), key)
