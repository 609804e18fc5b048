"""The store of Google keeps the contract, on a fake of Secret Manager."""

from typing import ClassVar

import pytest

from strongroom.testing import PluginContract, StoreContract, dripping_server, dropping_proxy, silent_server
from strongroom_google import store as store_module
from strongroom_google.plugin import open_google
from support.services.google import FakeSecretManager


class TestGooglePlugin(PluginContract):
    """The plugin `google-secretmanager`, which imports Google's SDK when it is opened."""

    plugin = "google-secretmanager"
    options: ClassVar = {"project": "demo"}
    refused: ClassVar = [
        {"project": "Not/A/Project"},
        {"project": "demo", "prefix": "a//b"},
        {"project": "demo", "region": "Europe"},
        {"project": "demo", "endpoint_url": "ftp://host"},
        {"project": "demo", "endpoint_url": "https://googleapis.com.example"},
        {"project": "demo", "endpoint_url": "http://host/path"},
    ]
    lazy = frozenset({"google", "requests"})


def open_at(host, port):
    return open_google(project="demo", endpoint_url=f"http://{host}:{port}")


@pytest.mark.long
class TestGoogle(StoreContract):
    """One secret of Google is one secret."""

    capabilities = frozenset({"listable", "writable", "versioned", "final_deletes", "bulk", "probed"})
    cannot_hold = frozenset({"64 KiB"})
    many = 60
    page_size = 50  # lowered, to save time

    @pytest.fixture
    def service(self, monkeypatch):
        monkeypatch.setattr(store_module, "PAGE", self.page_size)
        with FakeSecretManager() as service:
            yield service

    @pytest.fixture
    def store(self, service):
        return open_google(project="demo", endpoint_url=service.url)

    @pytest.fixture
    def denied(self, service):
        service.deny()
        return open_google(project="demo", endpoint_url=service.url)

    @pytest.fixture
    def unreachable(self):
        with silent_server() as (host, port):
            yield open_at(host, port)

    @pytest.fixture
    def dripping(self):
        with dripping_server() as (host, port):
            yield open_at(host, port)

    @pytest.fixture
    def restarted(self, service):
        with dropping_proxy("127.0.0.1", service.port) as proxy:

            def fill(contents):
                store = open_at(*proxy.address)
                for path, data in contents.items():
                    store.write(path, data)
                return store, proxy.drop

            yield fill
