"""A real cluster that every test may hurt, and a proxy in front of each of its nodes."""

import contextlib
from collections.abc import Iterator

import pytest

from strongroom._boundary.guard import GuardedStore
from strongroom_vault.plugin import open_vault
from support.vault.cluster import TestCluster
from support.vault.proxy import FaultProxy


@pytest.fixture(scope="session")
def standing_cluster(tmp_path_factory) -> Iterator[TestCluster]:
    """The one cluster of all these tests. Use `cluster`, which is whole."""
    with TestCluster(folder=tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture
def cluster(standing_cluster) -> TestCluster:
    """A whole cluster of three nodes, to kill, pause, seal: the next test's is made whole again."""
    standing_cluster.heal()
    return standing_cluster


@pytest.fixture
def proxies(cluster) -> Iterator[list[FaultProxy]]:
    """A proxy in front of each node, that of the leader first."""
    with contextlib.ExitStack() as stack:
        nodes = [cluster.leader(), *cluster.standbys()]
        yield [stack.enter_context(FaultProxy(node.url)) for node in nodes]


@pytest.fixture
def proxy(openbao) -> Iterator[FaultProxy]:
    """A proxy in front of the single server that all tests share."""
    with FaultProxy(openbao.url) as proxy:
        yield proxy


@pytest.fixture
def open_guarded(cluster) -> Iterator:
    """A function that opens a front on the store at these addresses, the cluster's where none are given."""
    with contextlib.ExitStack() as stack:

        def open_(*urls: str, **options: object) -> GuardedStore:
            given = {"url": list(urls) or cluster.urls, "token": cluster.token, **options}
            return stack.enter_context(contextlib.closing(GuardedStore(open_vault(**given), "vault")))

        yield open_
