"""A secret_id in a response-wrapping token: checked before it is unwrapped, and unwrapped once.

A token that was intercepted has been unwrapped, and cannot be unwrapped again. So a token that does not unwrap, or that
wraps another secret, is an alarm.
https://developer.hashicorp.com/vault/docs/concepts/response-wrapping#response-wrapping-token-validation
"""

from __future__ import annotations

import hashlib
import json
import re
import sys

from strongroom.errors import StoreUnavailableError, WriteOutcomeUnknownError, shown
from strongroom.secret import SensitiveStr
from strongroom.store import fork_safe_lock, remaining
from strongroom_vault.auth import Send
from strongroom_vault.auth.token import is_token
from strongroom_vault.errors import VaultAuthenticationError
from strongroom_vault.http.hvac_adapter import ApiRequest, requests
from strongroom_vault.http.messages import Reply
from strongroom_vault.responses import document, failure, malformed, member

_ALARM = "It may have been intercepted: find out who else had it, destroy the secret_id, and deliver a new one"

_LOST = "Deliver a new one, and destroy the secret_id that was in it"


_lock = fork_safe_lock(sys.modules[__name__], "_lock")

_unwrapped: dict[bytes, SensitiveStr] = {}
"""The secret_ids that this process has unwrapped, by a digest of token, mount, role and namespace.

A store that is opened again, also in a fork's child, needs the secret_id and cannot unwrap it again.
"""

_perhaps_unwrapped: set[bytes] = set()
"""Digests of tokens that may have been unwrapped, because the reply was lost."""


def unwrap_secret_id(
    send: Send, token: SensitiveStr, *, mount: str, role: str | None, namespace: str | None
) -> SensitiveStr:
    """Return the secret_id in the wrapping token, unwrapped at most once in this process.

    Args:
        send: sends the requests.
        token: the wrapping token.
        mount: where AppRole is mounted.
        role: the role whose secret_id it must hold; by default any role.
        namespace: the method's namespace; by default the store's, `""` for the root.

    Raises:
        VaultAuthenticationError: it holds another secret, was unwrapped before, or has expired.
        StoreUnavailableError: the server did not answer.
    """
    if not is_token(token):
        raise VaultAuthenticationError(reason="it is not a wrapping token", hint="Deliver a new one")
    digest = _digest(token, mount, role, namespace)
    spent: VaultAuthenticationError
    if (known := _unwrapped.get(digest)) is not None:
        return known
    if not _lock.acquire(timeout=remaining()):
        raise StoreUnavailableError(reason="no time is left to unwrap the secret_id")
    try:
        secret_id = _unwrapped.get(digest)
        if secret_id is None:
            _check_origin(send, token, mount, role, namespace)
            secret_id = _secret_id(send(requests().system.unwrap(), namespace=namespace, token=token))
            _unwrapped[digest] = secret_id
    except WriteOutcomeUnknownError:
        _perhaps_unwrapped.add(digest)
        raise
    except VaultAuthenticationError as error:
        spent = error
    else:
        return secret_id
    finally:
        _lock.release()
    if digest not in _perhaps_unwrapped:
        raise spent
    reason = "the wrapping token is spent: most likely this process unwrapped it, and the reply was lost"
    raise VaultAuthenticationError(reason=reason, hint=_LOST)


def _check_origin(send: Send, token: SensitiveStr, mount: str, role: str | None, namespace: str | None) -> None:
    """Refuse a token that does not come from a request for a secret_id: anybody can wrap any text."""
    # hvac has no method for this request.
    reply = send(ApiRequest("POST", "/v1/sys/wrapping/lookup", {"token": token}), namespace=namespace)
    _check_spent(reply)
    path = _field(reply, "creation_path")
    if not path:
        raise malformed(None, "sys/wrapping/lookup")
    expected = f"auth/{mount}/role/{role or '<role>'}/secret-id"
    # AppRole keeps the names of roles in lower case.
    name = r"[\w.-]+" if role is None else f"(?i:{re.escape(role)})"
    pattern = f"auth/{re.escape(mount)}/role/{name}/secret-id"
    if not re.fullmatch(pattern, path):
        reason = f"the wrapping token was made by {shown(path)}, not by {expected}"
        raise VaultAuthenticationError(reason=reason, hint=_ALARM)


def _secret_id(reply: Reply) -> SensitiveStr:
    _check_spent(reply, changes=True)
    secret_id = _field(reply, "secret_id")
    if not secret_id:
        raise malformed(None, "sys/wrapping/unwrap")
    return secret_id


def _field(reply: Reply, name: str) -> SensitiveStr:
    """Return a text in the reply's data, or an empty text."""
    value = (member(document(reply), "data") or {}).get(name)
    return SensitiveStr(value) if isinstance(value, str) else SensitiveStr()


def _check_spent(reply: Reply, *, changes: bool = False) -> None:
    if reply.status in {400, 403}:
        reason = f"the wrapping token was unwrapped before, has expired, or never was one (HTTP {reply.status})"
        raise VaultAuthenticationError(reason=reason, hint=_ALARM)
    if reply.status != 200:
        raise failure(reply, None, "sys/wrapping", changes=changes)


def _digest(*parts: str | None) -> bytes:
    return hashlib.sha256(json.dumps(parts).encode()).digest()
