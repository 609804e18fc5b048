"""A small HTTP service of secrets, and a store of it as an outsider would write one: the model for broken ones."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Annotated, Any, ClassVar, Self
from urllib.parse import parse_qs, quote, unquote, urlsplit

from strongroom.encoding import from_json, to_json
from strongroom.errors import (
    AuthenticationError,
    ConflictError,
    PermissionDeniedError,
    SecretNotFoundError,
    StoreError,
    StoreUnavailableError,
)
from strongroom.paths import entries_below
from strongroom.secret import Secret, Value, Version
from strongroom.store import Option, Traits, remaining
from strongroom.store.calls import Caller, Fate, Fault, retry_after
from strongroom.testing import CANARY
from support.services.local_http import LocalHandler, LocalService

PAGE = 4
PLUGIN = "shelf"
TOKEN = f"{CANARY}-token"


class ShelfHandler(LocalHandler):
    service: ShelfService

    def do_GET(self) -> None:  # noqa: N802  # the names of http.server
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        repeatable = "If-Match" in self.headers or self.command == "DELETE"
        if self.service.meet(self, changes=self.command != "GET", repeatable=repeatable):
            return
        parts = urlsplit(self.path)
        with self.service.lock:
            answer = self._answer(unquote(parts.path.removeprefix("/secrets/")), parse_qs(parts.query), body)
        self.reply(*answer)

    do_PUT = do_DELETE = do_GET  # noqa: N815

    def _answer(self, path: str, query: Mapping[str, list[str]], body: bytes) -> tuple[int, Any]:
        shelf = self.service
        held = shelf.shown or shelf.held if self.command == "GET" and shelf.is_late else shelf.held
        if path == "/secrets":
            names = sorted(name for name in held if name > query.get("after", [""])[0])
            return 200, {"names": names[:PAGE], "more": len(names) > PAGE}
        version = held[path][0] if path in held else 0
        if self.command == "PUT":
            if self.headers.get("If-Match", str(version)) != str(version):
                return 412, {"error": "version"}
            shelf.counter += 1
            held[path] = shelf.counter, json.loads(body)
            return 200, {"version": shelf.counter}
        if path not in held:
            return 404, {"error": "absent"}
        if self.command == "DELETE":
            del held[path]
            return 200, {}
        return 200, {"version": version, "data": held[path][1]}


class ShelfService(LocalService):
    """The service, started by `with`. A PUT with `If-Match` is a check-and-set. A list comes in pages of `PAGE`."""

    plugin = PLUGIN
    token = TOKEN
    is_late = False
    handler = ShelfHandler

    def __enter__(self) -> Self:
        self.held: dict[str, tuple[int, Any]] = {}
        self.shown: dict[str, tuple[int, Any]] | None = None
        self.counter = 0
        self.lock = threading.Lock()
        return super().__enter__()

    def delay(self, seconds: float) -> bool:
        """Show the contents of now to readers, if a broken store declares to be late."""
        self.shown = dict(self.held) if seconds else None
        return self.is_late

    def options(self, address: tuple[str, int] | None = None) -> Mapping[str, object]:
        return {"plugin": self.plugin, "url": self.url(address), "token": self.token}


class UnsentError(Exception):
    """No connection was made."""


class Client:
    """One connection for each request."""

    def __init__(self, url: str, token: str) -> None:
        self.scheme, self.host = urlsplit(url)[:2]
        self.token = token

    def send(self, method: str, target: str, body: Any = None, **headers: str) -> tuple[int, bytes, float | None]:
        """Return status, content, and the seconds of Retry-After."""
        connection = self.connection(max(0.001, remaining()))
        try:
            try:
                connection.connect()
            except OSError:
                raise UnsentError from None
            headers = {**headers, "Authorization": f"Bearer {self.token}"}
            connection.request(method, target, None if body is None else json.dumps(body), headers)
            reply = connection.getresponse()
            if location := reply.headers.get("Location"):
                self.follow(location)
            return reply.status, reply.read(), retry_after(reply.headers)
        finally:
            connection.close()

    # --- for broken stores to override --------------------------------------------------------------------------------

    context: ClassVar[ssl.SSLContext | None] = None

    def connection(self, timeout: float) -> HTTPConnection:
        if self.scheme == "https":
            return HTTPSConnection(self.host, timeout=timeout, context=self.context)
        return HTTPConnection(self.host, timeout=timeout)

    def follow(self, location: str) -> None:
        """Follow no redirect."""


class Shelf:
    """The store. Broken ones override its parts."""

    traits = Traits()
    Client: ClassVar[type[Client]] = Client

    def __init__(self, url: str, token: str) -> None:
        self.token = token
        client = self.Client(url, token)
        self._caller = Caller("The shelf", lambda: client, self.fault_of)

    def read(self, path: str) -> Secret:
        found = self.call(path, "GET")
        return Secret(path, {key: from_json(value) for key, value in found["data"].items()}, found["version"])

    def list_entries(self, prefix: str) -> Iterator[str]:
        yield from sorted(entries_below(self.names(), prefix))

    def names(self) -> Iterator[str]:
        after = ""
        while True:
            page = self.call(None, "GET", f"/secrets?after={quote(after, safe='')}")
            yield from map(self.unescape, page["names"])
            if not page["more"]:
                return
            after = page["names"][-1]

    def write(self, path: str, data: Mapping[str, Value]) -> Version:
        version = self.version(path)
        while True:
            try:
                return self.write_if(path, data, version or None)
            except ConflictError:
                version = self.version(path)

    def write_if(self, path: str, data: Mapping[str, Value], expected: Version | None) -> Version:
        body = {key: to_json(value) for key, value in data.items()}

        def settle() -> Version | None:
            found = self.read(path)
            return found.version if dict(found.data) == dict(data) and found.version != expected else None

        headers = {"If-Match": str(expected or 0)}
        version: int = self.call(path, "PUT", body=body, settle=settle, **headers)
        return version if isinstance(version, int) else version["version"]

    def delete(self, path: str) -> None:
        def settle() -> bool | None:
            try:
                self.read(path)
            except SecretNotFoundError:
                return True
            return None

        self.call(path, "DELETE", settle=settle)

    def close(self) -> None:
        pass

    # --- for broken stores to override --------------------------------------------------------------------------------

    def version(self, path: str) -> Version:
        try:
            return self.read(path).version or 0
        except SecretNotFoundError:
            return 0

    def escape(self, path: str) -> str:
        return quote(path, safe="")

    def unescape(self, name: str) -> str:
        return name

    def call(
        self,
        path: str | None,
        method: str,
        target: str = "",
        *,
        body: Any = None,
        settle: Callable[[], Any] | None = None,
        **headers: str,
    ) -> Any:
        where = target or f"/secrets/{self.escape(path or '')}"

        def send(client: Client) -> Any:
            status, content, pause = client.send(method, where, body, **headers)
            try:
                return self.answer(status, content)
            except Fault as fault:
                fault.after = pause
                raise

        return self._caller.call(path, send, changes=method != "GET", settle=settle)

    def answer(self, status: int, content: bytes) -> Any:
        """Return a reply's object, or raise the fault that its status stands for."""
        if status == 200 and isinstance(answer := json.loads(content), dict):
            return answer
        if status == 404 and not content.startswith(b"{"):
            raise Fault(StoreUnavailableError(None, "another server"), Fate.ODD)
        raise {
            401: Fault(AuthenticationError(None)),
            403: Fault(PermissionDeniedError(None)),
            404: Fault(SecretNotFoundError(None)),
            412: Fault(ConflictError(None, "it has changed")),
            429: Fault(StoreUnavailableError(None, "throttled"), Fate.THROTTLED),
            503: Fault(StoreUnavailableError(None, "it failed"), Fate.FAILED),
        }.get(status, Fault(StoreUnavailableError(None, "another server"), Fate.ODD))

    def fault_of(self, error: Exception) -> Fault:
        kind = type(error).__name__
        if isinstance(error, UnsentError):
            return Fault(StoreUnavailableError(None, kind), Fate.UNSENT)
        if isinstance(error, (OSError, HTTPException)):
            return Fault(StoreUnavailableError(None, kind), Fate.FAILED)
        if isinstance(error, ValueError):
            return Fault(StoreUnavailableError(None, "another server"), Fate.ODD)
        return Fault(StoreError(None, kind))


def open_shelf(
    *,
    url: Annotated[str, Option("its address", address=True)],
    token: Annotated[str, Option("the token", secret=True, sent_to="url")],
) -> Shelf:
    return Shelf(url, token)
