"""A real Agent or Proxy beside the application: it logs in and puts its token into our requests, which have none."""

import json
import socket
import subprocess
import time

import pytest

from strongroom.errors import ConfigurationError, PermissionDeniedError
from strongroom_vault.auth.token import Agent, TokenFile
from strongroom_vault.dev.server import find_binary, free_port
from strongroom_vault.errors import VaultConnectionError
from strongroom_vault.http.hvac_adapter import ApiRequest
from strongroom_vault.plugin import open_vault


@pytest.fixture(params=["agent", "proxy"])
def agent(request, openbao, readable, approle, tmp_path, socket_folder):
    """An Agent with an identity of its own that may read one mount: its address, and the file of its token."""
    role = approle(token_policies=["default", readable.policy], token_ttl="300s")
    (tmp_path / "role-id").write_text(role.role_id)
    (tmp_path / "secret-id").write_text(role.issue())
    port = free_port()
    (tmp_path / "agent.hcl").write_text(f"""
        vault {{ address = "{openbao.url}" }}
        auto_auth {{
          method "approle" {{
            mount_path = "auth/{role.mount}"
            config = {{
              role_id_file_path = "{tmp_path}/role-id"
              secret_id_file_path = "{tmp_path}/secret-id"
            }}
          }}
          sink "file" {{ config = {{ path = "{tmp_path}/sink" mode = 384 }} }}
        }}
        api_proxy {{ use_auto_auth_token = true }}
        listener "tcp" {{
          address = "127.0.0.1:{port}"
          tls_disable = true
          require_request_header = true
        }}
        listener "unix" {{
          address = "{socket_folder}/sock"
          tls_disable = true
        }}
    """)
    command = [str(find_binary()), request.param, f"-config={tmp_path}/agent.hcl", "-log-level=error"]
    with subprocess.Popen(
        command, env={"HOME": str(tmp_path)}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            deadline = time.monotonic() + 60
            while not all(file.exists() for file in (tmp_path / "sink", socket_folder / "sock")) or not _listens(port):
                assert time.monotonic() < deadline
                assert process.poll() is None
                time.sleep(0.02)
            yield f"http://127.0.0.1:{port}", tmp_path / "sink"
        finally:
            process.kill()


def _listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_requests_without_a_token_are_the_agents(agent, sender, readable):
    """And what it may not read is denied."""
    url, _ = agent
    grant = Agent().login(None)
    assert (grant.token, grant.revocable, Agent().repeatable) == (None, False, False)
    send = sender(url)
    reply = send(ApiRequest("GET", f"/v1/{readable.mount}/data/app"))
    assert json.loads(reply.body)["data"]["data"] == {"password": "hunter2"}
    assert send(ApiRequest("GET", "/v1/secret/data/app")).status == 403
    assert "X-Vault-Token" not in send.sent[0].headers


def test_store_reads_through_it(agent, reads, accepted):
    """It leaves the Agent's token alone when it is closed."""
    url, sink = agent
    assert reads({"method": "agent"}, url=url)
    assert accepted(TokenFile(token_file=sink).login(None))


@pytest.mark.parametrize("agent", ["agent"], indirect=True)
@pytest.mark.usefixtures("agent")
def test_store_reads_through_its_socket(socket_folder, reads, driver):
    """Single requests and batches. `unix://` is the address, as in Vault's own clients."""
    url = f"unix://{socket_folder}/sock"
    assert reads({"method": "agent"}, url=url)
    with pytest.raises(ConfigurationError, match="Unix socket"):
        open_vault(url=url, auth={"method": "agent"}, proxy="http://127.0.0.1:1")
    with pytest.raises(VaultConnectionError, match=f"unix://{socket_folder}/gone"):
        open_vault(url=f"unix://{socket_folder}/gone", auth={"method": "agent"})


def test_store_that_the_agent_may_not_read_is_denied(agent, openbao):
    """Through it, as by a token of our own: the store's own error, and no login."""
    url, _ = agent
    openbao.put("app", {"password": "hunter2"})
    with pytest.raises(PermissionDeniedError):
        open_vault(url=url, auth={"method": "agent"})


def test_its_sink_is_a_token_file(agent, accepted):
    """For an application that talks to the cluster itself."""
    _, sink = agent
    assert accepted(TokenFile(token_file=sink).login(None))["path"].endswith("/login")
    assert sink.stat().st_mode & 0o077 == 0
