"""A login where a method is mounted: one POST without a token, and what the reply to it means.

This request is the same for every method but for the few fields of its body. hvac's classes for it would bring a
signature for the wrong region (`aws`), files of their own (`cert`), and nothing that is not here.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from strongroom.errors import ConfigurationError
from strongroom.secret import SensitiveStr, protect_data
from strongroom_vault.auth import Grant, Send
from strongroom_vault.auth.token import is_token
from strongroom_vault.errors import VaultAuthenticationError
from strongroom_vault.http.hvac_adapter import ApiRequest
from strongroom_vault.http.request_policy import Reply
from strongroom_vault.responses import document, failure, malformed, member

_LONGEST_LEASE = 1 << 53
"""What is longer than this is no number of seconds."""


def log_in(
    send: Send, content: Mapping[str, str | None], *, mount: str, namespace: str | None, what: str, hint: str
) -> Grant:
    """The token that the method at this mount gives for these credentials.

    Args:
        send: sends the request.
        content: the fields of its body; those that are None are left out.
        mount: where the method is mounted, below `auth/`.
        namespace: in which namespace, as `Send` has it.
        what: the credentials in words, as the object of "does not accept".
        hint: what to check when they are refused.

    Raises:
        VaultAuthenticationError, ConfigurationError, StoreUnavailableError: as `Auth.login` does.
    """
    target, place = f"/v1/auth/{quote(mount)}/login", described(mount, namespace)
    fields = {name: SensitiveStr(value) for name, value in content.items() if value is not None}
    # A login whose answer was lost has changed nothing but a count of uses. Were it not sent again, to the next node, a
    # process that starts while the first one hangs would never get in.
    reply = send(ApiRequest("POST", target, fields), namespace=namespace, idempotent=True)
    if reply.status == 200:
        return _grant(reply, place)
    if reply.status == 404 or (reply.status == 403 and not _is_mounted(send, target, namespace)):
        raise ConfigurationError(
            f"auth: no method answers at {place}: check `mount` and `namespace` in the table auth, and that the method "
            "is enabled"
        )
    # A role that does not exist is answered like a credential that is wrong, so that nobody can guess roles.
    if reply.status in {400, 403}:
        raise VaultAuthenticationError(reason=f"{place} does not accept {what} (HTTP {reply.status})", hint=hint)
    raise failure(reply, None, place)


def described(mount: str, namespace: str | None) -> str:
    """Where a method is mounted, in words."""
    if namespace is None:
        return f"auth/{mount} in the store's namespace"
    return f"auth/{mount} in namespace '{namespace}'" if namespace else f"auth/{mount} in the root namespace"


def _is_mounted(send: Send, target: str, namespace: str | None) -> bool:
    """Whether a method is mounted there, since who has no token is told 403 as well where nothing is.

    A method that is there says that a login cannot be read, and needs no token for that.
    """
    return send(ApiRequest("GET", target), namespace=namespace).status not in {403, 404}


def _grant(reply: Reply, place: str) -> Grant:
    auth = protect_data(member(document(reply), "auth") or {})
    if member(auth, "mfa_requirement") is not None:
        raise ConfigurationError(f"auth: {place} asks for a second factor, which no application has")
    token, ttl = auth.get("client_token"), auth.get("lease_duration")
    if not isinstance(token, str) or not is_token(token):
        raise malformed(None, place)
    if not isinstance(ttl, int) or isinstance(ttl, bool) or not 0 <= ttl <= _LONGEST_LEASE:
        raise malformed(None, place)
    count = auth.get("num_uses")
    uses = count if isinstance(count, int) and count > 0 else None
    # A renewal spends one of the token's uses, where they are counted.
    renewable = auth.get("renewable") is True and uses is None
    # A batch token cannot be revoked, and what it leases does not end with it.
    ours = auth.get("token_type") != "batch"
    return Grant(SensitiveStr(token), float(ttl), renewable=renewable, ours=ours, uses=uses)
