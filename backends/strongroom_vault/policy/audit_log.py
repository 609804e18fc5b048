"""What an audit device wrote, read line by line: which API paths were used, and for what. Pure, in bounded memory."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import IO, Any, TypeGuard

from strongroom.errors import ConfigurationError
from strongroom_vault.policy.document import CAPABILITIES

MAX_LINE = 1 << 20
"""The longest line that is understood, in bytes."""

MAX_PATHS = 100_000
"""How many different paths are kept. An application that uses more than this wants a policy with a `*` in it."""

_BY_DEFAULT = re.compile(
    r"auth/token/(lookup|renew|revoke)-self"
    r"|sys/(capabilities-self|internal/ui/.+|leases/(renew|lookup)|(renew|tools/hash)(/.+)?|wrapping/.+|control-group/.+)"
    r"|identity/oidc/.+|cubbyhole(/.*)?"
)
"""What the policy `default` allows, of both servers:
https://developer.hashicorp.com/vault/docs/concepts/policies#default-policy
"""


@dataclass
class Usage:
    """What was used.

    Attributes:
        rules: namespace (`""` is the root) to API path to the capabilities that it took.
        lines: how many lines there were.
        malformed: how many of them are no entry of an audit device.
        odd: how many successful requests were for operations that no capability is named after.
    """

    rules: dict[str, dict[str, set[str]]] = field(default_factory=dict)
    lines: int = 0
    malformed: int = 0
    odd: int = 0

    @property
    def paths(self) -> int:
        """How many different paths there are."""
        return sum(map(len, self.rules.values()))


def lines_of(stream: IO[bytes]) -> Iterator[bytes]:
    """The lines, each with at most `MAX_LINE + 1` bytes of it, so that no line fills the memory."""
    while line := stream.readline(MAX_LINE + 1):
        whole = line
        while not line.endswith(b"\n") and (line := stream.readline(MAX_LINE)):
            pass
        yield whole


def used(lines: Iterable[bytes], *, mounts: Collection[str] = (), who: str | None = None) -> Usage:
    """What the successful requests in an audit log took, less what the policy `default` allows.

    A request counts when its response has no error. One that needed no policy, such as a login, does not.

    Args:
        lines: of the file, in the format `json`.
        mounts: only what was asked below these; empty is everything.
        who: only what this one asked: a display name, or the name of a role, as the log has it.

    Raises:
        ConfigurationError: there are more than `MAX_PATHS` different paths.
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
    """The entry of a line; None where it is none. A device may be told to put a prefix before it."""
    try:
        entry = json.loads(line[max(0, line.find(b"{")) :]) if len(line) <= MAX_LINE else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(entry, dict) or not isinstance(request := entry.get("request"), dict):
        return None
    path, operation = request.get("path"), request.get("operation")
    known = isinstance(entry.get("type"), str) and _is_text(path) and isinstance(operation, str)
    return entry if known else None


def _is_text(value: object) -> TypeGuard[str]:
    """Whether it is a string that can be written: JSON has a form for halves of characters."""
    return isinstance(value, str) and value.encode(errors="replace").decode() == value


def _count(usage: Usage, entry: Mapping[str, Any], mounts: Collection[str], who: str | None) -> None:
    request, auth = entry["request"], _member(entry, "auth")
    path, operation = request["path"], request["operation"]
    if entry["type"] != "response" or entry.get("error") or "policy_results" not in auth:
        return
    if not _member(auth, "policy_results").get("allowed") or _BY_DEFAULT.fullmatch(path):
        return
    # A tuple, since a log may have there what no set can hold.
    if who is not None and who not in (auth.get("display_name"), _member(auth, "metadata").get("role_name")):
        return
    if mounts and not any(path.startswith(f"{mount.strip('/')}/") for mount in mounts):
        return
    if operation not in CAPABILITIES:
        usage.odd += 1
        return
    namespace = _member(request, "namespace").get("path")
    rules = usage.rules.setdefault(namespace.strip("/") if _is_text(namespace) else "", {})
    if path not in rules and usage.paths >= MAX_PATHS:
        raise ConfigurationError(
            f"--from-audit: more than {MAX_PATHS:,} different paths were used: name a --mount, or --who used them"
        )
    rules.setdefault(path, set()).add(operation)


def _member(parent: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    child = parent.get(name)
    return child if isinstance(child, dict) else {}
