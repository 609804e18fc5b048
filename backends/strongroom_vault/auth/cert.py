"""The TLS client certificate of the connection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar
from urllib.parse import quote

from strongroom_vault.auth import Grant, Send
from strongroom_vault.auth.login import log_in
from strongroom_vault.http.hvac_adapter import requests

_HINT = "Check that `url` is https, and that the method trusts the authority of `client_cert`, which has not expired"


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """The method `cert`: the store's `client_cert`, which the TLS handshake presents.

    Attributes:
        name: the role; None for any role that matches the certificate.
        mount: the method's mount path.
        namespace: the method's namespace; None for the store's, `""` for the root.
    """

    name: str | None = None
    mount: str = "cert"
    namespace: str | None = None
    repeatable: ClassVar[bool] = True

    def login(self, send: Send) -> Grant:
        """Return a new token."""
        return log_in(
            send,
            requests().cert.login(self.name, mount_point=quote(self.mount)),  # hvac does not encode this mount
            mount=self.mount,
            namespace=self.namespace,
            credentials="the client certificate",
            hint=_HINT,
        )
