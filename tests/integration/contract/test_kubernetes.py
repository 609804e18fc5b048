"""Secrets and ConfigMaps of Kubernetes keep the contract, on an API server that kubectl works with."""

import json
from typing import ClassVar

import pytest

from strongroom.formats.kubernetes import PATH as PATH_ANNOTATION
from strongroom.formats.kubernetes import TYPES, name_of
from strongroom.testing import NON_TEXT_CASES, PluginContract, StoreContract, dripping_server, silent_server
from strongroom.testing.faulty_services import dropping_proxy
from strongroom.testing.store_contract.base import PATH, secret_data
from strongroom_kubernetes.objects import open_kubernetes_api

pytestmark = pytest.mark.long

KEYS = {"key with a space", "keys with marks", "key with a slash", "key with a backslash", "unicode key"}


class TestPlugin(PluginContract):
    """The plugin `kubernetes-api`, which imports the official client when it is opened."""

    plugin = "kubernetes-api"
    refused: ClassVar = [{"namespace": "Not-a-label"}, {"namespace": "a/b"}, {"namespace": ""}]
    lazy = frozenset({"kubernetes", "pydantic", "aiohttp", "urllib3"})


class KubernetesContract(StoreContract):
    """Each test uses a fresh namespace. A page of a list has 500 names: `tests/integration/kubernetes` lists more."""

    kind = "secret"
    page_size = many = 40

    @pytest.fixture
    def namespace(self, kubernetes_api):
        return kubernetes_api.fresh_namespace()

    @pytest.fixture
    def opening(self, kubernetes_api, namespace, tmp_path):
        """A function that opens the namespace with another token, or at another address."""

        def opening(**options):
            file = kubernetes_api.kubeconfig(tmp_path / "kubeconfig", namespace=namespace, **options)
            return open_kubernetes_api(kubeconfig=file, kind=self.kind)

        return opening

    @pytest.fixture
    def denied(self, opening):
        return opening(token="nobody")

    @pytest.fixture
    def unreachable(self, opening):
        with silent_server() as (host, port):
            yield opening(url=f"http://{host}:{port}")

    @pytest.fixture
    def dripping(self, opening):
        with dripping_server() as (host, port):
            yield opening(url=f"http://{host}:{port}")


class TestSecrets(KubernetesContract):
    """A Secret is a secret."""

    capabilities = frozenset({"bulk", "listable", "writable", "checked", "probed"})
    cannot_hold = KEYS

    @pytest.fixture
    def store(self, opening):
        return opening()

    @pytest.fixture
    def restarted(self, kubernetes_api, opening):
        """Through a proxy that closes idle connections."""
        with dropping_proxy(*kubernetes_api.address) as proxy:

            def restarted(contents):
                store = opening(url=f"https://127.0.0.1:{proxy.address[1]}")
                for path, data in contents.items():
                    store.write(path, data)
                return store, proxy.drop

            yield restarted

    @pytest.fixture
    def foreign(self, kubernetes_api, namespace, store):
        """A Secret with an annotation of types that Strongroom does not write."""
        store.write(PATH, secret_data())
        annotations = {PATH_ANNOTATION: "contract/foreign", TYPES: json.dumps({"key": "float"})}
        kubernetes_api.put(
            namespace, name_of("contract/foreign"), {"key": b"1.5"}, metadata={"annotations": annotations}
        )
        return store


class TestConfigMaps(KubernetesContract):
    """A ConfigMap is a secret to read, with text and bytes."""

    kind = "configmap"
    capabilities = frozenset({"bulk", "listable", "probed"})
    cannot_hold = KEYS | NON_TEXT_CASES

    @pytest.fixture
    def holding(self, kubernetes_api, namespace, opening):
        def fill(contents):
            for path, data in contents.items():
                annotations = {PATH_ANNOTATION: path}
                encoded = {key: value.encode() for key, value in data.items()}
                metadata = {"annotations": annotations}
                kubernetes_api.put(namespace, name_of(path), encoded, "configmaps", metadata=metadata)
            return opening()

        return fill
