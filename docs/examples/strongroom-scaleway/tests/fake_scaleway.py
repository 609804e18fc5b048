"""A fake of Scaleway Secret Manager, from https://www.scaleway.com/en/developers/api/secret-manager, and its driver."""

from __future__ import annotations

import base64
import binascii
import json
import re
import threading
import uuid
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

from strongroom.testing import CANARY, FaultyService

PROJECT = "7c2b6b0e-3a53-4b5e-9f0a-0d6f6f0a1c11"
TOKEN = f"{CANARY}-token"
_NAME = re.compile(r"\w([\w.-]*\w)?", re.ASCII)
_ROOT = "/secret-manager/v1beta1/regions/fr-par"


class ScalewayService(FaultyService):
    """Secret Manager in the region fr-par, started by `with`: the driver, whose fake asks it for faults.

    Attributes:
        secrets: those that are not deleted, by ID.
        address: host and port.
    """

    def __enter__(self) -> Self:
        self.secrets: dict[str, dict[str, Any]] = {}
        self.lock = threading.Lock()
        self.pause = 0
        self._server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"service": self}))
        self.address: tuple[str, int] = ("127.0.0.1", self._server.server_port)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def ask_for_pause(self, seconds: int) -> bool:
        self.pause = seconds
        return True

    def options(self, address: tuple[str, int] | None = None) -> Mapping[str, object]:
        host, port = address or self.address
        return {"plugin": "scaleway", "project": PROJECT, "token": TOKEN, "api_url": f"http://{host}:{port}"}


class RefusalError(Exception):
    """An error with its status and the `type` that Scaleway's errors have."""

    def __init__(self, status: int, kind: str) -> None:
        super().__init__(kind)
        self.status = status
        self.body = {"type": kind, "message": f"{CANARY}-message"}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64


class _Handler(BaseHTTPRequestHandler):
    service: ScalewayService
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # its name in http.server
        """Print nothing."""

    def do_GET(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.service.next_fault(changes=self.command != "GET")
        status, kind, body, more = 200, "application/json", b"", {}
        match fault:
            case "throttled":
                status, body = 429, b'{"type":"too_many_requests","message":"slow down"}'
                more = {"Retry-After": str(self.service.pause)}
            case "failed":
                status, body = 503, b"upstream connect error"
            case "odd":
                kind, body = "text/html", b"<!doctype html><title>Sign in</title>"
            case "misdirected":
                status, kind, body = 404, "text/html", b"<!doctype html><title>Not found</title>"
            case "redirected":
                status, more = 307, {"Location": f"{self.service.location}{self.path}"}
            case "rejected" | "denied":
                status, body = 401 if fault == "rejected" else 403, b'{"type":"denied_authentication"}'
            case "silent":
                self.service.wait_healed()
                self.close_connection = True
                return
            case _:
                status, answer = self._answered(content)
                body = b"" if answer is None else json.dumps(answer).encode()
        if fault == "lost":
            self.close_connection = True
            return
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in more.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_DELETE = do_GET  # noqa: N815  # the names of http.server

    def _answered(self, content: bytes) -> tuple[int, Any]:
        address = urlsplit(self.path)
        parts = address.path.removeprefix(f"{_ROOT}/").split("/")
        query, body = dict(parse_qsl(address.query)), json.loads(content) if content else {}
        try:
            with self.service.lock:
                return self._operation(parts, query, body)
        except RefusalError as refusal:
            return refusal.status, refusal.body

    def _operation(self, parts: list[str], query: Mapping[str, str], body: Mapping[str, str]) -> tuple[int, Any]:
        if self.headers.get("X-Auth-Token") != TOKEN:
            raise RefusalError(401 if self.headers.get("X-Auth-Token") == "wrong" else 403, "denied_authentication")
        match self.command, parts:
            case "GET", ["secrets"]:
                return 200, self._listed(query)
            case "POST", ["secrets"]:
                return 200, self._created(body)
            case "GET", ["secrets-by-path", "versions", "latest", "access"]:
                wanted = {"path": query["secret_path"], "name": query["secret_name"]}
                found = self._matching(wanted)
                return 200, self._accessed(found[0] if found else None)
            case "GET", ["secrets", identifier, "versions", "latest", "access"]:
                return 200, self._accessed(self.service.secrets.get(identifier))
            case "POST", ["secrets", identifier, "versions"]:
                return 200, self._versioned(self.service.secrets.get(identifier), body)
            case "DELETE", ["secrets", identifier]:
                if self.service.secrets.pop(identifier, None) is None:
                    raise RefusalError(404, "not_found")
                return 204, None
        raise RefusalError(404, "unknown_resource")

    def _matching(self, wanted: Mapping[str, str]) -> list[dict[str, Any]]:
        filters = {name: wanted[name] for name in ("path", "name") if name in wanted}
        return [each for each in self.service.secrets.values() if filters.items() <= each.items()]

    def _listed(self, query: Mapping[str, str]) -> dict[str, Any]:
        found = sorted(self._matching(query), key=lambda each: (each["name"], each["id"]))
        size = int(query.get("page_size", 20))
        start = (int(query.get("page", 1)) - 1) * size
        shown = [
            {"version_count": len(each["versions"]), **{name: each[name] for name in ("id", "path", "name")}}
            for each in found[start : start + size]
        ]
        return {"secrets": shown, "total_count": len(found)}

    def _created(self, body: Mapping[str, str]) -> dict[str, Any]:
        names = [*filter(None, body["path"].split("/")), body["name"]]
        if body["project_id"] != PROJECT or not all(_NAME.fullmatch(name) and len(name) <= 255 for name in names):
            raise RefusalError(400, "invalid_arguments")
        if self._matching(body):
            raise RefusalError(409, "resource_already_exists")
        made = {"id": str(uuid.uuid4()), "path": body["path"], "name": body["name"], "versions": []}
        self.service.secrets[made["id"]] = made
        return {name: made[name] for name in ("id", "path", "name")}

    def _versioned(self, secret: dict[str, Any] | None, body: Mapping[str, str]) -> dict[str, Any]:
        if secret is None:
            raise RefusalError(404, "not_found")
        content = base64.b64decode(body["data"])
        if len(content) > 65_536 or int(body["data_crc32"]) != binascii.crc32(content):
            raise RefusalError(400, "invalid_arguments")
        secret["versions"].append(content)
        return {"secret_id": secret["id"], "revision": len(secret["versions"]), "status": "enabled"}

    def _accessed(self, secret: dict[str, Any] | None) -> dict[str, Any]:
        if secret is None or not secret["versions"]:
            raise RefusalError(404, "not_found")
        content = secret["versions"][-1]
        data = {"data": base64.b64encode(content).decode(), "data_crc32": binascii.crc32(content)}
        return {"secret_id": secret["id"], "revision": len(secret["versions"]), **data}
