"""What an application proves itself with: a token, or a role_id and a secret_id. Made last, and given to its taker."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple

from strongroom.errors import StoreError
from strongroom.secret import SensitiveStr
from strongroom_vault.http.hvac_adapter import ApiRequest
from strongroom_vault.http.request_policy import Reply
from strongroom_vault.responses import document, malformed, member
from strongroom_vault.session.session import Session
from strongroom_vault.session.token_check import LOOKUP
from strongroom_vault.setup.steps import Role, target

ORPHAN = "auth/token/create-orphan"
_ALWAYS = {"default"}


class Kept(NamedTuple):
    """What is known of a token that somebody has kept.

    Attributes:
        good: the server accepts it.
        policies: those that it has; empty where it may not look itself up.
    """

    good: bool
    policies: frozenset[str] = frozenset()

    def serves(self, policies: Iterable[str]) -> bool:
        """Whether it has these policies, and no others."""
        return self.good and self.policies - _ALWAYS == set(policies)


def issue_token(session: Session, policies: Collection[str], period: int) -> SensitiveStr:
    """A token of its own: it does not end with the operator's, and lives on for as long as somebody renews it.

    Args:
        session: asks, with a token that may make others.
        policies: what it may do; the policy `default` comes with them, by which it renews itself.
        period: for how many seconds it lives after each renewal.

    Raises:
        StoreError: the server did not make it.
    """
    content = {"policies": list(policies), "period": f"{period}s", "display_name": "strongroom"}
    reply = session.request(ApiRequest("POST", target(ORPHAN), content))
    if reply.status == 400:
        raise StoreError(None, f"{session.place} refused to make a token with these policies for so long (HTTP 400)")
    return _field(session, reply, "auth", "client_token")


def inspect(session: Session) -> Kept:
    """What the server says of the session's own token.

    Raises:
        StoreError: there was no answer.
    """
    reply = session.request(ApiRequest("GET", LOOKUP))
    if reply.status == 403:
        return Kept(session.token_is_good())
    if reply.status != 200:
        raise session.failure(reply, None)
    policies = (member(document(reply), "data") or {}).get("policies")
    return Kept(True, frozenset(map(str, policies)) if isinstance(policies, list) else frozenset())  # noqa: FBT003  # it is good


def role_id(session: Session, role: Role) -> str:
    """The role_id: which role it is. It proves nothing by itself."""
    reply = session.request(ApiRequest("GET", target(f"{role.path}/role-id")))
    return str(_field(session, reply, "data", "role_id"))


def issue_secret_id(session: Session, role: Role, wrap_ttl: str | None) -> SensitiveStr:
    """A secret_id of the role; with `wrap_ttl`, the token that it is wrapped in, which opens once and for so long.

    Raises:
        StoreError: the server did not make it.
    """
    reply = session.request(ApiRequest("POST", target(f"{role.path}/secret-id"), {}, wrap_ttl))
    return _field(session, reply, "wrap_info", "token") if wrap_ttl else _field(session, reply, "data", "secret_id")


def destroy_secret_id(session: Session, role: Role, made: SensitiveStr, *, wrapped: bool) -> None:
    """Ends a secret_id that nobody has got, as far as the token may: `issue_secret_id` has just made it."""
    if wrapped:
        reply = session.request(ApiRequest("POST", target("sys/wrapping/unwrap"), {"token": made}))
        made = _field(session, reply, "data", "secret_id")
    session.request(ApiRequest("POST", target(f"{role.path}/secret-id/destroy"), {"secret_id": made}))


def is_usable(session: Session, role: Role, delivered: SensitiveStr) -> bool:
    """Whether what was delivered is still good: a wrapping token that nobody has opened, or a secret_id of the role."""
    reply = session.request(ApiRequest("POST", target("sys/wrapping/lookup"), {"token": delivered}))
    made_by = (member(document(reply), "data") or {}).get("creation_path") if reply.status == 200 else None
    if made_by == f"{role.path}/secret-id":
        return True
    reply = session.request(ApiRequest("POST", target(f"{role.path}/secret-id/lookup"), {"secret_id": delivered}))
    return reply.status == 200


def _field(session: Session, reply: Reply, parent: str, name: str) -> SensitiveStr:
    if reply.status != 200:
        raise session.failure(reply, None, changes=True)
    value = (member(document(reply), parent) or {}).get(name)
    if not isinstance(value, str) or not value:
        raise malformed(None, session.place)
    return SensitiveStr(value)
