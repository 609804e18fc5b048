"""The store passes Strongroom's contract."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest
from strongroom_sqlite import SQLiteStore, open_sqlite

from strongroom.testing import PluginContract, StoreContract


class TestSQLite(StoreContract):
    capabilities = frozenset({"listable", "writable", "checked", "local"})
    impossible = frozenset({"denied"})

    @pytest.fixture
    def store(self, tmp_path: Path) -> SQLiteStore:
        return open_sqlite(file=tmp_path / "secrets.db")

    @pytest.fixture
    def unreachable(self, tmp_path: Path) -> Iterator[SQLiteStore]:
        """Yield a store whose file is locked by another program."""
        store = open_sqlite(file=tmp_path / "locked.db")
        other = sqlite3.connect(tmp_path / "locked.db", isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        yield store
        other.close()

    @pytest.fixture
    def foreign(self, tmp_path: Path) -> SQLiteStore:
        """Return a store with a row that another program wrote."""
        store = open_sqlite(file=tmp_path / "secrets.db")
        store.write("contract/app", {"key": "value"})
        with sqlite3.connect(tmp_path / "secrets.db") as other:
            other.execute("INSERT INTO secrets (path, data) VALUES ('contract/foreign', 'plain text')")
        other.close()
        return store


class TestPlugin(PluginContract):
    plugin = "sqlite"
    options: ClassVar = {"file": Path("secrets.db")}


def test_nobody_else_may_read_the_file(tmp_path: Path) -> None:
    open_sqlite(file=tmp_path / "secrets.db").write("a", {"key": "value"})
    assert (tmp_path / "secrets.db").stat().st_mode & 0o777 == 0o600
