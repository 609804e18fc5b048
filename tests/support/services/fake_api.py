"""An API behind TLS that records its requests, and that echoes, streams, compresses, redirects and breaks off."""

from __future__ import annotations

import gzip
import json
import ssl
import threading
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import trustme

from support.clock import LONG


class FakeApi(ThreadingHTTPServer):
    """The server.

    `requests` has the request line, the headers and the body of each request. An event stream sends its second event
    after `gate` is set. `part` is released for each part of a body that arrives.
    """

    daemon_threads = True

    def __init__(self, handler, context):
        super().__init__(("127.0.0.1", 0), handler)
        self.requests = []
        self.gate = threading.Event()
        self.part = threading.Semaphore(0)
        self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    @property
    def host(self):
        """The name and port, as a rule has them."""
        return f"localhost:{self.server_port}"

    @property
    def url(self):
        """The address."""
        return f"https://{self.host}"

    @property
    def wire(self):
        """All that has arrived, as one text."""
        return "\n".join(f"{line}\n{headers}\n{body.decode('latin-1')}" for line, headers, body in self.requests)

    def handle_error(self, request, client_address):
        """Print nothing about a client that breaks off."""


class Handler(BaseHTTPRequestHandler):
    """Answers by path; every other path echoes the request."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = self.read_body()
        self.server.requests.append((self.requestline, self.headers, body))
        address = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(address.query).items()}
        getattr(self, f"answer_{address.path.strip('/').replace('/', '_')}", self.echo)(body, query)

    do_POST = do_PUT = do_HEAD = do_GET  # noqa: N815  # http.server's names

    def read_body(self):
        if self.headers.get("Transfer-Encoding", "") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
            self.server.part.release()
        self.rfile.readline()
        return body

    def answer(self, content=b"", status=200, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def echo(self, body, query):
        content = json.dumps({"line": self.requestline, "headers": [*self.headers.items()], "body": body.decode()})
        key = self.headers.get("X-Key") or self.headers.get("Authorization") or ""
        encoded = query.get("gzip")
        coding = {"Content_Encoding": "gzip"} if encoded else {}
        text = content.encode()
        self.answer(gzip.compress(text) if encoded else text, X_Echo=key, Set_Cookie=f"seen={key}", **coding)

    def answer_redirect(self, body, query):
        self.answer(status=307, Location=query["to"])

    def answer_stream(self, body, query):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        key = self.headers.get("X-Key", "")
        for number in (1, 2):
            self.chunk(f"data: {number} {key}\n\n".encode())
            if number == 1 and not self.server.gate.wait(LONG):
                return
        self.chunk(b"")

    def chunk(self, content):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(content), content))
        self.wfile.flush()

    def answer_dropped(self, body, query):
        self.close_connection = True
        with suppress(OSError):
            self.connection.shutdown(2)

    def answer_cut(self, body, query):
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b"the beginning")
        self.answer_dropped(body, query)

    def log_message(self, *_):
        pass


def server_context(authority: trustme.CA) -> ssl.SSLContext:
    """The context of a server on this machine, with a certificate of this authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    return context


@contextmanager
def fake_api(context: ssl.SSLContext, handler=Handler):
    """Serve in a thread while the block runs. See `server_context`."""
    server = FakeApi(handler, context)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.gate.set()
        server.shutdown()
        server.server_close()
        thread.join()
