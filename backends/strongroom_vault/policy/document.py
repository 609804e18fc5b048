"""Policies as HCL or JSON, from the paths that are read and what is done there. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Literal, TypeAlias

from strongroom.errors import InvalidPathError

Rules: TypeAlias = Mapping[str, Collection[str]]
"""API path, without `/v1/`, to what may be done there. A `*` at its end stands for whatever begins like it."""

CAPABILITIES = ("create", "read", "update", "patch", "delete", "list", "scan", "sudo")
"""What a policy can grant, in the order in which it is written here. `scan` is OpenBao's."""

_TEMPLATE = "{{"
_COMMENT = re.compile(r"^\s*(#|//).*$", re.MULTILINE)


def reading(paths: Iterable[str], *, mount: str, prefix: str, version: Literal[1, 2]) -> dict[str, tuple[str, ...]]:
    """What has to be allowed to read the secrets at these paths, and no more.

    Args:
        paths: as the application names them.
        mount: where the engine is mounted.
        prefix: what every path is below, `""` or `like/this`.
        version: of the key-value engine.
    """
    below = "/".join(part for part in (mount, "data" if version == 2 else "", prefix) if part)
    return {f"{below}/{path}": ("read",) for path in paths}


def to_hcl(rules: Rules, *, exact: bool = True) -> str:
    """The rules in Vault's and OpenBao's policy language, by path.

    Args:
        rules: what to allow.
        exact: each path stands for itself alone. Where a policy cannot say so, a comment says what else it allows.

    Raises:
        InvalidPathError: no policy can name a path, since two braces begin a template there.
    """
    return "\n".join(_block(path, rules[path], exact=exact) for path in sorted(rules))


def to_document(rules: Rules) -> dict[str, dict[str, dict[str, list[str]]]]:
    """The rules as the servers take them in JSON, by path: `{"path": {PATH: {"capabilities": […]}}}`.

    Raises:
        InvalidPathError: as `to_hcl` does.
    """
    return {"path": {path: {"capabilities": _listed(path, rules[path])} for path in sorted(rules)}}


def same(one: str, other: str) -> bool:
    """Whether two policies read alike but for comments and white space."""
    return _words(one) == _words(other)


def _block(path: str, capabilities: Collection[str], *, exact: bool) -> str:
    listed = ", ".join(f'"{name}"' for name in _listed(path, capabilities))
    wider = f"# {note}\n" if exact and (note := _wider(path)) else ""
    return f"{wider}path {_quoted(path)} {{\n  capabilities = [{listed}]\n}}\n"


def _listed(path: str, capabilities: Collection[str]) -> list[str]:
    if _TEMPLATE in path:
        raise InvalidPathError(path, "no policy can name it: two braces begin a template there")
    return [name for name in CAPABILITIES if name in capabilities]


def _quoted(path: str) -> str:
    """The path as a string of HCL, without a character that moves the cursor of a terminal.

    HCL takes JSON's escapes, and begins an interpolation at a brace after a dollar.
    """
    quoted = json.dumps(path, ensure_ascii=False).replace("${", r"\u0024{")
    return "".join(each if each.isprintable() else _escape(ord(each)) for each in quoted)


def _escape(code: int) -> str:
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def _wider(path: str) -> str:
    """What the path allows beside itself, in words; nothing where it means itself alone."""
    if path.endswith("*"):
        return "A policy takes the * at the end for any end."
    if "+" in path.split("/"):
        return "A policy takes a + between slashes for any one name."
    return ""


def _words(policy: str) -> list[str]:
    return _COMMENT.sub("", policy).replace(",", " , ").replace("[", " [ ").replace("]", " ] ").split()
