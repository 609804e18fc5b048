"""`strongroom ui`."""

from __future__ import annotations

import os
import sys
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from strongroom._cli.diagnose.chain_status import document
from strongroom._cli.diagnose.monitor import Monitor
from strongroom._cli.diagnose.status import paths_option
from strongroom._cli.diagnose.status_server import StatusServer
from strongroom._cli.options import Invocation, current, interval_option
from strongroom._cli.terminal import output
from strongroom.errors import ConfigurationError
from strongroom.files import private


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
