"""The errors that are Vault's own: what stands between us and the server, and what stands between it and the token.

::

    StoreUnavailableError
    └── VaultConnectionError          no whole reply: refused, timed out, cut off, or not to be trusted
        └── VaultUnsureError          so that a change may or may not have been made
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


class VaultUnsureError(VaultConnectionError):
    """A change may or may not have been made: Vault's word on it was lost, and what is there now does not tell.

    Nothing was repeated that could have overwritten what somebody else wrote meanwhile.
    """

    summary = "The change may or may not have been made, since Vault's answer to it was lost"
    default_hint = "Read the secret before you write it again"


class VaultAuthenticationError(AuthenticationError):
    """Vault does not accept the token, or there is none."""

    summary = "Failed to authenticate with Vault"
    default_hint = "Check that VAULT_TOKEN or `auth` holds a valid token that has not expired or been revoked"
