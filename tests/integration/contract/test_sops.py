"""A file of SOPS keeps the contract, with the real program and a throw-away age key."""

import os

import pyrage
import pytest

from strongroom.testing import StoreContract
from strongroom_local.sops_store import open_sops

pytestmark = pytest.mark.long


class TestSops(StoreContract):
    """sops reads numbers as floats, so large integers are refused."""

    capabilities = frozenset({"listable", "writable", "bulk", "probed"})
    cannot_hold = frozenset({"large integers"})
    page_size = 2
    many = 8  # each write is a process

    @pytest.fixture
    def store(self, age_key, tmp_path):
        return open_sops(file=tmp_path / "secrets.yaml", encrypt_to=[age_key.recipient], identity=age_key.file)

    @pytest.fixture
    def denied(self, age_key, store, tmp_path):
        """The file is for another key."""
        other = str(pyrage.x25519.Identity.generate().to_public())
        open_sops(file=tmp_path / "secrets.yaml", encrypt_to=[other, age_key.recipient], identity=age_key.file).write(
            "contract/other", {"key": "value"}
        )
        identity = tmp_path / "another"
        identity.touch(0o600)
        identity.write_text(f"{pyrage.x25519.Identity.generate()}\n")
        return open_sops(file=tmp_path / "secrets.yaml", identity=identity)

    @pytest.fixture
    def unreachable(self, tmp_path):
        """A pipe without a writer."""
        os.mkfifo(tmp_path / "secrets.yaml")
        return open_sops(file=tmp_path / "secrets.yaml")
