"""Workers of Celery and gunicorn: they wait for their secrets, and leave no token alive."""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from celery import Celery, exceptions, signals
from celery.signals import worker_init

from strongroom import StoreUnavailableError
from strongroom.errors import StoreError
from strongroom.integrations.workers import gunicorn
from strongroom.integrations.workers.celery import connect_signals

pytestmark = pytest.mark.long

LONG = 90.0
"""Seconds that only a worker which hangs takes."""

TASKS = """
from celery import Celery
from strongroom import get_secret
from strongroom.integrations.workers.celery import connect_signals

app = Celery("shop")
app.config_from_object("celeryconfig")
connect_signals()

@app.task(name="charge")
def charge():
    return f"key of {len(get_secret('api-keys/payments', 'key'))} characters"

@app.task(name="leak", ignore_result=True)
def leak():
    return get_secret("api-keys/payments", "key")
"""


@pytest.fixture
def role(openbao):
    """An AppRole that may read the secret: the options of a store, and a function that returns its living tokens."""
    mount = f"approle-{os.urandom(4).hex()}"
    policy = openbao.write_policy({"secret/data/api-keys/payments": ["read"]})
    openbao.call("POST", f"sys/auth/{mount}", {"type": "approle"})
    openbao.call("POST", f"auth/{mount}/role/app", {"token_policies": [policy], "token_ttl": "1h"})
    role_id = openbao.call("GET", f"auth/{mount}/role/app/role-id")["data"]["role_id"]
    secret_id = openbao.call("POST", f"auth/{mount}/role/app/secret-id")["data"]["secret_id"]
    openbao.put("api-keys/payments", {"key": "sk-4711"})

    def living() -> list[str]:
        left = []
        for accessor in openbao.call("LIST", "auth/token/accessors")["data"]["keys"]:
            with contextlib.suppress(StoreError):  # of another test, revoked meanwhile
                found = openbao.call("POST", "auth/token/lookup-accessor", {"accessor": accessor})["data"]
                left += [accessor] if found["path"] == f"auth/{mount}/login" else []
        return left

    auth = f'{{ method = "approle", mount = "{mount}", role_id = "{role_id}", secret_id = "{secret_id}" }}'
    return auth, living


def test_a_worker_of_celery_reads_and_leaves_no_token(openbao, role, tmp_path):
    """Neither its main process, which waited for the secrets, nor its child, which ends without exit hooks."""
    auth, living = role
    (tmp_path / "strongroom.toml").write_text(
        f'chain = ["vault"]\n[secrets]\nPAYMENTS_KEY = "api-keys/payments#key"\n'
        f'[stores.vault]\nurl = "{openbao.url}"\nauth = {auth}\n'
    )
    (tmp_path / "tasks.py").write_text(TASKS)
    (tmp_path / "queue").mkdir()
    folder = str(tmp_path / "queue")
    options = {"data_folder_in": folder, "data_folder_out": folder, "control_folder": str(tmp_path / "control")}
    settings = {
        "broker_url": "filesystem://",
        "broker_transport_options": options,
        "result_backend": f"file://{tmp_path}",
    }
    (tmp_path / "celeryconfig.py").write_text("".join(f"{name} = {json.dumps(settings[name])}\n" for name in settings))
    command = [sys.executable, "-m", "celery", "-A", "tasks", "worker", "--concurrency", "1", "--without-mingle"]
    output = tmp_path / "output"
    with output.open("w") as stream:
        worker = subprocess.Popen(command, cwd=tmp_path, stdout=stream, stderr=stream)
    try:
        with Celery("shop") as client:
            client.conf.update(settings)
            client.send_task("leak")
            try:
                answer = client.send_task("charge").get(timeout=LONG)
            except exceptions.TimeoutError as error:
                raise AssertionError(output.read_text()) from error
            assert answer == "key of 7 characters"
            assert len(living()) == 1  # that of the child: the main process has given its own back
        worker.terminate()
        assert worker.wait(LONG) == 0, output.read_text()
        assert "Task leak: its result is a secret" in output.read_text()
        assert "sk-4711" not in output.read_text()
    finally:
        worker.kill()
        worker.wait()
    assert living() == []


@pytest.fixture
def outage(monkeypatch):
    """A configuration whose only store refuses connections."""
    Path("strongroom.toml").write_text('[secrets]\nPAYMENTS_KEY = "api-keys/payments#key"\n', "utf-8")
    monkeypatch.setenv("VAULT_ADDR", "http://127.0.0.1:1")
    monkeypatch.setenv("VAULT_TOKEN", "root")


@pytest.mark.usefixtures("outage")
def test_a_worker_of_celery_without_its_secrets_does_not_start(monkeypatch):
    """Celery logs the exceptions of a signal and continues, so this is an exit."""
    monkeypatch.setattr(worker_init, "receivers", [])
    monkeypatch.setattr(signals.worker_process_shutdown, "receivers", [])
    monkeypatch.setattr(signals.worker_shutdown, "receivers", [])
    connect_signals(timeout=0)
    with pytest.raises(SystemExit, match=r"strongroom: .*api-keys/payments"):
        worker_init.send(sender=None)


@pytest.mark.usefixtures("outage")
def test_gunicorn_without_its_secrets_does_not_start(tmp_path, monkeypatch):
    """The error is one line, and the exit code 1."""

    def unavailable(_manager, *, timeout):
        assert timeout == 60
        raise StoreUnavailableError("api-keys/payments", "connection refused", store="vault")

    monkeypatch.setattr("strongroom.integrations.readiness.wait_ready", unavailable)  # for a minute
    with pytest.raises(SystemExit, match="strongroom: Store unavailable: api-keys/payments"):
        gunicorn.on_starting(None)


TLS = """
from strongroom.integrations.tls import create_server_context
from strongroom.integrations.workers.gunicorn import tls_hooks

bind = "127.0.0.1:0"
certfile = __file__
post_worker_init, ssl_context = tls_hooks(lambda: create_server_context("tls/shop"))
"""


def test_gunicorn_without_its_certificate_does_not_start():
    """The worker's message is one line, and gunicorn ends."""
    Path("gunicorn.conf.py").write_text(TLS)
    Path("shop.py").write_text("def app(environ, start_response): ...\n")
    Path("strongroom.toml").write_text('chain = ["memory"]\n')
    command = [sys.executable, "-m", "gunicorn", "--no-control-socket", "shop:app"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=LONG)
    assert done.returncode == 3
    assert "\nstrongroom: Secret not found: tls/shop" in done.stderr
    assert "Traceback" not in done.stderr
