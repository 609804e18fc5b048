"""How a token is had: one small class for each method, behind one protocol. None of them keeps a token."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from strongroom.secret import SensitiveStr
from strongroom_vault.http.hvac_adapter import ApiRequest
from strongroom_vault.http.request_policy import Reply


@dataclass(frozen=True, slots=True)
class Grant:
    """A token, and what is known of its life.

    Attributes:
        token: the client token; None where a local Agent or Proxy puts its own into each request.
        ttl: for how many seconds it lives from now on, 0 for ever; None where only the server knows.
        renewable: whether renewing it may lengthen its life.
        ours: a login made it for this store alone, so that this store may revoke it.
        uses: how many requests it is good for; None where they are not counted, or only the server knows.
    """

    token: SensitiveStr | None = field(repr=False)
    ttl: float | None = None
    renewable: bool = False
    ours: bool = False
    uses: int | None = None


class Send(Protocol):
    """Sends one request of a login to the cluster, within the deadline: `Sender.send`."""

    def __call__(
        self,
        request: ApiRequest,
        *,
        namespace: str | None = None,
        token: SensitiveStr | None = None,
        idempotent: bool = False,
    ) -> Reply:
        """Return the reply, whatever its status.

        Args:
            request: what to send.
            namespace: where the method is mounted; None for the store's namespace, `""` for the root.
            token: a wrapping token that the request unwraps or looks up.
            idempotent: the request may be repeated when its outcome is unknown.
        """
        ...


class Auth(Protocol):
    """One way to authenticate."""

    @property
    def repeatable(self) -> bool:
        """Whether a second `login` may give another token: not where a token was given once and for all."""
        ...

    def login(self, send: Send) -> Grant:
        """A token. What it stands on (a file, a variable's value, a credential provider) is read anew.

        *Must* be safe to call from several threads, though one login at a time is what its caller does.

        Raises:
            VaultAuthenticationError: the server does not accept the credentials, or there are none.
            ConfigurationError: the method, its mount or its role does not exist, or an option is wrong.
            StoreUnavailableError: there was no answer; a later login may succeed.
        """
        ...
