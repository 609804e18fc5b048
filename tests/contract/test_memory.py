"""The reference store keeps the contract."""

import pytest

from strongroom.memory import MemoryStore, open_memory
from strongroom.testing import StoreContract


class TestMemory(StoreContract):
    capabilities = frozenset({"listable", "writable", "checked", "versioned", "bulk", "probed", "local"})
    impossible = frozenset({"denied", "unreachable"})

    @pytest.fixture
    def store(self) -> MemoryStore:
        return open_memory()
