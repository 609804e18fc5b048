"""What a reply means: its document, whether it says that a secret is absent, and the error that its status stands for.

Statuses and shapes decide, never the server's words; and no word of a reply is in what is raised.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from typing import Any, NamedTuple

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
from strongroom.secret import SensitiveDict
from strongroom_vault.errors import VaultAuthenticationError
from strongroom_vault.http.request_policy import Reply, may_be_applied
from strongroom_vault.store.payload import TOO_DEEP

_UNAVAILABLE = {
    412: "it is behind the state that was asked for",
    429: "it has too much to do, or is a standby",
    472: "it is a standby for disaster recovery",
    473: "it is a standby for performance",
    500: "it failed",
    501: "it is not initialised",
    502: "its gateway cannot reach it",
    503: "it is sealed, or down for maintenance",
    504: "its gateway waited too long",
}


def document(reply: Reply, *, parse_int: Callable[[str], float] | None = None) -> SensitiveDict | None:
    """The JSON object of a reply, redacted; None where it is anything else.

    Args:
        reply: what came.
        parse_int: what to make of an integer's digits.

    Raises:
        InvalidDataError: it is nested too deeply to be read, as a secret may be that the server took.
    """
    try:
        with suppress(RecursionError):
            parsed = _decoder(parse_int).decode(reply.body.decode())
            return SensitiveDict(parsed) if isinstance(parsed, dict) else None
    except ValueError:
        return None
    raise InvalidDataError(reason=TOO_DEEP)


def member(parent: Mapping[str, Any] | None, name: str) -> Mapping[str, Any] | None:
    """The object of that name in an object; None where there is none, or something else."""
    child = None if parent is None else parent.get(name)
    return SensitiveDict(child) if isinstance(child, dict) else None


def is_absent(reply: Reply) -> bool:
    """Whether a 404 says that there is nothing: `{"errors": []}`, and not a word more.

    A namespace, mount or API path that does not exist is a 404 too, with an error or a warning in it.
    """
    return reply.status == 404 and document(reply) == {"errors": []}


class Gone(NamedTuple):
    """A version whose data cannot be read any more: destroyed for good, or deleted."""

    version: int
    destroyed: bool


def version_gone(reply: Reply) -> Gone | None:
    """The version that a 404 says was deleted or destroyed; None where it does not say so."""
    if reply.status != 404:
        return None
    metadata = member(member(document(reply), "data"), "metadata")
    if metadata is None or not (metadata.get("deletion_time") or metadata.get("destroyed")):
        return None
    version = metadata.get("version")
    return Gone(version, metadata.get("destroyed") is True) if isinstance(version, int) else None


def version_in(content: Mapping[str, Any] | None) -> tuple[int, Mapping[str, Any], Mapping[str, Any]] | None:
    """Number, data and metadata of the version that is the `data` of a reply; None where that is something else.

    A client may write `null` for the data, which the server gives back: a secret without a key, as `{}` is.
    """
    data, metadata = member(content, "data"), member(content, "metadata")
    if content is not None and content.get("data", False) is None:
        data = SensitiveDict()
    version = None if metadata is None else metadata.get("version")
    if data is None or metadata is None or not isinstance(version, int):
        return None
    return version, data, metadata


def malformed(path: str | None, place: str) -> StoreUnavailableError:
    """For a reply that Vault does not give: a proxy's page, a cut or empty body, another shape."""
    hint = "Check that the address is Vault's own, and what stands between"
    return StoreUnavailableError(path, f"{place} answered something that is not Vault's API", hint=hint)


def failure(  # noqa: PLR0911  # one for each status
    reply: Reply, path: str | None, place: str, *, changes: bool = False
) -> StrongroomError:
    """The error for a reply that is not the answer to what was asked; 403 is the session's, which can ask further.

    Args:
        reply: what came.
        path: the secret's path.
        place: mount, namespace and address, for the message.
        changes: the request was a write.
    """
    status = reply.status
    if status == 404:
        return ConfigurationError(f"Nothing answers for {place} (HTTP 404). Check `url`, `namespace` and `mount`")
    if status == 401:
        return VaultAuthenticationError(path, f"{place} answered HTTP 401")
    if status == 400 and changes:
        return InvalidDataError(path, f"{place} refuses this name or data (HTTP 400)")
    if status == 405:
        return UnsupportedOperationError(path, f"{place} does not allow it (HTTP 405)")
    if status == 413:
        return SecretTooLargeError(path, f"{place} refuses its size (HTTP 413)")
    if status in _UNAVAILABLE or status >= 500:
        words = f"{place} answered HTTP {status}: {_UNAVAILABLE.get(status, 'it failed')}"
        if changes and may_be_applied(reply):
            return WriteOutcomeUnknownError(path, words)
        # A 500 is about this request: other paths are still read. The other statuses are about the server.
        return StoreUnavailableError(path, words).copy(path_only=status == 500 and path is not None)
    if 200 <= status < 300:
        return malformed(path, place)
    return StoreError(path, f"{place} answered HTTP {status}")


@cache
def _decoder(parse_int: Callable[[str], float] | None) -> json.JSONDecoder:
    """Made once for each way to read integers: `json.loads` would make one for each reply."""
    return json.JSONDecoder(parse_int=parse_int, parse_constant=_no_constant)


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")
