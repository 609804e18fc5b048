"""Reading the log of an audit device: the API paths that were used, and the capabilities that they needed. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from strongroom_vault.policy.document import CAPABILITIES

_DEFAULT_POLICY = re.compile(
    r"auth/token/(lookup|renew|revoke)-self"
    r"|sys/(capabilities-self|internal/ui/.+|leases/(renew|lookup)|(renew|tools/hash)(/.+)?|wrapping/.+|control-group/.+)"
    r"|identity/oidc/.+|cubbyhole(/.*)?"
)
"""The paths that the policy `default` of Vault and OpenBao allows:
https://developer.hashicorp.com/vault/docs/concepts/policies#default-policy
"""


@dataclass
class Usage:
    """Summary of an audit log.

    Attributes:
        rules: namespace (`""` for the root) -> API path -> the capabilities that were used.
        lines: number of lines.
        malformed: number of lines that are not an entry of an audit device.
        unknown_operations: number of successful requests whose operation is not a capability.
    """

    rules: dict[str, dict[str, set[str]]] = field(default_factory=dict)
    lines: int = 0
    malformed: int = 0
    unknown_operations: int = 0

    @property
    def paths(self) -> int:
        """Number of distinct paths."""
        return sum(map(len, self.rules.values()))


def summarize(lines: Iterable[bytes], *, mounts: Collection[str] = (), who: str | None = None) -> Usage:
    """Return the capabilities that the successful requests needed, except those of the policy `default`.

    A request counts if its response has no error and a policy allowed it. A login, for example, needs no policy.

    Args:
        lines: lines of the log, in the format `json`.
        mounts: count only requests below these mounts; empty for all.
        who: count only requests of this display name or role name.
    """
    usage = Usage()
    for line in lines:
        usage.lines += 1
        entry = _entry(line)
        if entry is None:
            usage.malformed += 1
        else:
            _count(usage, entry, mounts, who)
    return usage


def _entry(line: bytes) -> Mapping[str, Any] | None:
    """Return the entry of a line, or None if it is malformed. A device may be configured to write a prefix."""
    try:
        entry = json.loads(line[max(0, line.find(b"{")) :])
    except (ValueError, RecursionError):
        return None
    if not isinstance(entry, dict) or not isinstance(request := entry.get("request"), dict):
        return None
    path, operation = request.get("path"), request.get("operation")
    known = isinstance(entry.get("type"), str) and _is_text(path) and isinstance(operation, str)
    return entry if known else None


def _is_text(value: object) -> TypeGuard[str]:
    """Return True for a string that UTF-8 can encode: JSON can express half of a surrogate pair."""
    return isinstance(value, str) and value.encode(errors="replace").decode() == value


def _count(usage: Usage, entry: Mapping[str, Any], mounts: Collection[str], who: str | None) -> None:
    request, auth = entry["request"], _member(entry, "auth")
    path, operation = request["path"], request["operation"]
    if entry["type"] != "response" or entry.get("error") or "policy_results" not in auth:
        return
    if not _member(auth, "policy_results").get("allowed") or _DEFAULT_POLICY.fullmatch(path):
        return
    # A tuple: a log can have an unhashable object here.
    if who is not None and who not in (auth.get("display_name"), _member(auth, "metadata").get("role_name")):
        return
    if mounts and not any(path.startswith(f"{mount.strip('/')}/") for mount in mounts):
        return
    if operation not in CAPABILITIES:
        usage.unknown_operations += 1
        return
    namespace = _member(request, "namespace").get("path")
    rules = usage.rules.setdefault(namespace.strip("/") if _is_text(namespace) else "", {})
    rules.setdefault(path, set()).add(operation)


def _member(parent: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    child = parent.get(name)
    return child if isinstance(child, dict) else {}
