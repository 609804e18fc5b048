"""A service that exchanges a key for a token, and an opener of the documentation's store that logs in."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self
from urllib.parse import unquote

import httpx

from strongroom.encoding import to_json
from strongroom.secret import Value
from strongroom.store import Option
from strongroom.testing import CANARY
from support.services.local_http import LocalHandler, LocalService

sys.path.append(str(Path(__file__).parents[3] / "docs" / "how-to" / "plugins"))

from login_store import LoginStore

PLUGIN = "zoo"
KEY = f"{CANARY}-key"


class ZooHandler(LocalHandler):
    service: ZooService

    def do_GET(self) -> None:  # noqa: N802  # the names of http.server
        if not self.service.meet(self, changes=False, login=self.path == "/login"):
            self.reply(*self._answer(self.headers["Authorization"].removeprefix("Bearer ")))

    do_POST = do_GET  # noqa: N815

    def _answer(self, given: str) -> tuple[int, Any]:
        zoo = self.service
        if self.path == "/login":
            if given != KEY:
                return 401, {"error": f"no such key: {given}"}
            token = f"{CANARY}-token-{zoo.logins}"
            zoo.tokens.add(token)
            return 200, {"token": token, "expires_in": 600}
        if given not in zoo.tokens:
            return 401, {"error": "token"}
        path = unquote(self.path.removeprefix("/secrets/"))
        return (200, {"data": zoo.held[path]}) if path in zoo.held else (404, {"error": "absent"})


class ZooService(LocalService):
    """The service, started by `with`. It can be read only. A refused login quotes the key."""

    plugin = PLUGIN
    handler = ZooHandler

    def __enter__(self) -> Self:
        self.held: dict[str, Any] = {}
        self.tokens: set[str] = set()
        return super().__enter__()

    def options(self, address: tuple[str, int] | None = None) -> Mapping[str, object]:
        return {"plugin": self.plugin, "url": self.url(address), "key": KEY}

    def put(self, path: str, data: Mapping[str, Value]) -> None:
        self.held[path] = {key: to_json(value) for key, value in data.items()}

    def revoke_tokens(self) -> bool:
        self.tokens.clear()
        return True


def open_zoo(
    *,
    url: Annotated[str, Option("its address", address=True)],
    key: Annotated[str, Option("the key", secret=True, sent_to="url")],
) -> LoginStore:
    return LoginStore(httpx.Client(base_url=url), key)
