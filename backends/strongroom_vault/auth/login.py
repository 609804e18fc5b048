"""Logins: one POST without a token to the mount of a method, and the meaning of the reply."""

from __future__ import annotations

from typing import Final

from strongroom.errors import ConfigurationError
from strongroom.secret import SensitiveStr, protect_data
from strongroom_vault.auth import Grant, Send
from strongroom_vault.auth.token import is_token
from strongroom_vault.errors import VaultAuthenticationError
from strongroom_vault.http.hvac_adapter import ApiRequest
from strongroom_vault.http.messages import Reply
from strongroom_vault.responses import document, failure, is_seconds, malformed, member

_LONGEST_LEASE: Final = 1 << 53
"""The longest lease that is believed, in seconds."""


def log_in(send: Send, request: ApiRequest, *, mount: str, namespace: str | None, credentials: str, hint: str) -> Grant:
    """Return the token that the method at this mount gives for these credentials.

    Args:
        send: sends the request.
        request: the login.
        mount: the method's mount path below `auth/`.
        namespace: the method's namespace; by default the store's, `""` for the root.
        credentials: a noun phrase for the message "does not accept …".
        hint: what to check when they are refused.

    Raises:
        VaultAuthenticationError, ConfigurationError, StoreUnavailableError: see `Auth.login`.
    """
    location = described(mount, namespace)
    # A login of unknown outcome has changed nothing but a count of uses. It is repeated on the next node, or a process
    # that starts while the first node hangs would never log in.
    reply = send(request, namespace=namespace, idempotent=True)
    if reply.status == 200:
        return _grant(reply, location)
    if reply.status == 404 or (reply.status == 403 and not _is_mounted(send, request.target, namespace)):
        raise ConfigurationError(
            f"auth: no method answers at {location}: check `mount` and `namespace` in the table auth, and that the "
            "method is enabled"
        )
    # The server answers a wrong role like a wrong credential, so that nobody can guess roles.
    if reply.status in {400, 403}:
        reason = f"{location} does not accept {credentials} (HTTP {reply.status})"
        raise VaultAuthenticationError(reason=reason, hint=hint)
    raise failure(reply, None, location)


def described(mount: str, namespace: str | None) -> str:
    """Return the mount of a method and its namespace, for messages."""
    if namespace is None:
        return f"auth/{mount} in the store's namespace"
    return f"auth/{mount} in namespace '{namespace}'" if namespace else f"auth/{mount} in the root namespace"


def _is_mounted(send: Send, target: str, namespace: str | None) -> bool:
    """Return True if a method is mounted there: without a token, a login is 403 at a missing mount too.

    A mounted method answers a GET of its login with 405, and needs no token for that. hvac has no such request.
    """
    return send(ApiRequest("GET", target), namespace=namespace).status not in {403, 404}


def _grant(reply: Reply, location: str) -> Grant:
    auth = protect_data(member(document(reply), "auth") or {})
    if member(auth, "mfa_requirement") is not None:
        raise ConfigurationError(f"auth: {location} asks for a second factor, which no application has")
    token, ttl = auth.get("client_token"), auth.get("lease_duration")
    if not isinstance(token, str) or not is_token(token):
        raise malformed(None, location)
    if not is_seconds(ttl) or ttl > _LONGEST_LEASE:
        raise malformed(None, location)
    # A renewal spends one of the token's uses, if they are counted.
    renewable = auth.get("renewable") is True and not auth.get("num_uses")
    # A batch token cannot be revoked, and its leases do not end with it.
    revocable = auth.get("token_type") != "batch"
    return Grant(SensitiveStr(token), float(ttl), renewable=renewable, revocable=revocable)
