"""The applications of the integration pages, as written, as real processes: uvicorn, gunicorn, Django and Celery.

Each page's blocks are put into files, its server is started with a real OpenBao, and it is exercised over HTTP or its
queue, before and after a rotation. The other integration pages start their programs themselves.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from strongroom_vault.dev.server import free_port
from support.scenarios import page_blocks, pages
from support.scenarios.load import wait_until
from support.services.database_servers import running_redis
from support.services.postgres import running_postgres

LONG = 60.0
"""Seconds that only a server which hangs takes."""


WSGI = """
import os
from django.core.wsgi import get_wsgi_application
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
application = get_wsgi_application()
"""
"""The file that `django-admin startproject` makes."""

MODULE = (sys.executable, "-m")


class Reply(NamedTuple):
    """The parts of a reply that the tests look at."""

    status: int
    text: str
    cookie: str


def written(name: str, folder: Path) -> None:
    """Write the files of a page."""
    for block in pages.blocks(pages.page(name), "toml", "ini", "python"):
        if (named := page_blocks.FILE.match(block)) is not None:
            file = folder / named[1]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block, "utf-8")
            file.chmod(0o600)


def in_production(server, token: str, **variables: str) -> dict[str, str]:
    """Return the environment of a deployed application: its store is the server, and a rotation is seen at once."""
    file = Path("strongroom.toml")
    text = re.sub(
        r"^chain = .* # in production: (.*)$",
        r"production = true\nchain = \1",
        file.read_text("utf-8"),
        flags=re.MULTILINE,
    )
    file.write_text(text, "utf-8")
    inherited = {name: value for name, value in os.environ.items() if name != "STRONGROOM_TRUSTED_PATHS"}
    return {
        **inherited,
        **({"STRONGROOM_ENVIRONMENT": "prod"} if "[environments.prod]" in text else {}),
        "STRONGROOM_CONFIG": str(Path("strongroom.toml").absolute()),
        "STRONGROOM_STORES_VAULT_URL": server.url,
        "STRONGROOM_STORES_VAULT_AUTH": json.dumps({"method": "token", "token": token}),
        "STRONGROOM_CACHE_TTL": "100ms",
        "PYTHONPATH": str(Path.cwd()),
        **variables,
    }


@contextmanager
def running(environment: Mapping[str, str], *command: str) -> Iterator[subprocess.Popen[str]]:
    """Run a program, and end it as a process manager does."""
    output = Path("output")
    with (
        output.open("w") as stream,
        subprocess.Popen(command, env=environment, stdout=stream, stderr=stream) as process,
    ):
        try:
            yield process
            process.send_signal(signal.SIGTERM)
            process.wait(LONG)
        except BaseException:
            sys.stderr.write(output.read_text())
            raise
        finally:
            process.kill()


class Site:
    """A server on loopback. A request is repeated while nothing listens yet."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self._process = process
        self._port = port

    def __call__(self, path: str, *, method: str = "POST", body: bytes = b"", **headers: str) -> Reply:
        until = time.monotonic() + LONG
        while True:
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=LONG)
            try:
                connection.request(method, path, body, {name.replace("_", "-"): headers[name] for name in headers})
                reply = connection.getresponse()
                return Reply(reply.status, reply.read().decode(), reply.headers.get("Set-Cookie", ""))
            except ConnectionRefusedError:
                assert self._process.poll() is None
                assert time.monotonic() < until
                time.sleep(0.05)
            finally:
                connection.close()


def no_value_in_output(*values: str) -> None:
    """The log of a server shows none."""
    assert not [value for value in values if value in Path("output").read_text()]


def test_fastapi_under_uvicorn(own_openbao):
    """A webhook's signature is checked with the secret of the moment."""
    written("fastapi.md", Path())
    own_openbao.put("database/connection", {"url": "postgresql://shop:first-password@127.0.0.1/shop"})
    own_openbao.put("webhooks/payments", {"secret": "first-secret"})
    port = free_port()
    with running(
        in_production(own_openbao, own_openbao.token), *MODULE, "uvicorn", "app:app", "--port", str(port)
    ) as process:
        site = Site(process, port)

        def signed(secret: bytes) -> int:
            signature = hmac.new(secret, b"paid", hashlib.sha256).hexdigest()
            return site("/webhook", body=b"paid", X_Signature=signature).status

        assert (signed(b"first-secret"), signed(b"second-secret")) == (204, 401)
        own_openbao.put("webhooks/payments", {"secret": "second-secret"})
        wait_until(lambda: signed(b"second-secret") == 204)
        assert "webhooks/payments" not in site("/openapi.json", method="GET").text
    no_value_in_output("first-secret", "second-secret", "first-password")


