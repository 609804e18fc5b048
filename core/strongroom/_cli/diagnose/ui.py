"""`strongroom ui`, and its web server: on loopback, for one browser, read only.

Other users of the machine and other pages in the browser can reach a port on loopback. So a request needs a cookie, and
the cookie is given once, for a one-time token. The cookie's path is random, since browsers send cookies to every port
of a host: a server of another user that the browser visits does not get it. The Host header must be this server's, so
that a page whose name is made to point to loopback reads nothing.
"""

from __future__ import annotations

import hmac
import os
import secrets
import sys
import threading
import webbrowser
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from email.message import Message
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import click

from strongroom._cli.diagnose.chain_status import document
from strongroom._cli.diagnose.monitor import Monitor
from strongroom._cli.diagnose.status import paths_option
from strongroom._cli.options import Invocation, current, interval_option
from strongroom._cli.terminal import output
from strongroom._cli.terminal.output import as_json
from strongroom.errors import ConfigurationError
from strongroom.files import private

_LOOPBACK = "127.0.0.1"
_COOKIE = "strongroom-ui"
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_FILES = {
    "": ("index.html", "text/html; charset=utf-8"),
    "page.css": ("page.css", "text/css; charset=utf-8"),
    "page.js": ("page.js", "text/javascript; charset=utf-8"),
    "icon.svg": ("icon.svg", "image/svg+xml"),
}
_STATUS = "status.json"
_USED = (
    "This address was used already, or is not complete. Run strongroom ui again, and open the address that it prints."
)
_CROSS_SITE = frozenset({"cross-site", "same-site"})


@click.command("ui")
@click.option("--no-browser", is_flag=True, help="Only print the address.")
@click.option(
    "--port", type=click.IntRange(0, 65_535), default=0, help="Listen on this port; by default on a free one."
)
@paths_option
@interval_option("10s", "Probe the stores this often.")
@current
def ui_command(invocation: Invocation, *, no_browser: bool, port: int, paths: bool, interval: float) -> None:
    """Serve the status as a web page on this machine, until Ctrl-C.

    It shows what `strongroom status` shows. The server listens on 127.0.0.1 only. The address works once: it gives one
    browser access, until the command ends. No value of a secret is sent to the browser.

    Example: strongroom ui --no-browser
    """
    with Monitor(invocation.load(), paths=paths) as monitor:
        monitor.status()  # an error in the configuration is shown here, and not on the page
        with private.faults_as(ConfigurationError, f"Cannot listen on port {port}", ". Choose another --port"):
            server = StatusServer(lambda: document(monitor.status(), paths=paths), port)
        with server, _browser(server.url, wanted=not no_browser):
            monitor.start(interval)
            try:
                output.write_lines([server.url])
                output.say("The address works once. Press Ctrl-C to end")
                server.serve_forever()
            except KeyboardInterrupt:
                return  # the usual end, and no failure


