"""A server that looks new, within the server that all tests share: a namespace of its own behind an address of its own.

Starting a server takes a second, a namespace a few hundredths of one.
"""

import json
import secrets

from strongroom_vault.dev.server import LoopbackServer
from strongroom_vault.testing import Provisioning
from support.vault.proxy import FaultProxy
from support.vault.recorded_vault import RecordedVault

_HEADER = "x-vault-namespace"
_ROOT_ONLY = ("/v1/sys/audit", "/v1/sys/health", "/v1/sys/init", "/v1/sys/seal-status", "/v1/sys/leader")
"""What a server has once, whatever the namespace."""


class FreshVault(LoopbackServer, Provisioning):
    """A namespace of the shared server, which its clients take for a server: a proxy adds the namespace to requests.

    Attributes:
        url: the proxy's address.
        token: the shared server's root token.
    """

    def __init__(self, server: RecordedVault) -> None:
        super().__init__(server.token)
        self._namespace = f"test-{secrets.token_hex(6)}"
        server.call("POST", f"sys/namespaces/{self._namespace}", {})
        self.audit_file = server.audit_file
        self._audited_before = self.audit_file.stat().st_size
        self._proxy = FaultProxy(server.url)
        self._proxy.inject(self._enter_namespace)
        self.url = self._proxy.url
        self._port = int(self.url.rpartition(":")[2])
        self.mount("secret")

    def kill(self) -> None:
        self._proxy.close()

    def audit_entries(self):
        """Return the entries of the audit log about requests to this namespace, and to those below it."""
        name = self._namespace.encode()
        with self.audit_file.open("rb") as file:
            file.seek(self._audited_before)
            *lines, _ = file.read().split(b"\n")  # the server may still be writing the last one
        entries = [json.loads(line) for line in lines if name in line]
        return [entry for entry in entries if self._is_here(entry["request"].get("namespace", {}).get("path", ""))]

    def requests(self, path: str, *, operation: str = "read") -> int:
        """Return the number of requests in the audit log for exactly this API path and operation."""
        requests = [entry["request"] for entry in self.audit_entries() if entry["type"] == "request"]
        return sum((request["path"], request["operation"]) == (path, operation) for request in requests)

    def _is_here(self, namespace: str) -> bool:
        return namespace.startswith(f"{self._namespace}/")

    def _enter_namespace(self, exchange) -> None:
        request = exchange.request
        if not request.target.startswith(_ROOT_ONLY):
            within = request.headers.get(_HEADER, "").strip("/")
            request.headers[_HEADER] = f"{self._namespace}/{within}".rstrip("/")
        exchange.send(exchange.forward())
