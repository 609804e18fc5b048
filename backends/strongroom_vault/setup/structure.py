"""What an application finds on a server that is set up: the paths of its secrets, and its policies. Pure."""

from __future__ import annotations

import types
from collections.abc import Mapping

from strongroom_vault.policy.document import to_hcl

STRUCTURE: Mapping[str, str] = types.MappingProxyType(
    {
        "database/connection": "Database connection: url, host, port, user, password, name",
        "database/pool": "Connection pool: size, max_overflow, timeout",
        "auth/jwt": "JWT: secret, algorithm",
        "auth/app": "Application: secret",
        "api-keys/anthropic": "API key: key",
        "api-keys/openai": "API key: key",
        "api-keys/google": "API key: key",
        "cache/redis": "Redis: host, port, password",
        "monitoring/prometheus": "Prometheus",
        "monitoring/grafana": "Grafana",
    }
)
"""Path -> what belongs there."""

APP_READ, DATABASE_READ, DATABASE_WRITE = "app-read", "database-read", "database-write"

GRANTED = (APP_READ, DATABASE_READ)
"""The policies of an application that changes no secret."""

_DATABASE = "database"
_OTHERS = ("api-keys", "auth", "cache", "monitoring")
_LOOK = ("read", "list", "scan")
_CHANGE = ("create", "read", "update", "patch", "delete")


def policies(mount: str, prefix: str) -> dict[str, tuple[str, str]]:
    """Each policy's name, and its text for OpenBao and for Vault, which refuses a policy that has `scan` in it.

    The names of secrets, and what is known of them, are readable where they are: LIST, the history of versions and a
    check before a write stand on it. Their data is never readable by that.

    Args:
        mount: where a key-value engine of version 2 is mounted.
        prefix: what every path is below, `""` or `like/this`.
    """
    below = f"{prefix}/" if prefix else ""
    data, metadata = f"{mount}/data/{below}", f"{mount}/metadata/{below}"
    rules: dict[str, dict[str, tuple[str, ...]]] = {
        APP_READ: {
            metadata: ("list",),  # the names at the top, so that the others can be found
            **{f"{data}{folder}/*": ("read",) for folder in _OTHERS},
            **{f"{metadata}{folder}/*": _LOOK for folder in _OTHERS},
        },
        DATABASE_READ: {f"{data}{_DATABASE}/*": ("read",), f"{metadata}{_DATABASE}/*": _LOOK},
        DATABASE_WRITE: {f"{data}{_DATABASE}/*": _CHANGE, f"{metadata}{_DATABASE}/*": _LOOK},
    }
    return {name: (_text(allowed), _text(_without_scan(allowed))) for name, allowed in rules.items()}


def _text(rules: Mapping[str, tuple[str, ...]]) -> str:
    return to_hcl(rules, exact=False)


def _without_scan(rules: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    return {path: tuple(name for name in allowed if name != "scan") for path, allowed in rules.items()}