@contextmanager
def _browser(url: str, *, wanted: bool) -> Iterator[None]:
    """Open the address in the browser of the desktop, if there is one.

    The browser's command line, which other users can see, has the name of a private file, and the file has the address.
    """
    if not wanted or not (sys.platform == "darwin" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        yield
        return
    with TemporaryDirectory(prefix="strongroom-ui-") as folder:
        file = Path(folder, "open.html")
        private.create(file, [f'<!doctype html><meta http-equiv="refresh" content="0; url={url}">'.encode()])
        webbrowser.open(file.as_uri())
        yield


# --- the server -------------------------------------------------------------------------------------------------------


class _Answer(NamedTuple):
    """The answer to a request."""

    status: HTTPStatus
    content: bytes
    kind: str = "text/plain; charset=utf-8"
    headers: Mapping[str, str] = {}


class StatusServer(ThreadingHTTPServer):
    """The server, which listens once it is made.

    Args:
        look: returns the document that the page shows.
        port: 0 takes a free one.

    Attributes:
        url: the address with the one-time token.

    Raises:
        OSError: the port is taken.
    """

    daemon_threads = True

    def __init__(self, look: Callable[[], Mapping[str, Any]], port: int = 0) -> None:
        self.look = look
        self._token = secrets.token_urlsafe(32)
        self._token_lock = threading.Lock()
        self._session = secrets.token_urlsafe(32)
        self._folder = f"/{secrets.token_urlsafe(16)}/"
        folder = files("strongroom._cli.diagnose").joinpath("page")
        self._files = {name: (folder.joinpath(file).read_bytes(), kind) for name, (file, kind) in _FILES.items()}
        super().__init__((_LOOPBACK, port), _Handler)
        address = f"{_LOOPBACK}:{self.server_port}"
        self._hosts = frozenset({address, f"localhost:{self.server_port}"})
        self.url = f"http://{address}/?token={self._token}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore a connection that broke: the page asks again. The traceback of a bug could hold a token."""

    def answer(self, target: str, headers: Message) -> _Answer:
        """Return the answer to a GET."""
        if headers.get("Host", "") not in self._hosts:
            return _refusal(HTTPStatus.MISDIRECTED_REQUEST, "This server has another name.")
        url = urlsplit(target)
        if url.path == "/":
            return self._login(parse_qs(url.query).get("token", [""])[-1])
        if not url.path.startswith(self._folder) or not self._knows(headers.get("Cookie", "")):
            return _refusal(HTTPStatus.FORBIDDEN, _USED)
        if headers.get("Sec-Fetch-Site", "") in _CROSS_SITE:
            return _refusal(HTTPStatus.FORBIDDEN, "Another page sent this request.")
        return self._page(url.path.removeprefix(self._folder))

    def _page(self, name: str) -> _Answer:
        if name == _STATUS:
            return _Answer(HTTPStatus.OK, as_json(self.look()), "application/json")
        if name in self._files:
            content, kind = self._files[name]
            return _Answer(HTTPStatus.OK, content, kind)
        return _refusal(HTTPStatus.NOT_FOUND, "There is no such page.")

    def _login(self, token: str) -> _Answer:
        """Exchange the one-time token for the cookie.

        The answer is a page that opens the status page, not a redirect: after a redirect that another program began,
        the browser would not send a strict cookie.
        """
        with self._token_lock:
            if not self._token or not hmac.compare_digest(token.encode(), self._token.encode()):
                return _refusal(HTTPStatus.FORBIDDEN, _USED)
            self._token = ""
        cookie = f"{_COOKIE}={self._session}; Path={self._folder}; HttpOnly; SameSite=Strict"
        # Without the icon's address the browser would ask for /favicon.ico.
        page = (
            f'<!doctype html><link rel="icon" href="{self._folder}icon.svg"><title>Strongroom</title>'
            f'<meta http-equiv="refresh" content="0; url={self._folder}">'
        )
        return _Answer(HTTPStatus.OK, page.encode(), "text/html; charset=utf-8", {"Set-Cookie": cookie})

    def _knows(self, header: str) -> bool:
        try:
            cookie = SimpleCookie(header).get(_COOKIE)
        except CookieError:
            return False
        return cookie is not None and hmac.compare_digest(cookie.value.encode(), self._session.encode())


def _refusal(status: HTTPStatus, reason: str) -> _Answer:
    return _Answer(status, f"{reason}\n".encode())


class _Handler(BaseHTTPRequestHandler):
    """One connection with one request."""

    timeout = 10.0  # seconds of silence after which a connection is closed

    def do_GET(self) -> None:
        if isinstance(self.server, StatusServer):
            self._send(self.server.answer(self.path, self.headers))

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse every other method, and malformed requests."""
        del message, explain  # they repeat parts of the request
        status = HTTPStatus(code)
        if status is HTTPStatus.NOT_IMPLEMENTED:
            answer = _refusal(HTTPStatus.METHOD_NOT_ALLOWED, "Only GET.")._replace(headers={"Allow": "GET"})
        else:
            answer = _refusal(status, f"{status.phrase}.")
        self.close_connection = True
        self._send(answer)

    def _send(self, answer: _Answer) -> None:
        self.send_response_only(answer.status)
        for name, value in {**_HEADERS, **answer.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Type", answer.kind)
        self.send_header("Content-Length", str(len(answer.content)))
        self.end_headers()
        self.wfile.write(answer.content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # its name in the base class
        """Log nothing: a line would have the token."""
