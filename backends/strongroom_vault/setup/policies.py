"""The paths that `strongroom vault setup` creates, the policies for them, and any policy as HCL or JSON. Pure."""

from __future__ import annotations

import json
import types
from collections.abc import Collection, Mapping
from typing import TypeAlias

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


def structure_policies(mount: str, prefix: str) -> dict[str, tuple[str, str]]:
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


# --- the form of a policy ---------------------------------------------------------------------------------------------


Rules: TypeAlias = Mapping[str, Collection[str]]
"""API path, without `/v1/` -> capabilities. A `*` at the end of a path matches any ending."""

_CAPABILITIES = ("create", "read", "update", "patch", "delete", "list", "scan")
"""The capabilities of a policy, in the order in which they are written. Only OpenBao has `scan`."""


def to_hcl(rules: Rules) -> str:
    """Return the rules in the policy language of Vault and OpenBao, sorted by path."""
    return "\n".join(_block(path, rules[path]) for path in sorted(rules))


def to_document(rules: Rules) -> dict[str, dict[str, dict[str, list[str]]]]:
    """Return the rules as a JSON policy, sorted by path: `{"path": {PATH: {"capabilities": […]}}}`."""
    return {"path": {path: {"capabilities": _sorted(rules[path])} for path in sorted(rules)}}


def _block(path: str, capabilities: Collection[str]) -> str:
    listed = ", ".join(f'"{name}"' for name in _sorted(capabilities))
    return f"path {_quoted(path)} {{\n  capabilities = [{listed}]\n}}\n"


def _sorted(capabilities: Collection[str]) -> list[str]:
    return [name for name in _CAPABILITIES if name in capabilities]


def _quoted(path: str) -> str:
    """Return the path as an HCL string, with characters escaped that would deceive a terminal.

    HCL understands the escapes of JSON, and begins an interpolation at `${`.
    """
    quoted = json.dumps(path, ensure_ascii=False).replace("${", r"\u0024{")
    return "".join(each if each.isprintable() else _escape(ord(each)) for each in quoted)


def _escape(code: int) -> str:
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
