"""A Vault Agent or Proxy beside the application, which puts its own token into each request."""

from __future__ import annotations

from dataclasses import dataclass

from strongroom_vault.auth import Grant, Send


@dataclass(frozen=True, slots=True)
class Agent:
    """No token of ours: the listener at the store's address has `use_auto_auth_token`."""

    @property
    def repeatable(self) -> bool:
        """Never: logging in is what the Agent does."""
        return False

    def login(self, send: Send) -> Grant:  # noqa: ARG002  # the protocol's signature; nothing is asked
        """That there is no token."""
        return Grant(None)
