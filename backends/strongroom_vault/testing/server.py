"""One real server for tests."""

from __future__ import annotations

from pathlib import Path

from strongroom_vault.dev.server import DevServer
from strongroom_vault.testing.provisioning import Preparing, audited


class TestVault(DevServer, Preparing):
    """A `DevServer` with KV version 2 mounted at `secret`, and short words for setting it up.

    Args:
        folder: as `DevServer` has it.
        audit: as `DevServer` has it; `requests` reads it.
    """

    __test__ = False  # its name begins like that of a test class

    def __init__(self, *, folder: Path | None = None, audit: Path | None = None) -> None:
        super().__init__(folder=folder, audit=audit)
        self._audit_file = audit

    def start(self) -> None:
        """Starts the server, and mounts `secret` on one that is new."""
        super().start()
        if "secret/" not in self.call("GET", "sys/mounts")["data"]:
            self.mount("secret")

    def requests(self, path: str, *, operation: str = "read") -> int:
        """How many requests the audit file has for exactly this API path (`secret/data/app`) and operation.

        Operations are the server's: read, list, create, update, delete. The server writes the line before it answers.
        """
        if self._audit_file is None:
            raise ValueError("TestVault(audit=…) was not given")
        return audited(self._audit_file, path, operation)
