"""A real server for tests.

::

    with TestVault() as vault:
        vault.put("database/connection", {"password": "hunter2"})
        token = vault.issue_token({"secret/data/database/*": ["read"]})
        secrets = SecretsManager(vault_url=vault.url, vault_token=token)
"""

from strongroom_vault.testing.server import TestVault

__all__ = ["TestVault"]
