"""Real servers for tests: one server, a cluster of three, and a proxy that injects network faults.

`AuthContract` tests an authentication method of another distribution. It needs pytest.

::

    with TestVault() as vault:
        vault.put("database/connection", {"password": "hunter2"})
        token = vault.issue_token({"secret/data/database/*": ["read"]})
        with FaultProxy(vault.url) as proxy, proxy.fault(faults.reset(forward=True)):
            secrets = SecretsManager(vault_url=proxy.url, vault_token=token)
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING

from strongroom_vault.testing import faults
from strongroom_vault.testing.cluster import Node, TestCluster
from strongroom_vault.testing.faults import Exchange, Fault, Request
from strongroom_vault.testing.proxy import FaultProxy
from strongroom_vault.testing.server import TestVault

if TYPE_CHECKING:
    from strongroom_vault.testing.auth_contract import AuthContract, ScriptedSend

__all__ = [
    "AuthContract",
    "Exchange",
    "Fault",
    "FaultProxy",
    "Node",
    "Request",
    "ScriptedSend",
    "TestCluster",
    "TestVault",
    "faults",
]


def __getattr__(name: str) -> object:
    if name not in {"AuthContract", "ScriptedSend"}:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from strongroom.testing import PluginContract  # tells what to install where pytest is missing

    _ = PluginContract
    if (module := f"{__name__}.auth_contract") not in sys.modules:
        import pytest

        pytest.register_assert_rewrite(module)
    return getattr(import_module(module), name)
