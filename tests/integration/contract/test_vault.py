"""Both key-value engines of a real server keep the contract."""

from typing import ClassVar

import pytest

from strongroom.testing import PluginContract, StoreContract, dripping_server, dropping_proxy, silent_server
from strongroom_vault.plugin import open_vault
from support.vault.engines import open_engine


class VaultContract(StoreContract):
    """Shared by both engines. A silent server is an outage."""

    capabilities = frozenset({"listable", "writable", "bulk", "probed"})
    cannot_hold = frozenset({"large integers"})
    many = 250  # a folder of any size is one reply
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

    @pytest.fixture
    def dripping(self):
        with dripping_server() as (host, port):
            yield open_engine(self.version, url=f"http://{host}:{port}", token="token")

    @pytest.fixture
    def restarted(self, openbao, mount):
        with dropping_proxy("127.0.0.1", int(openbao.url.rpartition(":")[2])) as proxy:

            def fill(contents):
                host, port = proxy.address
                store = open_vault(url=f"http://{host}:{port}", token=openbao.token, mount=mount, prefix=self.prefix)
                for path, data in contents.items():
                    store.write(path, data)
                return store, proxy.drop

            yield fill


class TestPlugin(PluginContract):
    """The plugin `vault`, whose clients are imported when it is opened."""

    plugin = "vault"
    options: ClassVar = {"url": ["https://vault.example"], "token": "token"}
    refused: ClassVar = [
        {"url": ["https://vault.example"], "token": "token", "prefix": "a//b"},
        {"url": ["https://vault.example"], "token": "token", "mount": "../sys"},
        {"url": ["https://vault.example"], "token": "token", "max_retries": -1},
    ]
    lazy = frozenset({"hvac", "pycurl", "urllib3", "requests"})


@pytest.mark.long
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
