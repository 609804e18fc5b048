"""Logins: one POST without a token to the mount of a method, and the meaning of the reply."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Final

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


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginMethod(ABC):
    """A method that gives a token for credentials.

    Attributes:
        mount: the method's mount path below `auth/`.
        namespace: the method's namespace; by default the store's, `""` for the root.
        credentials: a noun phrase for the message "does not accept …".
        hint: what to check when they are refused.
    """

    mount: str
    namespace: str | None = None
    repeatable: ClassVar[bool] = True  # each login gives another token, perhaps for a newer credential
    credentials: ClassVar[str]
    hint: ClassVar[str]

    @abstractmethod
    def request(self, send: Send) -> ApiRequest:
        """Return the login with the current credentials; `send` is for a request that gets them."""

    def login(self, send: Send) -> Grant:
        """Return a new token, for the current credentials: see `Auth.login`."""
        request, location = self.request(send), self._location
        # A login of unknown outcome has changed nothing but a count of uses. It is repeated on the next node, or a
        # process that starts while the first node hangs would never log in.
        reply = send(request, namespace=self.namespace, idempotent=True)
        if reply.status == 200:
            return _grant(reply, location)
        if reply.status == 404 or (reply.status == 403 and not _is_mounted(send, request.target, self.namespace)):
            raise ConfigurationError(
                f"auth: no method answers at {location}: check `mount` and `namespace` in the table auth, and that the "
                "method is enabled"
            )
        # The server answers a wrong role like a wrong credential, so that nobody can guess roles.
        if reply.status in {400, 403}:
            reason = f"{location} does not accept {self.credentials} (HTTP {reply.status})"
            raise VaultAuthenticationError(reason=reason, hint=self.hint)
        raise failure(reply, None, location)

    @property
    def _location(self) -> str:
        """The mount and the namespace, for messages."""
        if self.namespace is None:
            return f"auth/{self.mount} in the store's namespace"
        namespace = f"namespace '{self.namespace}'" if self.namespace else "the root namespace"
        return f"auth/{self.mount} in {namespace}"


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
