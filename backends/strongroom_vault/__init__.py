"""HashiCorp Vault and OpenBao."""

from strongroom_vault.errors import VaultAuthenticationError, VaultConnectionError

__all__ = ["VaultAuthenticationError", "VaultConnectionError"]
