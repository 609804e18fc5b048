"""The commands of a guide for HashiCorp Vault work as written on OpenBao, with `bao` under the name `vault`."""

from __future__ import annotations

import os
import subprocess

import pytest

from strongroom_vault.dev.server import find_binary
from support.vault.permissive_vault import PermissiveVault

APPROLE = """
# Enable AppRole
vault auth enable approle

# Create role
vault write auth/approle/role/myapp \\
    token_policies="app-read,database-read" \\
    token_ttl=1h \\
    token_max_ttl=4h

# Get credentials
ROLE_ID=$(vault read -field=role_id auth/approle/role/myapp/role-id)
SECRET_ID=$(vault write -field=secret_id -f auth/approle/role/myapp/secret-id)
"""

AUDIT = "vault audit enable file file_path={folder}/audit.log"


@pytest.fixture
def shell(tmp_path):
    """A function that runs lines of a shell on a server, with its command line as `vault`, and returns the output."""
    (tmp_path / "vault").symlink_to(find_binary())

    def run(server, lines: str) -> str:
        path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
        variables = {"PATH": path, "HOME": os.environ["HOME"], "VAULT_ADDR": server.url, "VAULT_TOKEN": server.token}
        done = subprocess.run(["bash", "-ec", lines], env=variables, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_the_set_up_of_approle_gives_a_login(shell, fresh_openbao):
    """With the role_id and the secret_id that the lines leave in their variables."""
    login = 'vault write -field=token_policies auth/approle/login role_id="$ROLE_ID" secret_id="$SECRET_ID"'
    assert "[app-read database-read default]" in shell(fresh_openbao, f"{APPROLE}\n{login}")


def test_an_audit_device_is_enabled_if_the_server_allows_it(shell, tmp_path):
    """From then on each request is in its file."""
    with PermissiveVault() as server:
        shell(server, AUDIT.format(folder=tmp_path))
        server.put("api-keys/openai", {"key": "sk-1"})
    written = (tmp_path / "audit.log").read_text("utf-8")
    assert '"path":"secret/data/api-keys/openai"' in written
    assert "sk-1" not in written
