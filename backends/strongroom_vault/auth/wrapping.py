"""A secret_id in a response-wrapping token: looked at before it is opened, and opened once.

Whoever intercepts such a token has to open it, and then nobody else can: that is what it is for. So one that does not
open, or that wraps something else, is no mishap but an alarm.
https://developer.hashicorp.com/vault/docs/concepts/response-wrapping#response-wrapping-token-validation
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading

from strongroom.errors import StoreUnavailableError, WriteOutcomeUnknownError, shown
from strongroom.secret import SensitiveStr
from strongroom.store import remaining
from strongroom_vault.auth import Send
from strongroom_vault.auth.token import is_token
from strongroom_vault.errors import VaultAuthenticationError
from strongroom_vault.http.hvac_adapter import ApiRequest
from strongroom_vault.http.request_policy import Reply
from strongroom_vault.responses import document, failure, malformed, member

_ALARM = "It may have been intercepted: find out who else had it, destroy the secret_id, and deliver a new one"

_LOST = "Deliver a new one, and destroy the secret_id that was in it"

_LOOKUP = "/v1/sys/wrapping/lookup"
_UNWRAP = "/v1/sys/wrapping/unwrap"


class _Unwrapped:
    """What the wrapping tokens of this process held, by what was asked of them: token, mount, role and namespace.

    A store that is opened once more, also in the child of a fork, needs the secret_id and cannot unwrap it once more.

    Attributes:
        lost: what may have been unwrapped, since no answer to that came.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.lost: set[bytes] = set()
        self._held: dict[bytes, SensitiveStr] = {}

    def __repr__(self) -> str:
        return f"_Unwrapped({len(self._held)})"

    def get(self, asked: bytes) -> SensitiveStr | None:
        """The secret_id that was unwrapped for this already."""
        return self._held.get(asked)

    def put(self, asked: bytes, secret_id: SensitiveStr) -> None:
        """Keeps what was unwrapped for this."""
        self._held[asked] = secret_id

    def reset(self) -> None:
        """What a fork's child must do first: whoever held the lock is not there to let it go."""
        self.lock = threading.Lock()


_unwrapped = _Unwrapped()


def unwrap_secret_id(
    send: Send, token: SensitiveStr, *, mount: str, role: str | None, namespace: str | None
) -> SensitiveStr:
    """The secret_id that the wrapping token holds, unwrapped at most once in this process.

    Args:
        send: sends the requests.
        token: the wrapping token.
        mount: where AppRole is mounted.
        role: the role whose secret_id it has to be; None for any role's.
        namespace: in which namespace, as `Send` has it.

    Raises:
        VaultAuthenticationError: it holds something else, or was opened before, or has expired.
        StoreUnavailableError: there was no answer.
    """
    if not is_token(token):
        raise VaultAuthenticationError(reason="the wrapping token is none", hint="Deliver a new one")
    asked = _digest(token, mount, role, namespace)
    spent: VaultAuthenticationError
    if not _unwrapped.lock.acquire(timeout=remaining()):
        raise StoreUnavailableError(reason="no time is left to unwrap the secret_id")
    try:
        secret_id = _unwrapped.get(asked)
        if secret_id is None:
            _check_origin(send, token, mount, role, namespace)
            secret_id = _secret_id(send(ApiRequest("POST", _UNWRAP, {}), namespace=namespace, token=token))
            _unwrapped.put(asked, secret_id)
    except WriteOutcomeUnknownError:
        _unwrapped.lost.add(asked)
        raise
    except VaultAuthenticationError as error:
        spent = error
    else:
        return secret_id
    finally:
        _unwrapped.lock.release()
    if asked not in _unwrapped.lost:
        raise spent
    reason = "the wrapping token is spent: most likely this process opened it, and the answer to that was lost"
    raise VaultAuthenticationError(reason=reason, hint=_LOST)


def _check_origin(send: Send, token: SensitiveStr, mount: str, role: str | None, namespace: str | None) -> None:
    """Refuses a token that was not made by asking for a secret_id: anybody can wrap anything."""
    reply = send(ApiRequest("POST", _LOOKUP, {"token": token}), namespace=namespace)
    _check_spent(reply)
    path = _field(reply, "creation_path")
    if not path:
        raise malformed(None, "sys/wrapping/lookup")
    wanted = f"auth/{mount}/role/{role or '<role>'}/secret-id"
    # A role's name is matched without its case: AppRole keeps it in lower case.
    named = r"[\w.-]+" if role is None else f"(?i:{re.escape(role)})"
    pattern = f"auth/{re.escape(mount)}/role/{named}/secret-id"
    if not re.fullmatch(pattern, path):
        reason = f"the wrapping token was made by {shown(path)}, not by {wanted}"
        raise VaultAuthenticationError(reason=reason, hint=_ALARM)


def _secret_id(reply: Reply) -> SensitiveStr:
    _check_spent(reply, changes=True)
    secret_id = _field(reply, "secret_id")
    if not secret_id:
        raise malformed(None, "sys/wrapping/unwrap")
    return secret_id


def _field(reply: Reply, name: str) -> SensitiveStr:
    """The text of that name in the reply's data, empty where there is none or something else."""
    value = (member(document(reply), "data") or {}).get(name)
    return SensitiveStr(value) if isinstance(value, str) else SensitiveStr()


def _check_spent(reply: Reply, *, changes: bool = False) -> None:
    if reply.status in {400, 403}:
        reason = f"the wrapping token was opened before, has expired, or never was one (HTTP {reply.status})"
        raise VaultAuthenticationError(reason=reason, hint=_ALARM)
    if reply.status != 200:
        raise failure(reply, None, "sys/wrapping", changes=changes)


def _digest(*asked: str | None) -> bytes:
    return hashlib.sha256(json.dumps(asked).encode()).digest()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_unwrapped.reset)
