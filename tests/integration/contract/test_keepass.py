"""The store `keepass` keeps the contract, on real files."""

from pathlib import Path
from typing import ClassVar

import pytest

from strongroom.testing import PluginContract, StoreContract
from strongroom_keepass.store import open_keepass
from support.services.keepass import PASSWORD, make_database


class TestKeePassPlugin(PluginContract):
    """The plugin `keepass`, which imports pykeepass when it is opened."""

    plugin = "keepass"
    options: ClassVar = {"file": Path("secrets.kdbx"), "password": PASSWORD}
    refused: ClassVar = [{"file": Path("secrets.kdbx"), "password": None}]
    lazy = frozenset({"pykeepass", "construct", "lxml", "argon2", "Cryptodome"})


@pytest.mark.long
class TestKeePass(StoreContract):
    """XML has no control characters. A file has no pages."""

    capabilities = frozenset({"listable", "writable", "checked", "bulk", "probed", "local"})
    cannot_hold = frozenset({"controls", "nul"})
    page_size = many = 20  # each write writes the whole file

    @pytest.fixture
    def file(self, tmp_path):
        return make_database(tmp_path / "secrets.kdbx")

    @pytest.fixture
    def store(self, file):
        return open_keepass(file=file, password=PASSWORD)

    @pytest.fixture
    def denied(self, file):
        return open_keepass(file=file, password="a wrong one")

    @pytest.fixture
    def unreachable(self, file):
        """The file is cut, as by a full disk."""
        content = file.read_bytes()
        file.write_bytes(content[: len(content) // 2])
        return open_keepass(file=file, password=PASSWORD)
