"""Meaning of replies: the document, the absence of a secret, and the error for a status.

Only statuses and shapes count, never the server's messages. No text of a reply is in an error.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple, TypeGuard

from strongroom.errors import (
    ConfigurationError,
    InvalidDataError,
    SecretTooLargeError,
    StoreError,
    StoreUnavailableError,
    StrongroomError,
    UnsupportedOperationError,
    WriteOutcomeUnknownError,
)
from strongroom.formats.strict_json import float_or_mark
from strongroom.secret import SensitiveDict
from strongroom_vault.errors import VaultAuthenticationError
from strongroom_vault.store.payload import TOO_DEEP

if TYPE_CHECKING:
    from strongroom_vault.http.messages import Reply

_UNAVAILABLE = {
    412: "it is behind the required state",
    429: "it is overloaded, or a standby",
    472: "it is a standby for disaster recovery",
    473: "it is a standby for performance",
    500: "it failed",
    501: "it is not initialized",
    502: "its gateway cannot reach it",
    503: "it is sealed, or down for maintenance",
    504: "its gateway waited too long",
}

_REFUSED = frozenset({400, 401, 403, 404, 405})
"""Statuses that tell the state of a secret, a token or a mount, if they are Vault's own."""


def document(reply: Reply, *, parse_int: Callable[[str], float] | None = None) -> SensitiveDict | None:
    """Return the JSON object of a reply, redacted; None if it is not a JSON object.

    A number that a float would round is an `InexactNumber`, which `payload.restored` refuses.

    Args:
        reply: the reply.
        parse_int: converts an integer's digits.

    Raises:
        InvalidDataError: it is nested too deeply, as another client's secret may be.
    """
    try:
        parsed = _decoder(parse_int).decode(reply.body.decode())
    except ValueError:
        return None
    except RecursionError:
        pass
    else:
        return SensitiveDict(parsed) if isinstance(parsed, dict) else None
    raise InvalidDataError(reason=TOO_DEEP)


def member(parent: Mapping[str, Any] | None, name: str) -> Mapping[str, Any] | None:
    """Return the object of that name in an object; None if there is none."""
    child = None if parent is None else parent.get(name)
    return SensitiveDict(child) if isinstance(child, dict) else None


def is_seconds(value: object) -> TypeGuard[int]:
    """Return True for the length of a lease: a whole number that is not negative."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def renewed_life(reply: Reply) -> tuple[int, bool] | None:
    """Return the seconds that a token has after its renewal, and whether it is renewable; None if malformed."""
    auth = member(document(reply), "auth")
    ttl = None if auth is None else auth.get("lease_duration")
    return (ttl, auth.get("renewable") is True) if auth is not None and is_seconds(ttl) else None


def is_absent(reply: Reply) -> bool:
    """Return True for a 404 of an absent secret: `{"errors": []}` and no more.

    A missing namespace, mount or API path is a 404 too, with an error or a warning in it.
    """
    return reply.status == 404 and document(reply) == {"errors": []}


class Gone(NamedTuple):
    """A version without readable data: destroyed for good, or deleted."""

    version: int
    destroyed: bool


def version_gone(reply: Reply) -> Gone | None:
    """Return the deleted or destroyed version in a 404; None if it names none."""
    if reply.status != 404:
        return None
    metadata = member(member(document(reply), "data"), "metadata")
    if metadata is None or not (metadata.get("deletion_time") or metadata.get("destroyed")):
        return None
    version = metadata.get("version")
    return Gone(version, metadata.get("destroyed") is True) if isinstance(version, int) else None


def version_in(content: Mapping[str, Any] | None) -> tuple[int, Mapping[str, Any], Mapping[str, Any]] | None:
    """Return number, data and metadata of the version in the `data` of a reply; None if it is malformed.

    A client may write `null` as the data, and the server returns it: a secret without keys, like `{}`.
    """
    data, metadata = member(content, "data"), member(content, "metadata")
    if content is not None and content.get("data", False) is None:
        data = SensitiveDict()
    version = None if metadata is None else metadata.get("version")
    if data is None or metadata is None or not isinstance(version, int):
        return None
    return version, data, metadata


def is_versioned(reply: Reply) -> bool:
    """Return True for a secret that only a version 2 engine can have sent.

    A secret of a version 1 engine may have the same fields, as the copy of a reply does. Its `lease_duration` is the
    default of the server, which is not 0, or the value of a field `ttl`, which would be a third field.
    """
    try:
        found = document(reply) if reply.status == 200 else None
    except InvalidDataError:
        return False
    content = member(found, "data")
    if found is None or content is None or content.keys() != {"data", "metadata"}:
        return False
    return found.get("lease_duration") == 0 and version_in(content) is not None


def is_unleased(reply: Reply) -> bool:
    """Return True for a secret without a lease. An engine that issues credentials gives each a lease."""
    try:
        found = document(reply) if reply.status == 200 else None
    except InvalidDataError:
        return False
    return found is not None and not found.get("lease_id")


def is_foreign(reply: Reply) -> bool:
    """Return True for a refusal that is not Vault's, such as the page of a gateway without a backend.

    Vault's own is a JSON object with texts as its `errors`, or with `data`: a deleted version, or a path of another
    version of the engine (measured on OpenBao 2.7.2).
    """
    if reply.status not in _REFUSED:
        return False
    found: Mapping[str, Any] = document(reply) or {}
    errors = found.get("errors")
    return "data" not in found and not (isinstance(errors, list) and all(isinstance(text, str) for text in errors))


def malformed(path: str | None, location: str) -> StoreUnavailableError:
    """Return the error for a reply that is not Vault's: a proxy's page, a truncated or empty body, another shape."""
    hint = "Check that the address is Vault's, and any proxy in between"
    return StoreUnavailableError(path, f"{location} answered something that is not Vault's API", hint=hint)


def failure(  # noqa: PLR0911  # one for each status
    reply: Reply, path: str | None, location: str, *, changes: bool = False
) -> StrongroomError:
    """Return the error for an unsuccessful reply. `Session.failure` handles 403, which needs a further request."""
    status = reply.status
    if status == 404:
        return ConfigurationError(f"Nothing answers for {location} (HTTP 404). Check `url`, `namespace` and `mount`")
    if status == 401:
        return VaultAuthenticationError(path, f"{location} answered HTTP 401")
    if status == 400 and changes:
        return InvalidDataError(path, f"{location} refuses this name or data (HTTP 400)")
    if status == 405:
        return UnsupportedOperationError(path, f"{location} does not allow it (HTTP 405)")
    if status == 413:
        return SecretTooLargeError(path, f"{location} refuses its size (HTTP 413)")
    if status in _UNAVAILABLE or status >= 500:
        reason = f"{location} answered HTTP {status}: {_UNAVAILABLE.get(status, 'it failed')}"
        if changes and reply.may_be_applied:
            return WriteOutcomeUnknownError(path, reason)
        # A 500 is about this request: other paths are still read. The other statuses are about the server.
        return StoreUnavailableError(path, reason).copy(path_only=status == 500 and path is not None)
    if 200 <= status < 300:
        return malformed(path, location)
    return StoreError(path, f"{location} answered HTTP {status}")


@cache
def _decoder(parse_int: Callable[[str], float] | None) -> json.JSONDecoder:
    """Return a decoder, made once for each `parse_int`: `json.loads` would make one for each reply."""
    return json.JSONDecoder(parse_int=parse_int, parse_float=float_or_mark, parse_constant=_refuse_constant)


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")
