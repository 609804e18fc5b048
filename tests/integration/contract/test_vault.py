"""Both key-value engines of a real server keep the contract."""

import pytest

from engines import open_engine
from strongroom.testing import StoreContract, silent_server
from strongroom_vault.plugin import open_vault


class VaultContract(StoreContract):
    """Shared by both engines. A silent server is an outage."""

    capabilities = frozenset({"listable", "writable", "bulk", "probed"})
    cannot_hold = frozenset({"large integers"})
    version: int
    prefix = ""

    @pytest.fixture
    def mount(self, openbao):
        return openbao.fresh_mount(version=self.version)

    @pytest.fixture
    def store(self, openbao, mount):
        return open_vault(url=openbao.url, token=openbao.token, mount=mount, prefix=self.prefix)

    @pytest.fixture
    def unreachable(self):
        with silent_server() as (host, port):
            yield open_engine(self.version, url=f"http://{host}:{port}", token="token")


class TestKV1(VaultContract):
    """Version 1 has no check-and-set and no versions. Used from the top of its mount."""

    version = 1

    @pytest.fixture
    def denied(self, openbao, mount):
        """A token without any right in the mount, not even to look the mount up."""
        token = openbao.issue_token({"sys/internal/nothing": ["read"]})
        return open_engine(self.version, url=openbao.url, token=token, mount=mount)


class TestKV2(VaultContract):
    """Version 2 has check-and-set and versions. Used below a prefix."""

    version = 2
    capabilities = VaultContract.capabilities | {"checked", "versioned"}
    prefix = "below/here"

    @pytest.fixture
    def denied(self, openbao, mount):
        """A token with a right elsewhere in the mount."""
        token = openbao.issue_token({f"{mount}/data/elsewhere": ["read"]})
        return open_vault(url=openbao.url, token=token, mount=mount)
