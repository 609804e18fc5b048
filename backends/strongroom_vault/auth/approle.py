"""AppRole: a role_id, and a secret_id that is delivered to the workload, also in a response-wrapping token.

A token that was intercepted has been unwrapped, and cannot be unwrapped again. So the token is checked before it is
unwrapped, once; one that does not unwrap, or that wraps another secret, is an alarm.
https://developer.hashicorp.com/vault/docs/concepts/response-wrapping#response-wrapping-token-validation
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from strongroom.errors import ConfigurationError, StoreUnavailableError, WriteOutcomeUnknownError, shown
from strongroom.secret import SensitiveStr
from strongroom.store import fork_safe_lock, remaining
from strongroom_vault.auth import Send
from strongroom_vault.auth.credential import checked, from_file, one_of
from strongroom_vault.auth.login import LoginMethod
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


@dataclass(frozen=True, slots=True, kw_only=True)
class AppRole(LoginMethod):
    """The method `approle`.

    Attributes:
        role_id: the role.
        secret_id: its secret_id.
        secret_id_file: a file that holds the secret_id.
        wrapping_token: a response-wrapping token that holds the secret_id. It can be unwrapped once.
        wrapping_token_file: a file that holds such a token. A new token in it is unwrapped at the next login.
        role: the role's name. Only a token that wraps a secret_id of this role is unwrapped; by default any role.

    Raises:
        ConfigurationError: not exactly one of the four sources is given.
    """

    role_id: str = field(repr=False)
    secret_id: str | None = field(default=None, repr=False)
    secret_id_file: Path | None = None
    wrapping_token: str | None = field(default=None, repr=False)
    wrapping_token_file: Path | None = None
    role: str | None = None
    mount: str = "approle"
    credentials: ClassVar[str] = "the role_id and secret_id"
    hint: ClassVar[str] = "Check `role_id`, and that the secret_id has not expired, been used up or been destroyed"

    def __post_init__(self) -> None:
        one_of(
            "approle",
            secret_id=self.secret_id,
            secret_id_file=self.secret_id_file,
            wrapping_token=self.wrapping_token,
            wrapping_token_file=self.wrapping_token_file,
        )
        for name in ("role_id", "secret_id", "wrapping_token"):
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, SensitiveStr(value))
        if self.role is not None and self.wrapping_token is None and self.wrapping_token_file is None:
            raise ConfigurationError("auth.role: it needs a wrapping token, whose secret_id it is checked against")

    def request(self, send: Send) -> ApiRequest:
        return requests().approle.login(self.role_id, self._secret_id(send), mount_point=self.mount)

    def _secret_id(self, send: Send) -> SensitiveStr:
        if self.secret_id is not None:
            return checked(SensitiveStr(self.secret_id), "auth.secret_id")
        if self.secret_id_file is not None:
            return from_file(self.secret_id_file, "secret_id_file")
        if self.wrapping_token_file is not None:
            wrapping = from_file(self.wrapping_token_file, "wrapping_token_file")
        else:
            wrapping = checked(SensitiveStr(self.wrapping_token or ""), "auth.wrapping_token")
        return _unwrap_secret_id(send, wrapping, mount=self.mount, role=self.role, namespace=self.namespace)


# --- the wrapping token -----------------------------------------------------------------------------------------------


def _unwrap_secret_id(
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
