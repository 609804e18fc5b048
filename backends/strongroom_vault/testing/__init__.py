"""Real servers for tests: one server, a cluster of three, and a proxy that injects network faults.

::

    with TestVault() as vault:
        vault.put("database/connection", {"password": "hunter2"})
        token = vault.issue_token({"secret/data/database/*": ["read"]})
        with FaultProxy(vault.url) as proxy, proxy.fault(faults.reset(forward=True)):
            secrets = SecretsManager(vault_url=proxy.url, vault_token=token)
"""

from strongroom_vault.testing import faults
from strongroom_vault.testing.cluster import Node, TestCluster
from strongroom_vault.testing.faults import Exchange, Fault, Request
from strongroom_vault.testing.proxy import FaultProxy
from strongroom_vault.testing.server import TestVault

__all__ = ["Exchange", "Fault", "FaultProxy", "Node", "Request", "TestCluster", "TestVault", "faults"]
