"""Both versions of the key-value engine keep the contract, on a real server."""

import pytest

from strongroom.testing import StoreContract, silent_server
from strongroom_vault.opening import open_vault

ALL = ["create", "read", "update", "delete", "list"]


class VaultContract(StoreContract):
    """What is the same for both; a token that may do nothing there, and a server that never answers."""

    capabilities = frozenset({"listable", "writable", "probed"})
    cannot_hold = frozenset({"large integers"})

    @pytest.fixture
    def mount(self, openbao):
        return openbao.fresh_mount(version=self.version)

    @pytest.fixture
    def store(self, openbao, mount):
        return open_vault(url=openbao.url, token=openbao.token, mount=mount, prefix="below/here")

    @pytest.fixture
    def denied(self, openbao, mount):
        token = openbao.issue_token({f"{mount}/data/elsewhere": ["read"], f"{mount}/elsewhere": ["read"]})
        return open_vault(url=openbao.url, token=token, mount=mount)

    @pytest.fixture
    def unreachable(self):
        with silent_server() as (host, port):
            yield open_vault(url=f"http://{host}:{port}", token="t", kv_version=self.version)


class TestKV1(VaultContract):
    """Version 1 has no check-and-set and no versions."""

    version = 1


class TestKV2(VaultContract):
    """Version 2 has check-and-set."""

    version = 2
    capabilities = VaultContract.capabilities | {"checked"}
