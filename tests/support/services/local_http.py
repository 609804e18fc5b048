"""A service over HTTP on loopback, whose requests may meet faults, for the models of stores."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, Self

from support.services.faulty import HTTPService
from support.services.serving import serving


class LocalService(HTTPService):
    """A service, started by `with`.

    Attributes:
        handler: handles its requests; its attribute `service` is the service.
    """

    handler: ClassVar[type[LocalHandler]]

    def __enter__(self) -> Self:
        handler = type("Handler", (self.handler,), {"service": self})
        self._serving = serving(_Server(("127.0.0.1", 0), handler))
        self._server = self._serving.__enter__()
        return self

    def __exit__(self, *raised: object) -> None:
        self._serving.__exit__(*raised)

    def url(self, address: tuple[str, int] | None) -> str:
        """Return its URL, or that of another address."""
        host, port = address or self._server.server_address[:2]
        return f"http://{host!s}:{port}"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64


class LocalHandler(BaseHTTPRequestHandler):
    """Answers with JSON."""

    service: Any
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def log_message(self, *_: Any) -> None:
        pass

    def reply(self, status: int, document: Any) -> None:
        content = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
