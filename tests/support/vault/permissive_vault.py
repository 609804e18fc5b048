"""A real server whose API creates audit devices. Tests of the documentation and of `vault setup` use it."""

from __future__ import annotations

from pathlib import Path

from strongroom_vault.testing import TestVault


class PermissiveVault(TestVault):
    """An OpenBao with an API for audit devices, which HashiCorp Vault has by default."""

    def _configuration(self, binary: Path, port: int) -> str:
        return f"{super()._configuration(binary, port)}\nunsafe_allow_api_audit_creation = true\n"
