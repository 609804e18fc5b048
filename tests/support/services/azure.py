"""Azure Key Vault and the token endpoint of Microsoft Entra, in this process, behind a proxy on loopback.

It is a fake, with the limits and errors that Microsoft documents. Clients reach it as they reach Azure from a company's
network: by the real host names, through HTTPS_PROXY, and with the certificate authority of REQUESTS_CA_BUNDLE. So the
SDK verifies certificate, authority and resource as usual.
"""

from __future__ import annotations

import json
import re
import socket
import ssl
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import trustme

TENANT = "11111111-2222-3333-4444-555555555555"
CREDENTIALS = {
    "AZURE_TENANT_ID": TENANT,
    "AZURE_CLIENT_ID": "strongroom-tests",
    "AZURE_CLIENT_SECRET": "canary-client-secret",
}
TOKEN = "canary-token"  # the beginning of each token
SCOPE = "https://storage.azure.com/.default"  # of a token that is for no vault
_LOGIN = "login.microsoftonline.com"
_SUFFIX = ".vault.azure.net"
_NAME = re.compile(r"[0-9A-Za-z-]{1,127}")
_LARGEST = 25_600
_PAGE = 25
_LONG_AGO = 10_000_000
_ALL = frozenset({"get", "list", "set", "delete", "recover", "purge"})

Fault = Callable[["_Handler"], bool]


class RefusalError(Exception):
    """An error that the service answers with."""

    def __init__(self, status: int, code: str, inner: str = "") -> None:
        super().__init__(code)
        self.status, self.code, self.inner = status, code, inner


class Vault:
    """The secrets of one vault.

    Attributes:
        lag: for how many requests a delete or a recovery is under way, and the secret is neither here nor there.
        purge_protected: a deleted secret cannot be purged.
        tick: seconds between two versions. Key Vault tells whole seconds.
    """

    def __init__(self) -> None:
        self.secrets: dict[str, list[dict[str, Any]]] = {}
        self.deleted: dict[str, tuple[float, list[dict[str, Any]]]] = {}
        self.lag = 0
        self.purge_protected = False
        self.tick = 1
        self._moving: dict[str, tuple[str, int]] = {}
        self._clock = int(time.time()) - _LONG_AGO

    def now(self) -> int:
        self._clock += self.tick
        return self._clock

    def move(self, name: str, state: str) -> None:
        if self.lag:
            self._moving[name] = state, self.lag

    def check_still(self, name: str, *, change: bool) -> None:
        """Refuse a request about a secret that is being deleted or recovered."""
        if name in self._moving:
            state, left = self._moving.pop(name)
            if left > 1:
                self._moving[name] = state, left - 1
            raise RefusalError(409, "Conflict", state) if change else RefusalError(404, "SecretNotFound")

    def put(self, name: str, value: str, *, tags: Any = None, content_type: Any = None, **attributes: Any) -> str:
        """Add a version, as another program would. Return its id."""
        version, now = uuid.uuid4().hex, self.now()
        known = {"enabled": True, "created": now, "updated": now, "recoveryLevel": "Recoverable+Purgeable"}
        made = {"name": name, "version": version, "value": value, "attributes": {**known, **attributes}}
        made |= {"tags": tags or {}, "contentType": content_type}
        self.secrets.setdefault(name.lower(), []).append(made)
        return version


