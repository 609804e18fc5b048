"""Certificates of Vault's engine `pki` that live for seconds, on real web servers and clients with mutual TLS.

`nox -s connections` lets clients connect for a minute.
"""

import json
import os
import secrets
import ssl
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from strongroom import SecretsManager
from strongroom.integrations.tls import create_client_context
from strongroom_vault.dev.server import free_port
from support.scenarios.load import wait_until

pytestmark = pytest.mark.long

PROGRAMS = Path(__file__).parents[2] / "programs"
SERVER, CLIENT = PROGRAMS / "tls_server.py", PROGRAMS / "tls_client.py"
LIFE = 3
LIVES = float(os.environ.get("TEST_CERTIFICATE_LIVES", "1.5"))
"""How long the clients connect, in lives of a certificate."""

COMMANDS = {
    "uvicorn": (sys.executable, str(SERVER), "{port}"),
    "gunicorn": (
        sys.executable,
        "-m",
        "gunicorn",
        "-c",
        str(SERVER),
        "-b",
        "127.0.0.1:{port}",
        "tls_server:wsgi",
    ),
}


@pytest.fixture
def certificates(openbao, tmp_path, monkeypatch):
    """A chain with a `pki` engine whose certificates live for seconds, and the file of its authority."""
    mount = f"pki-{secrets.token_hex(4)}"
    openbao.call("POST", f"sys/mounts/{mount}", {"type": "pki"})
    root = openbao.call("POST", f"{mount}/root/generate/internal", {"common_name": "authority", "ttl": "1h"})
    role = {"allow_any_name": True, "key_type": "ec", "key_bits": 256, "not_before_duration": "60s"}
    openbao.call("POST", f"{mount}/roles/web", role)
    authority = tmp_path / "authority.pem"
    authority.write_text(root["data"]["certificate"], "utf-8")
    rows = "".join(
        f'"tls/{name}" = {{ path = "issue/web", method = "write", '
        f'parameters = {{ common_name = "localhost", ip_sans = "127.0.0.1", ttl = "{LIFE}s" }} }}\n'
        for name in ("server", "client")
    )
    (tmp_path / "strongroom.toml").write_text(
        f'chain = ["pki"]\n[stores.pki]\nplugin = "vault-dynamic"\nmount = "{mount}"\n[stores.pki.paths]\n{rows}',
        "utf-8",
    )
    monkeypatch.setenv("STRONGROOM_CONFIG", str(tmp_path / "strongroom.toml"))
    monkeypatch.setenv("VAULT_ADDR", openbao.url)
    monkeypatch.setenv("VAULT_TOKEN", openbao.token)
    monkeypatch.setenv("TEST_CLIENT_CA", str(authority))
    yield authority
    openbao.call("DELETE", f"sys/mounts/{mount}")


@pytest.fixture
def client(certificates):
    """The context of a client with its own certificate, which is replaced too."""
    with SecretsManager() as manager:
        yield create_client_context("tls/client", server_ca=certificates, manager=manager)


@pytest.fixture(params=COMMANDS)
def server(request, certificates, client, tmp_path):
    """The address of a server in a separate process."""
    port = free_port()
    command = [part.format(port=port) for part in COMMANDS[request.param]]
    with (tmp_path / "server.log").open("wb") as log:
        environment = {**os.environ, "PYTHONPATH": str(SERVER.parent)}
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=tmp_path, env=environment)
    url = f"https://127.0.0.1:{port}/"
    try:
        wait_until(lambda: _answers(url, client))
        yield url
    finally:
        process.terminate()
        process.wait()


def _answers(url, client):
    try:
        return httpx.get(url, verify=client).text == "ok"
    except httpx.TransportError:
        return False


def test_no_handshake_fails_while_certificates_of_both_sides_are_replaced(server):
    """httpx, requests and aiohttp make a new connection for each request, for longer than a certificate lives."""
    command = [sys.executable, CLIENT, server, str(LIFE * LIVES)]
    seen = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert seen["failures"] == []
    assert seen["done"] > LIVES
    assert seen["certificates"] >= LIVES


def test_a_client_with_an_expired_certificate_is_refused(server, client, certificates):
    """No session is resumed, so the server looks at the certificate of each connection."""
    expired = ssl.create_default_context(cafile=certificates)
    client_pair = Path(certificates).with_name("client.pem")
    with SecretsManager() as manager:
        secret = manager.get_secret("tls/client")
        client_pair.write_text(secret["private_key"].reveal() + "\n" + secret["certificate"].reveal(), "utf-8")
    expired.load_cert_chain(client_pair)
    assert _answers(server, expired)
    wait_until(lambda: time.time() > secret["expiration"] + 1)
    assert not _answers(server, expired)
    assert _answers(server, client)
