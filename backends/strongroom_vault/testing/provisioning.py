"""What a test prepares on a server, each in one line: mounts, secrets, policies, tokens."""

from __future__ import annotations

import json
import secrets
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


class Preparing(ABC):
    """Short words for the set-up of a test, on whatever answers calls of Vault's API."""

    @abstractmethod
    def call(self, method: str, path: str, body: object = None, *, token: str | None = None) -> dict[str, Any]:
        """One call of the server's HTTP API; the reply's JSON."""

    @abstractmethod
    def mount(self, path: str, *, version: int = 2) -> None:
        """Mounts a key-value engine of this version at `path`, and returns when it can be used."""

    def fresh_mount(self, *, version: int = 2) -> str:
        """Mounts an empty key-value engine of this version under a name of its own, and returns the name."""
        name = f"kv-{secrets.token_hex(6)}"
        self.mount(name, version=version)
        return name

    def put(self, path: str, data: Mapping[str, Any], *, mount: str = "secret") -> int:
        """Writes a secret of a version 2 mount past every client; returns its version."""
        version: int = self.call("POST", f"{mount}/data/{path}", {"data": dict(data)})["data"]["version"]
        return version

    def peek(self, path: str, *, mount: str = "secret") -> dict[str, Any]:
        """What a version 2 mount holds at `path`, read past every client."""
        data: dict[str, Any] = self.call("GET", f"{mount}/data/{path}")["data"]["data"]
        return data

    def issue_token(self, rules: Mapping[str, Sequence[str]], *, ttl: str = "1h", period: str | None = None) -> str:
        """A token that may do just this: API paths, with `*` at the end or not, and their capabilities.

        Args:
            rules: for example `{"secret/data/app/*": ["read"]}`. The policy `default` is not added.
            ttl: how long it lives, as Vault writes it: `4s`, `1h`.
            period: makes it a periodic token, which renewal extends without an end.
        """
        policy = self.write_policy(rules)
        grant: dict[str, object] = {"policies": [policy], "no_default_policy": True, "ttl": ttl}
        if period is not None:
            grant["period"] = period
        token: str = self.call("POST", "auth/token/create", grant)["auth"]["client_token"]
        return token

    def write_policy(self, rules: Mapping[str, Sequence[str]], *, name: str | None = None) -> str:
        """Writes the policy and returns its name, a new one where none is given."""
        name = name or f"policy-{secrets.token_hex(6)}"
        policy = {"path": {path: {"capabilities": list(capabilities)} for path, capabilities in rules.items()}}
        self.call("PUT", f"sys/policies/acl/{name}", {"policy": json.dumps(policy)})
        return name


def audited(file: Path, path: str, operation: str) -> int:
    """How many requests the audit file has for exactly this API path and operation."""
    count = 0
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            entry = json.loads(line)
            request = entry["request"]
            count += entry["type"] == "request" and request["path"] == path and request["operation"] == operation
    return count
