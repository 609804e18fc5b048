"""The errors of this backend: failures to reach Vault, and to authenticate with it.

::

    StoreUnavailableError
    └── VaultConnectionError          no whole reply: refused, timed out, cut off, or not trusted
    AuthenticationError
    └── VaultAuthenticationError      the token is missing, wrong, expired or revoked

All other errors of this backend are classes of `strongroom.errors`.
"""

from __future__ import annotations

from strongroom.errors import AuthenticationError, StoreUnavailableError


class VaultConnectionError(StoreUnavailableError):
    """Vault gave no whole reply in time, or its certificate is not trusted."""

    summary = "Cannot connect to Vault"
    default_hint = "Check that VAULT_ADDR or `url` is right, that Vault is running, and that the network reaches it"


class VaultAuthenticationError(AuthenticationError):
    """Vault does not accept the token, or no token was given."""

    summary = "Failed to authenticate with Vault"
    default_hint = "Check that VAULT_TOKEN or `auth` holds a valid token that has not expired or been revoked"
