"""One real server for tests. A separate file because it is the part that most tests import."""

from __future__ import annotations

from pathlib import Path

from strongroom_vault.dev.server import DevServer
from strongroom_vault.testing.provisioning import Provisioning, RequestCounts


class TestVault(DevServer, Provisioning):
    """A `DevServer` with KV version 2 mounted at `secret`, and methods for preparing a test.

    Args:
        folder: keeps the data there; see `DevServer`.
        audit: file of an audit device, which `requests` reads.
    """

    __test__ = False  # not a class of tests, despite its name

    def __init__(self, *, folder: Path | None = None, audit: Path | None = None) -> None:
        super().__init__(folder=folder, audit=audit)
        self._audit_file = audit
        self._counts = None if audit is None else RequestCounts(audit)

    def start(self) -> None:
        """Start the server, and mount `secret` if it is new."""
        super().start()
        if "secret/" not in self.call("GET", "sys/mounts")["data"]:
            self.mount("secret")

    def requests(self, path: str, *, operation: str = "read") -> int:
        """Return the number of requests in the audit file for exactly this API path (`secret/data/app`) and operation.

        An operation is read, list, create, update or delete. The server writes the line before it answers.
        """
        if self._counts is None:
            raise ValueError("requests() needs TestVault(audit=FILE)")
        return self._counts.of(path, operation)
