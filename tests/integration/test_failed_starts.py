"""A server of the tests whose start fails is ended: it would stay behind, and others with it."""

import pytest

from strongroom_vault.testing import TestVault
from support.programs import require
from support.services import etcd
from support.services.aws import Moto


@pytest.fixture
def fail():
    """A method that fails, with the objects that it was called on."""

    def method(called, *_):
        method.called.append(called)
        raise RuntimeError("a fault")

    method.called = []
    return method


def test_moto(fail, monkeypatch):
    monkeypatch.setattr(Moto, "_answers", fail)
    with pytest.raises(RuntimeError, match="a fault"):
        Moto()
    assert fail.called[0].process.poll() is not None


def test_openbao(fail, monkeypatch):
    monkeypatch.setattr(TestVault, "mount", fail)
    with pytest.raises(RuntimeError, match="a fault"), TestVault():
        pass
    assert fail.called[0]._process is None


def test_a_cluster_of_etcd(fail, monkeypatch, tmp_path):
    require("etcd")
    monkeypatch.setattr(etcd.Node, "ready", fail)
    cluster = etcd.Cluster(tmp_path)
    with pytest.raises(RuntimeError, match="a fault"), cluster:
        pass
    assert not any(node.runs for node in cluster.nodes)
