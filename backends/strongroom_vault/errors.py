"""The errors that are Vault's own: what stands between us and the server, and what stands between it and the token.

::

    StoreUnavailableError
    └── VaultConnectionError          no whole reply: refused, timed out, cut off, or not to be trusted
    AuthenticationError
    └── VaultAuthenticationError      the token is missing, wrong, expired or revoked

Everything else that this backend raises is `strongroom.errors`' own.
"""

from __future__ import annotations

from strongroom.errors import AuthenticationError, StoreUnavailableError


class VaultConnectionError(StoreUnavailableError):
    """Vault gave no whole reply in time, or its certificate is not to be trusted."""

    summary = "Cannot connect to Vault"
    default_hint = "Check that VAULT_ADDR or `url` is right, that Vault is running, and that the network reaches it"


class VaultAuthenticationError(AuthenticationError):
    """Vault does not accept the token, or there is none."""

    summary = "Failed to authenticate with Vault"
    default_hint = "Check that VAULT_TOKEN or `auth` holds a valid token that has not expired or been revoked"
