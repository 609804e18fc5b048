"""The paths that `strongroom vault setup` creates, and the policies for them. Pure.

A separate file because it is data: a list of secrets and policies that an operator may want to read.
"""

from __future__ import annotations

import types
from collections.abc import Mapping

from strongroom_vault.setup.hcl import to_hcl

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
"""Path -> description of what belongs there."""

APP_READ, DATABASE_READ, DATABASE_WRITE = "app-read", "database-read", "database-write"

DEFAULT_GRANTS = (APP_READ, DATABASE_READ)
"""The policies of an application that writes no secret."""

_DATABASE = "database"
_OTHERS = ("api-keys", "auth", "cache", "monitoring")
_BROWSE = ("read", "list", "scan")
_LIST = ("list",)
_CHANGE = ("create", "read", "update", "patch", "delete")


def policies(mount: str, prefix: str) -> dict[str, tuple[str, str]]:
    """Return the name of each policy with its text for OpenBao, and its text for Vault, which does not know `scan`.

    The policies also allow to read and list the metadata below their paths: listing, version history, a watch and a
    check before a write need it. That does not allow to read any data. OpenBao has a list with all metadata of a folder
    at `detailed-metadata`.

    Args:
        mount: mount of a key-value engine of version 2.
        prefix: prefix of every path, `""` or `like/this`.
    """
    below = f"{prefix}/" if prefix else ""
    data, metadata, detailed = (f"{mount}/{kind}/{below}" for kind in ("data", "metadata", "detailed-metadata"))
    browse = {f"{metadata}{_DATABASE}/*": _BROWSE, f"{detailed}{_DATABASE}/*": _LIST}
    rules: dict[str, dict[str, tuple[str, ...]]] = {
        APP_READ: {
            metadata: ("list",),  # the top level, which leads to the others
            **{f"{data}{folder}/*": ("read",) for folder in _OTHERS},
            **{f"{metadata}{folder}/*": _BROWSE for folder in _OTHERS},
            **{f"{detailed}{folder}/*": _LIST for folder in _OTHERS},
        },
        DATABASE_READ: {f"{data}{_DATABASE}/*": ("read",), **browse},
        DATABASE_WRITE: {f"{data}{_DATABASE}/*": _CHANGE, **browse},
    }
    return {name: (to_hcl(allowed), to_hcl(_without_scan(allowed))) for name, allowed in rules.items()}


def _without_scan(rules: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    return {path: tuple(name for name in allowed if name != "scan") for path, allowed in rules.items()}