def test_flask_under_gunicorn(own_openbao):
    """Four workers share a session, see a rotated key, and survive a reload."""
    written("flask.md", Path())
    own_openbao.put("auth/app", {"secret": "session-secret"})
    own_openbao.put("api-keys/payments", {"key": "key-1"})
    port = free_port()
    command = (*MODULE, "gunicorn", "--workers", "4", "--bind", f"127.0.0.1:{port}", "--worker-tmp-dir", ".", "app:app")
    with running(in_production(own_openbao, own_openbao.token), *command) as process:
        site = Site(process, port)
        cookie = site("/log-in/ada").cookie.partition(";")[0]

        def paid() -> str:
            return site("/pay", Cookie=cookie).text

        assert paid() == "ada paid with a key of 5 characters"
        own_openbao.put("api-keys/payments", {"key": "second-key"})
        wait_until(lambda: paid() == "ada paid with a key of 10 characters")
        process.send_signal(signal.SIGHUP)
        wait_until(lambda: Path("output").read_text().count("Booting worker") == 8)
        assert paid() == "ada paid with a key of 10 characters"
    assert process.returncode == 0
    no_value_in_output("session-secret", "key-1", "second-key")


def test_django_serves(own_openbao):
    """The view reads its key at each use, and the server its database's password."""
    written("django.md", Path())
    Path("shop", "wsgi.py").write_text(WSGI, "utf-8")
    own_openbao.put("shop/auth/app", {"secret": "session-secret"})
    own_openbao.put("shop/api-keys/payments", {"key": "key-1"})
    with running_postgres() as postgres:
        postgres.run("CREATE DATABASE shop")
        connection = {"host": "127.0.0.1", "port": postgres.port, "user": "postgres", "name": "shop"}
        own_openbao.put("shop/database/connection", {**connection, "password": postgres.password})
        port = free_port()
        [line] = pages.blocks(pages.page("django.md"), "text")
        start = line.replace("--workers 4", f"--workers 2 --bind 127.0.0.1:{port}")
        environment = in_production(own_openbao, own_openbao.token)
        environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
        with running(environment, "sh", "-c", start) as process:
            site = Site(process, port)

            def paid() -> str:
                return site("/pay", method="GET", Host="shop.example").text

            assert paid() == "paid with a key of 5 characters"
            own_openbao.put("shop/api-keys/payments", {"key": "second-key"})
            wait_until(lambda: paid() == "paid with a key of 10 characters")
        no_value_in_output("session-secret", postgres.password, "key-1", "second-key")


def test_celery_with_a_real_worker(own_openbao, monkeypatch):
    """Its processes read a database and a key, see both rotate, and end with the worker."""
    written("celery.md", Path())
    with running_redis() as redis, running_postgres() as postgres:
        queue = f"redis://127.0.0.1:{redis.port}/0"
        variables = {
            "VAULT_ADDR": own_openbao.url,
            "VAULT_TOKEN": own_openbao.token,
            "CELERY_BROKER_URL": queue,
            "CELERY_RESULT_BACKEND": queue,
        }
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        connection = {"host": "127.0.0.1", "port": postgres.port, "name": "postgres", "user": "postgres"}
        own_openbao.put("database/shop", {**connection, "password": postgres.password})
        own_openbao.put("api-keys/payments", {"key": "key-1"})
        environment = {**os.environ, "STRONGROOM_CACHE_TTL": "100ms"}
        command = (*MODULE, "celery", "-A", "shop.tasks", "worker", "--concurrency", "2", "--without-mingle")
        with running(environment, *command) as process:

            def charged() -> str:
                code = "from shop.tasks import charge; print(charge.delay(7).get(timeout=60))"
                done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
                return done.stdout.strip()

            assert charged() == "order 7 for postgres with a key of 5 characters"
            own_openbao.put("api-keys/payments", {"key": "second-key"})
            wait_until(lambda: charged() == "order 7 for postgres with a key of 10 characters")
        assert process.returncode == 0
        no_value_in_output("key-1", "second-key", postgres.password)
