"""A namespace of the API server that kubectl works with."""

import pytest


class Cluster:
    """The API server, with a namespace of this test."""

    def __init__(self, api, folder):
        self.api = api
        self.folder = folder
        self.namespace = api.fresh_namespace()

    def kubeconfig(self, name="kubeconfig", **options):
        return self.api.kubeconfig(self.folder / name, **{"namespace": self.namespace, **options})

    def put(self, name, data, resource="secrets", **more):
        return self.api.put(self.namespace, name, data, resource, **more)

    def stored(self, name):
        return self.api.stored(self.namespace, name)


@pytest.fixture
def cluster(kubernetes_api, tmp_path):
    made = Cluster(kubernetes_api, tmp_path)
    yield made
    kubernetes_api.calm()
