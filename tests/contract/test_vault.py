"""Both key-value engines of a real server keep the contract."""

import pytest

from strongroom.testing import StoreContract, silent_server
from strongroom_vault.opening import open_vault


class VaultContract(StoreContract):
    """What the two engines have in common: a token without a rule is denied, a silent server is an outage."""

    cannot_hold = frozenset({"large integers"})
    version: int

    @pytest.fixture
    def store(self, openbao):
        mount = openbao.fresh_mount(version=self.version)
        return open_vault(url=openbao.url, token=openbao.token, mount=mount)

    @pytest.fixture
    def denied(self, openbao):
        token = openbao.issue_token({"sys/internal/nothing": ["read"]})
        mount = openbao.fresh_mount(version=self.version)
        return open_vault(url=openbao.url, token=token, mount=mount, kv_version=self.version)

    @pytest.fixture
    def unreachable(self):
        with silent_server() as (host, port):
            yield open_vault(url=f"http://{host}:{port}", token="token", kv_version=self.version)


class TestKV1(VaultContract):
    capabilities = frozenset({"listable", "writable", "probed"})
    version = 1


class TestKV2(VaultContract):
    capabilities = frozenset({"listable", "writable", "checked", "probed"})
    version = 2
