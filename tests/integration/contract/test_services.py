"""The stores of services keep the contract of services, on fakes of Google, Azure and Kubernetes and a real etcd."""

import secrets

import pytest

from strongroom.testing import ServiceContract
from strongroom_etcd import store as etcd_store
from strongroom_google import store as google_store
from strongroom_kubernetes import api_server
from support.services import azure as azure_service
from support.services.faulty import AzureService, EtcdService, GoogleService, KubernetesService, long_processes
from support.services.google import FakeSecretManager
from support.vault.proxy import FaultProxy

PAGE = 5
KEYS = frozenset({"key with a space", "keys with marks", "key with a slash", "key with a backslash", "unicode key"})


@pytest.mark.long
class TestGoogle(ServiceContract):
    impossible = frozenset({"redirected"})  # gRPC has no redirects
    page_size = PAGE
    cannot_hold = frozenset({"64 KiB"})

    @pytest.fixture
    def service(self, monkeypatch):
        monkeypatch.setattr(google_store, "PAGE", PAGE)
        with FakeSecretManager() as fake:
            yield GoogleService(fake)


@pytest.mark.long
class TestAzure(ServiceContract):
    page_size = PAGE
    cannot_hold = frozenset({"64 KiB", "long segment"})

    @pytest.fixture
    def service(self, azure, monkeypatch):
        monkeypatch.setattr(azure_service, "_PAGE", PAGE)  # Microsoft's is 25
        service = AzureService(azure, monkeypatch)
        with service.serve():
            yield service


@long_processes
@pytest.mark.long
class TestKubernetes(ServiceContract):
    page_size = PAGE
    cannot_hold = KEYS

    @pytest.fixture
    def service(self, kubernetes_api, monkeypatch, tmp_path):
        monkeypatch.setattr(api_server, "PAGE", PAGE)
        return KubernetesService(kubernetes_api, tmp_path)


@pytest.mark.long
class TestEtcd(ServiceContract):
    page_size = PAGE

    @pytest.fixture
    def service(self, etcd, monkeypatch):
        monkeypatch.setattr(etcd_store, "PAGE", PAGE)
        with FaultProxy(etcd.url) as proxy:
            yield EtcdService(etcd, proxy, f"service/{secrets.token_hex(4)}")
