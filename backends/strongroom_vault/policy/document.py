"""Policies as HCL or JSON. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Literal, TypeAlias

from strongroom.errors import InvalidPathError

Rules: TypeAlias = Mapping[str, Collection[str]]
"""API path, without `/v1/` -> capabilities. A `*` at the end of a path matches any ending."""

CAPABILITIES = ("create", "read", "update", "patch", "delete", "list", "scan", "sudo")
"""The capabilities of a policy, in the order in which they are written. Only OpenBao has `scan`."""

_TEMPLATE = "{{"
_COMMENT = re.compile(r"^\s*(#|//).*$", re.MULTILINE)


def read_rules(paths: Iterable[str], *, mount: str, prefix: str, version: Literal[1, 2]) -> dict[str, tuple[str, ...]]:
    """Return the rules that allow to read these secrets only."""
    below = "/".join(part for part in (mount, "data" if version == 2 else "", prefix) if part)
    return {f"{below}/{path}": ("read",) for path in paths}


def to_hcl(rules: Rules, *, exact: bool = True) -> str:
    """Return the rules in the policy language of Vault and OpenBao, sorted by path.

    Args:
        rules: the rules.
        exact: each path is meant literally. If a policy cannot express that, a comment lists the other matches.

    Raises:
        InvalidPathError: a path contains two opening braces, which begin a template in a policy.
    """
    return "\n".join(_block(path, rules[path], exact=exact) for path in sorted(rules))


def to_document(rules: Rules) -> dict[str, dict[str, dict[str, list[str]]]]:
    """Return the rules as a JSON policy, sorted by path: `{"path": {PATH: {"capabilities": […]}}}`.

    Raises:
        InvalidPathError: a path contains two opening braces.
    """
    return {"path": {path: {"capabilities": _sorted(path, rules[path])} for path in sorted(rules)}}


def same(one: str, other: str) -> bool:
    """Return True if two policies differ in comments and white space only."""
    return _tokens(one) == _tokens(other)


def _block(path: str, capabilities: Collection[str], *, exact: bool) -> str:
    listed = ", ".join(f'"{name}"' for name in _sorted(path, capabilities))
    comment = f"# {note}\n" if exact and (note := _wildcard_note(path)) else ""
    return f"{comment}path {_quoted(path)} {{\n  capabilities = [{listed}]\n}}\n"


def _sorted(path: str, capabilities: Collection[str]) -> list[str]:
    if _TEMPLATE in path:
        raise InvalidPathError(path, "two opening braces begin a template in a policy")
    return [name for name in CAPABILITIES if name in capabilities]


def _quoted(path: str) -> str:
    """Return the path as an HCL string, with control characters escaped.

    HCL understands the escapes of JSON, and begins an interpolation at `${`.
    """
    quoted = json.dumps(path, ensure_ascii=False).replace("${", r"\u0024{")
    return "".join(each if each.isprintable() else _escape(ord(each)) for each in quoted)


def _escape(code: int) -> str:
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def _wildcard_note(path: str) -> str:
    """Return a comment about a wildcard in the path, or an empty string."""
    if path.endswith("*"):
        return "The * at the end matches any ending."
    if "+" in path.split("/"):
        return "A + between slashes matches any one name."
    return ""


def _tokens(policy: str) -> list[str]:
    return _COMMENT.sub("", policy).replace(",", " , ").replace("[", " [ ").replace("]", " ] ").split()
