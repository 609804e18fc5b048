"""Policies as HCL or JSON. Pure.

A separate file because `strongroom vault policy` writes other rules than the policies of setup.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import TypeAlias

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
