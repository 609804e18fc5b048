"""Fakes of the services behind two engines of OpenBao: no real one is in Debian or PyPI."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from support.services.serving import serving


@dataclass
class FakeService:
    """The state of one fake: its address, users of a broker, and tokens that it gave."""

    url: str = ""
    users: set[str] = field(default_factory=set)
    tokens: list[str] = field(default_factory=list)


@contextmanager
def fake_rabbitmq() -> Iterator[FakeService]:
    """A management API that creates and drops users."""
    service = FakeService()

    def answer(method: str, path: str) -> tuple[int, Any]:
        kind, _, rest = path.removeprefix("/api/").partition("/")
        name = rest.rsplit("/", 1)[-1]
        if kind == "users" and method == "PUT":
            service.users.add(name)
        elif kind == "users" and method == "DELETE":
            service.users.discard(name)
        return (200, []) if method == "GET" else (204, None)

    with _serving(service, answer):
        yield service


@contextmanager
def fake_kubernetes_tokens() -> Iterator[FakeService]:
    """A token API of service accounts."""
    service = FakeService()

    def answer(_method: str, path: str) -> tuple[int, Any]:
        if not path.endswith("/token"):
            return 404, {"kind": "Status", "code": 404}
        claims = {"exp": int(time.time()) + 600, "iat": int(time.time()), "jti": str(len(service.tokens))}
        service.tokens.append(".".join(_base64(json.dumps(part)) for part in ({"alg": "RS256"}, claims, "")))
        status = {"token": service.tokens[-1], "expirationTimestamp": "2036-01-01T00:00:00Z"}
        return 201, {"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "status": status}

    with _serving(service, answer):
        yield service


def _base64(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


@contextmanager
def _serving(service: FakeService, answer: Callable[[str, str], tuple[int, Any]]) -> Iterator[None]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # one packet for each answer

        def do_any(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))  # the Kubernetes client sends protobuf
            status, content = answer(self.command, self.path)
            data = b"" if content is None else json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            if status != 204:
                self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_PUT = do_POST = do_DELETE = do_any  # noqa: N815  # the names that the server calls

        def log_message(self, *_args: Any) -> None:
            pass

    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as server:
        service.url = f"http://127.0.0.1:{server.server_port}"
        yield
