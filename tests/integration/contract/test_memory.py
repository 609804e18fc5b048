"""The reference store keeps the contract."""

import pytest

from strongroom.errors import InvalidPathError
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


@pytest.mark.long
class TestFinalDeletes(TestMemory):
    capabilities = TestMemory.capabilities | {"final_deletes"}

    @pytest.fixture
    def store(self) -> MemoryStore:
        return FinalDeletes()


class LowerCase(MemoryStore):
    """As a service whose names have no upper case."""

    def read(self, path):
        return super().read(lower(path))

    def write_if(self, path, data, expected):
        return super().write_if(lower(path), data, expected)

    def write(self, path, data):
        return super().write(lower(path), data)


def lower(path: str) -> str:
    if path != path.lower():
        raise InvalidPathError(path, "it has upper case")
    return path


@pytest.mark.long
class TestLowerCase(TestMemory):
    """A store may refuse paths with upper case."""

    cannot_hold = frozenset({"path that is escaped already"})

    @pytest.fixture
    def store(self) -> MemoryStore:
        return LowerCase()
