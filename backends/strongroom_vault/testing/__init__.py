"""A real server for tests, and the contract of other distributions' authentication methods, which needs pytest.

::

    with TestVault() as vault:
        vault.put("database/connection", {"password": "hunter2"})
        token = vault.issue_token({"secret/data/database/*": ["read"]})
        secrets = SecretsManager(vault_url=vault.url, vault_token=token)
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING

from strongroom_vault.testing.server import TestVault

if TYPE_CHECKING:
    from strongroom_vault.testing.auth_contract import AuthContract, ScriptedSend

__all__ = ["AuthContract", "ScriptedSend", "TestVault"]


def __getattr__(name: str) -> object:
    if name not in {"AuthContract", "ScriptedSend"}:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from strongroom.testing import PluginContract  # tells what to install where pytest is missing

    _ = PluginContract
    if (module := f"{__name__}.auth_contract") not in sys.modules:
        import pytest

        pytest.register_assert_rewrite(module)
    return getattr(import_module(module), name)
