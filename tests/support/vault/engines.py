"""Opening a Vault store where no server says which version its engine is."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

from strongroom_vault import plugin
from strongroom_vault.store import mounts
from strongroom_vault.store.kv1 import VaultKV1
from strongroom_vault.store.kv2 import VaultKV2
from strongroom_vault.store.mounts import KVVersion


def open_engine(version: KVVersion, **options: Any) -> VaultKV1 | VaultKV2:
    """`open_vault` as it goes on once the server has said that its engine is of this version."""
    with patch.object(mounts, "find_version", lambda _session: version):
        return plugin.open_vault(**options)
