"""The store `etcd` keeps the contract, on a real server."""

import secrets
from pathlib import Path
from typing import ClassVar

import pytest

from strongroom.testing import PluginContract, StoreContract, dripping_server, dropping_proxy, silent_server
from strongroom_etcd import store as store_module
from strongroom_etcd.plugin import open_etcd
from support.services.etcd import DENIED


class TestEtcdPlugin(PluginContract):
    """The plugin `etcd`, which imports httpx when it is opened."""

    plugin = "etcd"
    options: ClassVar = {"endpoints": ["https://etcd-1.example:2379", "https://etcd-2.example:2379/"]}
    refused: ClassVar = [
        {"endpoints": []},
        {"endpoints": ["etcd.example:2379"]},
        {"endpoints": ["http://[::1"]},
        {"endpoints": ["http://root:password@etcd.example:2379"]},
        {"endpoints": ["http://etcd.example:2379/v3"]},
        {"endpoints": ["http://etcd.example"], "username": "app:word"},
        {"endpoints": ["http://etcd.example"], "ca_cert": Path("ca.pem")},
        {"endpoints": ["https://etcd.example"], "client_key": Path("key.pem")},
        {"endpoints": ["http://etcd.example"], "prefix": ""},
        {"endpoints": ["http://etcd.example"], "prefix": "a//b"},
    ]
    lazy = frozenset({"httpx", "httpcore"})


@pytest.mark.long
class TestEtcd(StoreContract):
    capabilities = frozenset({"listable", "writable", "checked", "probed"})
    page_size = 20
    many = 61

    @pytest.fixture(autouse=True)
    def small_pages(self, monkeypatch):
        """Small pages have the same edges, with fewer writes."""
        monkeypatch.setattr(store_module, "PAGE", self.page_size)
        monkeypatch.setattr(store_module, "BATCH", 4)

    @pytest.fixture
    def prefix(self):
        return f"/contract-{secrets.token_hex(4)}"

    @pytest.fixture
    def store(self, etcd, prefix):
        return open_etcd(endpoints=[etcd.url], prefix=prefix)

    @pytest.fixture
    def denied(self, secure_etcd):
        return open_etcd(**secure_etcd.options | {"username": DENIED})

    @pytest.fixture
    def unreachable(self):
        with silent_server() as (host, port):
            yield open_etcd(endpoints=[f"http://{host}:{port}"])

    @pytest.fixture
    def dripping(self):
        with dripping_server() as (host, port):
            yield open_etcd(endpoints=[f"http://{host}:{port}"])

    @pytest.fixture
    def restarted(self, etcd, prefix):
        with dropping_proxy("127.0.0.1", int(etcd.url.rpartition(":")[2])) as proxy:

            def fill(contents):
                host, port = proxy.address
                store = open_etcd(endpoints=[f"http://{host}:{port}"], prefix=prefix)
                for path, data in contents.items():
                    store.write(path, data)
                return store, proxy.drop

            yield fill
