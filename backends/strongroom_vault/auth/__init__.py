"""Authentication: one small class for each method, behind one protocol. None of them keeps a token."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Protocol

from strongroom.secret import SensitiveStr
from strongroom_vault.http.hvac_adapter import ApiRequest
from strongroom_vault.http.messages import Reply


@dataclass(frozen=True, slots=True)
class Grant:
    """The result of a login: a token, and its life as far as it is known.

    Attributes:
        token: the client token; None if a local Agent or Proxy puts its token into each request.
        ttl: how long it lives, in seconds; 0 for ever, None if only the server knows.
        renewable: whether renewal may extend its life.
        revocable: a login made it for this store alone, so that this store may revoke it.
    """

    token: SensitiveStr | None = field(repr=False)
    ttl: float | None = None
    renewable: bool = False
    revocable: bool = False


class Send(Protocol):
    """Sends one request of a login to the cluster, within the deadline: `Session.send`."""

    def __call__(
        self,
        request: ApiRequest,
        *,
        namespace: str | None = None,
        token: SensitiveStr | None = None,
        idempotent: bool = False,
    ) -> Reply:
        """Return the reply, with any status.

        Args:
            request: what to send.
            namespace: the method's namespace; by default the store's, `""` for the root.
            token: a wrapping token that the request unwraps or looks up.
            idempotent: the request may be repeated when its outcome is unknown.
        """
        ...


class Auth(Protocol):
    """One way to authenticate.

    Its parameters, which are strings and paths, are the options of the table `auth`.

    Attributes:
        repeatable: whether a second `login` may give another token: False for a static token.
    """

    repeatable: ClassVar[bool]

    def login(self, send: Send) -> Grant:
        """Return a token. Its source (a file, a variable, a credential provider) is read anew.

        *Must* be safe to call from several threads, although the session runs one login at a time.

        Raises:
            VaultAuthenticationError: the server does not accept the credentials, or there are none.
            ConfigurationError: the method, its mount or its role does not exist, or an option is wrong.
            StoreUnavailableError: the server did not answer; a later login may succeed.
        """
        ...
