"""A namespace of the API server that kubectl works with, and stores that open it."""

import pytest

from strongroom_kubernetes.objects import open_kubernetes_api


class Cluster:
    """The API server, with a namespace of this test."""

    def __init__(self, api, folder):
        self.api = api
        self.folder = folder
        self.namespace = api.fresh_namespace()
        self.opened = []

    def kubeconfig(self, name="kubeconfig", **options):
        return self.api.kubeconfig(self.folder / name, **{"namespace": self.namespace, **options})

    def open(self, kind="secret", **options):
        self.opened.append(open_kubernetes_api(kubeconfig=self.kubeconfig(**options), kind=kind))
        return self.opened[-1]

    def put(self, name, data, resource="secrets", **more):
        return self.api.put(self.namespace, name, data, resource, **more)

    def stored(self, name):
        return self.api.stored(self.namespace, name)


@pytest.fixture
def cluster(kubernetes_api, tmp_path):
    made = Cluster(kubernetes_api, tmp_path)
    yield made
    for store in made.opened:
        store.close()
    kubernetes_api.calm()