class FakeAzure:
    """The service, until `close`.

    Attributes:
        vaults: those that exist, by name. `fresh_vault` adds one.
        rights: the permissions of an identity, by its client id; an identity that is not here has all.
        denial: the inner code of a denial.
        token_seconds: for how long a token is valid.
        requests: method and address of each request to a vault or for a token, in order.
    """

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        self.ca_file = folder / "azure-ca.pem"
        authority.cert_pem.write_to_path(str(self.ca_file))
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(f"*{_SUFFIX}", _LOGIN).configure_cert(self.context)
        self.vaults: dict[str, Vault] = {}
        self.rights: dict[str, frozenset[str]] = {"nobody": frozenset()}
        self.denial = "AccessDenied"
        self.token_seconds = 3_599
        self.requests: list[tuple[str, str]] = []
        self.ended = threading.Event()
        self.lock = threading.RLock()
        self.connections: set[socket.socket] = set()
        self._faults: list[tuple[Fault, Callable[[str, str], bool]]] = []
        handler = type("Handler", (_Handler,), {"azure": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        self.proxy = f"http://127.0.0.1:{self._server.server_port}"

    def variables(self) -> dict[str, str]:
        """The environment of a program that uses this Azure."""
        return {**CREDENTIALS, "HTTPS_PROXY": self.proxy, "REQUESTS_CA_BUNDLE": str(self.ca_file), "NO_PROXY": ""}

    def use(self, monkeypatch: Any) -> None:
        """Make it the Azure that the SDK finds, and nothing of this machine's."""
        for name in ("https_proxy", "all_proxy", "ALL_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        for name, text in self.variables().items():
            monkeypatch.setenv(name, text)

    def fresh_vault(self) -> str:
        """Create an empty vault and return its name."""
        name = f"t{uuid.uuid4().hex[:12]}"
        self.vaults[name] = Vault()
        return name

    @contextmanager
    def fault(self, fault: Fault, when: Callable[[str, str], bool] = lambda *_: True) -> Iterator[None]:
        """Call `fault` for each request within the block; if it returns True, nothing else is answered.

        Args:
            fault: takes the request's handler.
            when: takes the method and the address of a request, and returns whether the fault applies.
        """
        self._faults.append((fault, when))
        try:
            yield
        finally:
            self._faults.remove((fault, when))

    def faulted(self, handler: _Handler, method: str, url: str) -> bool:
        return any(when(method, url) and fault(handler) for fault, when in list(self._faults))

    def drop(self) -> None:
        """Close every connection, as a load balancer does after an idle time."""
        with self.lock:
            connections, self.connections = self.connections, set()
        for connection in connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.ended.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)


def answered(status: int, code: str, inner: str = "") -> Fault:
    """Return a fault that answers with an error."""

    def fault(handler: _Handler) -> bool:
        handler.refuse(RefusalError(status, code, inner))
        return True

    return fault


def raw(content: bytes) -> Fault:
    """Return a fault that sends these bytes and closes the connection."""

    def fault(handler: _Handler) -> bool:
        handler.wfile.write(content)
        handler.close_connection = True
        return True

    return fault


def silent(handler: _Handler) -> bool:
    """Do not answer, for as long as the service runs."""
    handler.azure.ended.wait()
    handler.close_connection = True
    return True


def dripping(handler: _Handler) -> bool:
    """Answer with single bytes for ever."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Drip: ")
    while not handler.azure.ended.wait(0.05):
        handler.wfile.write(b"a")
        handler.wfile.flush()
    return True


class _Handler(BaseHTTPRequestHandler):
    """A connection to the proxy, which becomes one to the host of its CONNECT."""

    azure: FakeAzure
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # without a buffer, each answer would wait 40 ms for a delayed acknowledgment
    host = ""

    def log_message(self, *_: Any) -> None:
        pass

    def finish(self) -> None:
        try:
            super().finish()
        except OSError:
            pass  # the client has left
        finally:
            with self.azure.lock:
                self.azure.connections.discard(self.connection)
            self.connection.close()

    def handle(self) -> None:
        with suppress(OSError):
            super().handle()

    def do_CONNECT(self) -> None:
        host = self.path.partition(":")[0]
        if host != _LOGIN and host.removesuffix(_SUFFIX) not in self.azure.vaults:
            self.send_error(502)  # as a proxy answers that cannot resolve the name
            return
        self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        self.wfile.flush()
        self.connection = self.azure.context.wrap_socket(self.connection, server_side=True)
        with self.azure.lock:
            self.azure.connections.add(self.connection)
        self.rfile.close()
        self.wfile.close()
        self.rfile, self.wfile = self.connection.makefile("rb", -1), self.connection.makefile("wb", -1)
        self.host, self.close_connection = host, False

    def do_GET(self) -> None:
        self._serve()

    do_PUT = do_POST = do_PATCH = do_DELETE = do_GET  # noqa: N815  # names of http.server

    # --- one request --------------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        if hasattr(socket, "TCP_QUICKACK"):  # urllib3 holds a body back until the proxy has acknowledged the headers
            self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        method, url = self.command, f"https://{self.host}{self.path}"
        self.azure.requests.append((method, url))
        if self.azure.faulted(self, method, url):
            return
        try:
            with self.azure.lock:
                if self.host == _LOGIN:
                    self.send(*self._login(content))
                    return
                answer = self._vault(method, url, content)
        except RefusalError as refusal:
            self.refuse(refusal)
        else:
            self.send(200 if answer is not None else 204, answer)

    def send(self, status: int, answer: Any, headers: dict[str, str] | None = None) -> None:
        body = b"" if answer is None else json.dumps(answer).encode()
        self.send_response(status)
        for name, text in {**(headers or {}), "Content-Type": "application/json"}.items():
            self.send_header(name, text)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def refuse(self, refusal: RefusalError, text: str = "") -> None:
        error: dict[str, Any] = {"code": refusal.code, "message": text or "canary-6f1d-message"}
        if refusal.inner:
            error["innererror"] = {"code": refusal.inner}
        challenge = f'Bearer authorization="https://{_LOGIN}/{TENANT}", resource="https://vault.azure.net"'
        self.send(refusal.status, {"error": error}, {"WWW-Authenticate": challenge} if refusal.status == 401 else None)

    def _login(self, content: bytes) -> tuple[int, Any]:
        authority = f"https://{_LOGIN}/{TENANT}"
        if self.command == "GET":
            return 200, {
                "issuer": f"{authority}/v2.0",
                "token_endpoint": f"{authority}/oauth2/v2.0/token",
                "authorization_endpoint": f"{authority}/oauth2/v2.0/authorize",
                "tenant_discovery_endpoint": f"{authority}/v2.0/.well-known/openid-configuration",
                "metadata": [],
            }
        form = parse_qs(content.decode())
        if form["client_secret"] != [CREDENTIALS["AZURE_CLIENT_SECRET"]]:
            text = f"AADSTS7000215: Invalid client secret provided: {form['client_secret'][0]}"
            return 401, {"error": "invalid_client", "error_description": text, "error_codes": [7000215]}
        assert form["scope"] in (["https://vault.azure.net/.default"], [SCOPE])
        token = f"{TOKEN}.{form['client_id'][0]}"
        return 200, {"token_type": "Bearer", "expires_in": self.azure.token_seconds, "access_token": token}

    def _vault(self, method: str, url: str, content: bytes) -> Any:
        start, _, identity = (self.headers.get("Authorization") or "").partition(".")
        if start != f"Bearer {TOKEN}":
            raise RefusalError(401, "Unauthorized")
        vault = self.azure.vaults[self.host.removesuffix(_SUFFIX)]
        address = urlsplit(url)
        query = {name: texts[0] for name, texts in parse_qs(address.query).items()}
        assert "api-version" in query
        collection, *parts = address.path.strip("/").split("/")
        operation = _operation(method, collection, parts)
        if {"update": "set"}.get(operation, operation) not in self.azure.rights.get(identity, _ALL):
            raise RefusalError(403, "Forbidden", self.azure.denial)
        body = json.loads(content) if content else {}
        return _Operations(vault, self.host, query).perform(operation, collection, parts, body)


def _operation(method: str, collection: str, parts: list[str]) -> str:
    """The permission that a request needs."""
    if method == "GET":
        return "list" if not parts or parts[1:] == ["versions"] else "get"
    if method == "DELETE":
        return "delete" if collection == "secrets" else "purge"
    return {"PUT": "set", "PATCH": "update", "POST": "recover"}[method]


class _Operations:
    """The operations of the data plane."""

    def __init__(self, vault: Vault, host: str, query: dict[str, str]) -> None:
        self._vault, self._host, self._query = vault, host, query

    def perform(self, operation: str, collection: str, parts: list[str], body: Any) -> Any:
        if parts and not _NAME.fullmatch(parts[0]):
            raise RefusalError(400, "BadParameter")
        name = parts[0].lower() if parts else ""
        if operation == "list":
            return self._list(name)
        self._vault.check_still(name, change=operation != "get")
        if collection == "deletedsecrets":
            return self._deleted(operation, name)
        if operation == "set":
            return self._set(parts[0], body)
        found = self._vault.secrets.get(name)
        if found is None:
            raise RefusalError(404, "SecretNotFound")
        if operation == "delete":
            self._vault.deleted[name] = time.time(), self._vault.secrets.pop(name)
            self._vault.move(name, "ObjectIsBeingDeleted")
            return self._bundle(found[-1], deleted=self._vault.deleted[name][0])
        wanted = parts[1] if parts[1:] else found[-1]["version"]
        one = next((each for each in found if each["version"] == wanted), None)
        if one is None:
            raise RefusalError(404, "SecretNotFound")
        return self._update(one, body) if operation == "update" else self._get(one)

    def _list(self, name: str) -> Any:
        """The newest version of each secret, or all versions of one. An unknown secret has an empty list."""
        if not name:
            newest = [versions[-1] for _, versions in sorted(self._vault.secrets.items())]
            return self._page([self._item(each, versioned=False) for each in newest], "secrets")
        versions = sorted(self._vault.secrets.get(name, []), key=lambda each: str(each["version"]))
        return self._page([self._item(each) for each in versions], f"secrets/{name}/versions")

    def _get(self, one: dict[str, Any]) -> Any:
        if not one["attributes"]["enabled"]:
            raise RefusalError(403, "Forbidden", "SecretDisabled")
        return self._bundle(one) | {"value": one["value"]}

    def _set(self, name: str, body: Any) -> Any:
        if name.lower() in self._vault.deleted:
            raise RefusalError(409, "Conflict", "ObjectIsDeletedButRecoverable")
        value, tags, kind = body.get("value"), body.get("tags"), body.get("contentType")
        if not value or len(value.encode()) > _LARGEST or len(kind or "") > 255:
            raise RefusalError(400, "BadParameter")
        _check_tags(tags)
        existing = self._vault.secrets.get(name.lower())
        if existing and existing[-1].get("managed"):
            raise RefusalError(409, "Conflict")
        name = existing[0]["name"] if existing else name
        self._vault.put(name, value, tags=tags, content_type=kind, **_attributes(body))
        one = self._vault.secrets[name.lower()][-1]
        return self._bundle(one) | {"value": one["value"]}

    def _update(self, one: dict[str, Any], body: Any) -> Any:
        _check_tags(body.get("tags"))
        one["attributes"] |= _attributes(body)
        one |= {name: body[name] for name in ("tags", "contentType") if body.get(name) is not None}
        return self._bundle(one)

    def _deleted(self, operation: str, name: str) -> Any:
        if name not in self._vault.deleted:
            raise RefusalError(404, "SecretNotFound")
        moment, versions = self._vault.deleted[name]
        if operation == "get":
            return self._bundle(versions[-1], deleted=moment)
        if operation == "purge" and self._vault.purge_protected:
            raise RefusalError(403, "Forbidden", "ForbiddenByPolicy")
        del self._vault.deleted[name]
        if operation == "purge":
            return None
        self._vault.secrets[name] = versions
        self._vault.move(name, "ObjectIsBeingRecovered")
        return self._bundle(versions[-1])

    def _bundle(self, one: dict[str, Any], deleted: float | None = None) -> dict[str, Any]:
        shown = self._item(one)
        if deleted is not None:
            shown |= {"recoveryId": f"https://{self._host}/deletedsecrets/{one['name']}", "deletedDate": int(deleted)}
            shown |= {"scheduledPurgeDate": int(deleted) + 90 * 86_400}
        return shown

    def _item(self, one: dict[str, Any], *, versioned: bool = True) -> dict[str, Any]:
        end = f"/{one['version']}" if versioned else ""
        shown = {"id": f"https://{self._host}/secrets/{one['name']}{end}", "attributes": dict(one["attributes"])}
        shown |= {name: one[name] for name in ("tags", "contentType", "managed") if one.get(name)}
        return shown

    def _page(self, items: list[dict[str, Any]], where: str) -> dict[str, Any]:
        size = int(self._query.get("maxresults", _PAGE))
        if not 1 <= size <= _PAGE:
            raise RefusalError(400, "BadParameter")
        start = int(self._query.get("$skiptoken", 0))
        end = start + size
        more = f"api-version={self._query['api-version']}&$skiptoken={end}&maxresults={size}"
        next_link = f"https://{self._host}:443/{where}?{more}" if end < len(items) else None
        return {"value": items[start:end], "nextLink": next_link}


def _attributes(body: Any) -> dict[str, Any]:
    return {name: value for name, value in (body.get("attributes") or {}).items() if value is not None}


def _check_tags(tags: Any) -> None:
    if len(tags or {}) > 15 or any(len(part) > 512 for tag in (tags or {}).items() for part in tag):
        raise RefusalError(400, "BadParameter")
