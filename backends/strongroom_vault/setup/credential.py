"""The credentials of an application: a token, or the role_id and secret_id of an AppRole."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple

from strongroom.errors import StoreError
from strongroom.secret import SensitiveStr
from strongroom_vault.http.hvac_adapter import ApiRequest, requests
from strongroom_vault.http.messages import Reply
from strongroom_vault.responses import document, malformed, member
from strongroom_vault.session.session import Session
from strongroom_vault.setup.steps import Role, target

ORPHAN = "auth/token/create-orphan"
"""The API path that creates a token without a parent."""

_DEFAULT_POLICY = {"default"}


class TokenStatus(NamedTuple):
    """The server's answer about a token.

    Attributes:
        valid: the server accepts the token.
        policies: its policies; empty if it may not look itself up.
    """

    valid: bool
    policies: frozenset[str] = frozenset()

    def has_exactly(self, policies: Iterable[str]) -> bool:
        """Return True if the token is valid and has these policies and no others, `default` aside."""
        return self.valid and self.policies - _DEFAULT_POLICY == set(policies)


def issue_token(session: Session, policies: Collection[str], period: int) -> SensitiveStr:
    """Create a periodic orphan token: it outlives the operator's token, and lives as long as it is renewed.

    Args:
        session: has a token that may create others.
        policies: of the new token. It also has the policy `default`, which lets it renew itself.
        period: seconds that it lives after each renewal.

    Raises:
        StoreError: the server did not create it.
    """
    reply = session.request(
        requests().token.create_orphan(policies=list(policies), period=f"{period}s", display_name="strongroom")
    )
    if reply.status == 400:
        raise StoreError(None, f"{session.location} refused a token with these policies and this lifetime (HTTP 400)")
    return _field(session, reply, "auth", "client_token")


def token_status(session: Session) -> TokenStatus:
    """Look up the session's own token.

    Raises:
        StoreError: the server did not answer.
    """
    reply = session.request(requests().token.lookup_self())
    if reply.status == 403:
        return TokenStatus(session.token_is_good())
    if reply.status != 200:
        raise session.failure(reply, None)
    policies = (member(document(reply), "data") or {}).get("policies")
    return TokenStatus(valid=True, policies=frozenset(map(str, policies if isinstance(policies, list) else ())))


def revoke_token(session: Session, token: SensitiveStr) -> None:
    """Revoke a token, if the session's token may."""
    session.request(requests().token.revoke(token))


def role_id(session: Session, role: Role) -> str:
    """Return the role_id of an AppRole. It is an identifier, not a secret."""
    reply = session.request(requests().approle.read_role_id(role.name, mount_point=role.mount))
    return str(_field(session, reply, "data", "role_id"))


def issue_secret_id(session: Session, role: Role, wrap_ttl: str | None) -> SensitiveStr:
    """Create a secret_id of the role; with `wrap_ttl`, return the wrapping token that can be opened once within it.

    Raises:
        StoreError: the server did not create it.
    """
    request = requests().approle.generate_secret_id(role.name, mount_point=role.mount, wrap_ttl=wrap_ttl)
    reply = session.request(request)
    return _field(session, reply, "wrap_info", "token") if wrap_ttl else _field(session, reply, "data", "secret_id")


def destroy_secret_id(session: Session, role: Role, issued: SensitiveStr, *, wrapped: bool) -> None:
    """Destroy the result of `issue_secret_id`, if the session's token may."""
    if wrapped:
        reply = session.request(requests().system.unwrap(issued))
        issued = _field(session, reply, "data", "secret_id")
    session.request(requests().approle.destroy_secret_id(role.name, issued, mount_point=role.mount))


def is_usable(session: Session, role: Role, issued: SensitiveStr) -> bool:
    """Return True if this is an unopened wrapping token of a secret_id of the role, or a valid secret_id of it."""
    # hvac has no method for the lookup of a wrapping token.
    reply = session.request(ApiRequest("POST", target("sys/wrapping/lookup"), {"token": issued}))
    origin = (member(document(reply), "data") or {}).get("creation_path") if reply.status == 200 else None
    if origin == f"{role.path}/secret-id":
        return True
    reply = session.request(requests().approle.read_secret_id(role.name, issued, mount_point=role.mount))
    return reply.status == 200


def _field(session: Session, reply: Reply, parent: str, name: str) -> SensitiveStr:
    if reply.status != 200:
        raise session.failure(reply, None, changes=True)
    value = (member(document(reply), parent) or {}).get(name)
    if not isinstance(value, str) or not value:
        raise malformed(None, session.location)
    return SensitiveStr(value)
