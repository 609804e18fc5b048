"""A Vault Agent or Proxy beside the application, which puts its own token into each request."""

from __future__ import annotations

from dataclasses import dataclass

from strongroom_vault.auth import Grant, Send


@dataclass(frozen=True, slots=True)
class Agent:
    """No token: the listener at the store's address has `use_auto_auth_token`."""

    @property
    def repeatable(self) -> bool:
        """Never: the Agent logs in."""
        return False

    def login(self, send: Send) -> Grant:  # noqa: ARG002  # the protocol's signature
        """Return a grant without a token."""
        return Grant(None)
