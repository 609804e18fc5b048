"""The reference store keeps the contract."""

import pytest

from strongroom.store.memory import MemoryStore, open_memory
from strongroom.testing import StoreContract


class TestMemory(StoreContract):
    capabilities = frozenset({"listable", "writable", "checked", "versioned", "bulk", "probed", "local"})
    impossible = frozenset({"denied", "unreachable"})

    @pytest.fixture
    def store(self) -> MemoryStore:
        return open_memory()


class FinalDeletes(MemoryStore):
    traits = MemoryStore.traits._replace(final_deletes=True)

    def delete(self, path: str) -> None:
        super().delete(path)
        del self._histories[path]


class TestFinalDeletes(TestMemory):
    capabilities = TestMemory.capabilities | {"final_deletes"}

    @pytest.fixture
    def store(self) -> MemoryStore:
        return FinalDeletes()
