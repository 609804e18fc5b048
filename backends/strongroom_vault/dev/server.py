"""A real OpenBao (or Vault) server on loopback, for development and tests, that cannot outlive its starter."""

from __future__ import annotations

import secrets
from pathlib import Path

from strongroom_vault.dev.server_process import LoopbackServer, configuration, raft_storage


class DevServer(LoopbackServer):
    """One server, initialised and unsealed, on a free port of 127.0.0.1.

    A context manager. Without `folder` it holds everything in memory and leaves nothing on disk. The root token is made
    for this object; it is in no command line and no environment. Settings of the environment (VAULT_*, BAO_*, proxies)
    do not reach the server or the calls made here.

    Args:
        folder: keeps the data there (Raft), so that `restart` finds it again. Starting takes some two seconds longer.
        audit: an audit device writes one line of JSON for each request and each response to this file. OpenBao only.

    Attributes:
        url: where it listens, the same after `restart`.
        token: a root token, the same after `restart`.
    """

    called = "development server"

    def __init__(self, *, folder: Path | None = None, audit: Path | None = None) -> None:
        super().__init__(f"dev-{secrets.token_urlsafe(24)}")
        self._folder = folder
        self._audit = audit
        self._unseal_key = ""

    def restart(self) -> None:
        """Kills the server and starts it on the same port. Without `folder` it comes back empty, but for its token."""
        self.kill()
        self.start()

    def _configuration(self, binary: Path, port: int) -> str:
        storage = 'storage "inmem" {}' if self._folder is None else raft_storage(self._folder, "dev")
        return configuration(binary, port, 0, storage, self._audit)

    def _open(self) -> None:
        """Initialises a server that is new, unseals it, and gives it the token."""
        first_token = None
        if not self.call("GET", "sys/init")["initialized"]:
            born = self.call("PUT", "sys/init", {"secret_shares": 1, "secret_threshold": 1})
            self._unseal_key, first_token = born["keys_base64"][0], born["root_token"]
        self.call("PUT", "sys/unseal", {"key": self._unseal_key})
        self._wait("GET", "sys/health", 200)
        if first_token is not None:
            grant = {"id": self.token, "policies": ["root"], "no_parent": True}
            self.call("POST", "auth/token/create", grant, token=first_token)
            self.call("POST", "auth/token/revoke-self", token=first_token)
