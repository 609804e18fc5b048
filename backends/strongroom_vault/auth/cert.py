"""The TLS certificate that the connection is made with."""

from __future__ import annotations

from dataclasses import dataclass

from strongroom_vault.auth import Grant, Send
from strongroom_vault.auth.login import log_in

_HINT = "Check that `url` is https, and that the method trusts the authority of `client_cert`, which has not expired"


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """The method `cert`: the store's `client_cert`, which the TLS handshake shows.

    Attributes:
        name: the role; None for any one that the certificate fits.
        mount: where the method is mounted.
        namespace: in which namespace; None for the store's, `""` for the root.
    """

    name: str | None = None
    mount: str = "cert"
    namespace: str | None = None

    @property
    def repeatable(self) -> bool:
        """Always."""
        return True

    def login(self, send: Send) -> Grant:
        """A new token."""
        return log_in(
            send,
            {"name": self.name},
            mount=self.mount,
            namespace=self.namespace,
            what="the client certificate",
            hint=_HINT,
        )
