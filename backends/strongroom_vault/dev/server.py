"""A real OpenBao or Vault server on loopback, for development and tests.

A separate file because applications import it for their tests; `server_process` has the parts that a cluster shares.
"""

from __future__ import annotations

import secrets
from pathlib import Path

from strongroom_vault.dev.server_process import LoopbackServer, configuration, raft_storage


class DevServer(LoopbackServer):
    """One server, initialized and unsealed, on a free port of 127.0.0.1. It ends when its starter ends.

    A context manager. Without `folder`, all data is in memory and nothing is written to disk. The root token belongs to
    this object; no command line and no environment contains it. Environment variables (VAULT_*, BAO_*, proxies) affect
    neither the server nor the calls made here.

    Args:
        folder: keeps the data there (Raft), so that it survives `restart`. The start takes about two seconds longer.
        audit: file to which an audit device writes one line of JSON for each request and response. OpenBao only.

    Attributes:
        url: its address, the same after `restart`.
        token: its root token, the same after `restart`.
    """

    title = "development server"

    def __init__(self, *, folder: Path | None = None, audit: Path | None = None) -> None:
        super().__init__(f"dev-{secrets.token_urlsafe(24)}")
        self._folder = folder
        self._audit = audit
        self._unseal_key = ""

    def restart(self) -> None:
        """Kill the server and start it on the same port. Without `folder` it has lost everything except its token."""
        self.kill()
        self.start()

    def _configuration(self, binary: Path, port: int) -> str:
        storage = 'storage "inmem" {}' if self._folder is None else raft_storage(self._folder, "dev")
        return configuration(binary, port, 0, storage, self._audit)

    def _open(self) -> None:
        """Initialize a new server, unseal it, and create the root token."""
        first_token = None
        if not self.call("GET", "sys/init")["initialized"]:
            init = self.call("PUT", "sys/init", {"secret_shares": 1, "secret_threshold": 1})
            self._unseal_key, first_token = init["keys_base64"][0], init["root_token"]
        self.call("PUT", "sys/unseal", {"key": self._unseal_key})
        self._wait("GET", "sys/health", 200)
        if first_token is not None:
            grant = {"id": self.token, "policies": ["root"], "no_parent": True}
            self.call("POST", "auth/token/create", grant, token=first_token)
            self.call("POST", "auth/token/revoke-self", token=first_token)
