"""A real server for tests, and methods that prepare it or a cluster: mounts, secrets, policies, tokens.

::

    with TestVault() as vault:
        vault.put("database/connection", {"password": "hunter2"})
        token = vault.issue_token({"secret/data/database/*": ["read"]})
        secrets = SecretsManager(vault_url=vault.url, vault_token=token)
"""

from __future__ import annotations

import json
import secrets
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from strongroom_vault.dev.server import DevServer

__all__ = ["TestVault"]


class Provisioning(ABC):
    """Methods that prepare a test, for anything that answers calls of Vault's API."""

    @abstractmethod
    def call(self, method: str, path: str, body: object = None, *, token: str | None = None) -> dict[str, Any]:
        """Call the server's HTTP API, and return the JSON of the reply."""

    @abstractmethod
    def mount(self, path: str, *, version: int = 2) -> None:
        """Mount a key-value engine of this version, and wait until it can be used."""

    def fresh_mount(self, *, version: int = 2) -> str:
        """Mount an empty key-value engine under a new name, and return the name."""
        name = f"kv-{secrets.token_hex(6)}"
        self.mount(name, version=version)
        return name

    def put(self, path: str, data: Mapping[str, Any], *, mount: str = "secret") -> int:
        """Write a secret to a version 2 mount, without any client, and return its version."""
        version: int = self.call("POST", f"{mount}/data/{path}", {"data": dict(data)})["data"]["version"]
        return version

    def peek(self, path: str, *, mount: str = "secret") -> dict[str, Any]:
        """Read a secret from a version 2 mount, without any client."""
        data: dict[str, Any] = self.call("GET", f"{mount}/data/{path}")["data"]["data"]
        return data

    def issue_token(self, rules: Mapping[str, Sequence[str]], *, ttl: str = "1h", period: str | None = None) -> str:
        """Create a token with exactly these rights.

        Args:
            rules: API path -> capabilities, such as `{"secret/data/app/*": ["read"]}`; without the policy `default`.
            ttl: lifetime as Vault writes durations: `4s`, `1h`.
            period: makes it a periodic token, which can be renewed without limit.
        """
        policy = self.write_policy(rules)
        grant: dict[str, object] = {"policies": [policy], "no_default_policy": True, "ttl": ttl}
        if period is not None:
            grant["period"] = period
        token: str = self.call("POST", "auth/token/create", grant)["auth"]["client_token"]
        return token

    def write_policy(self, rules: Mapping[str, Sequence[str]], *, name: str | None = None) -> str:
        """Write a policy and return its name, which is new by default."""
        name = name or f"policy-{secrets.token_hex(6)}"
        policy = {"path": {path: {"capabilities": list(capabilities)} for path, capabilities in rules.items()}}
        self.call("PUT", f"sys/policies/acl/{name}", {"policy": json.dumps(policy)})
        return name


class TestVault(DevServer, Provisioning):
    """A `DevServer` with KV version 2 mounted at `secret`, and methods for preparing a test."""

    __test__ = False  # not a class of tests, despite its name

    def _open(self) -> None:
        """Prepare the server, and mount `secret` if it is new."""
        super()._open()
        if "secret/" not in self.call("GET", "sys/mounts")["data"]:
            self.mount("secret")
