"""A real etcd cluster of three members: the leader is killed or paused and the quorum is lost while callers work.

`nox -s etcd` runs ETCD_ROUNDS of each, ten by default. The history of the server shows each write that was made.
"""

import base64
import json
import os
import sys
import time

import pytest

from faults.load import Load
from strongroom import SecretsManager
from strongroom.errors import StoreUnavailableError, WriteOutcomeUnknownError
from support.programs import require
from support.services.etcd import Cluster, b64

ROUNDS = int(os.environ.get("ETCD_ROUNDS", "1"))
WRITTEN, SETTINGS = ["written/a", "written/b", "written/c"], ["settings/a", "settings/b"]

pytestmark = pytest.mark.timeout(120 + 60 * ROUNDS)


@pytest.fixture(scope="module")
def standing_etcd(tmp_path_factory):
    """The one cluster of these tests, each of which leaves it whole."""
    require("etcd")
    with Cluster(tmp_path_factory.mktemp("etcd")) as cluster:
        yield cluster


@pytest.fixture
def cluster(standing_etcd, request):
    """The cluster with an own prefix for the test."""
    standing_etcd.prefix = request.node.name.partition("[")[0]
    return standing_etcd


def manager_of(cluster, timeout):
    stores = {"etcd": {"endpoints": cluster.urls, "prefix": cluster.prefix}}
    return SecretsManager.from_config({"chain": ["etcd"], "stores": stores, "timeout": timeout})


def history(cluster, path):
    """Return revision -> number of each write to a path, oldest first."""
    found, revision = {}, 0
    while True:
        body = {"key": b64(f"{cluster.prefix}/{path}".encode()), "revision": revision}
        kvs = cluster.nodes[0].call("kv/range", body).get("kvs")
        if not kvs:
            return dict(reversed(found.items()))
        revision = int(kvs[0]["mod_revision"])
        found[revision] = int(json.loads(base64.b64decode(kvs[0]["value"]))["n"])
        revision -= 1
        if kvs[0]["version"] == "1":
            return dict(reversed(found.items()))


def check(cluster, load, name, record_property):
    """Assert that each acknowledged write is in the history under its version, and none is there twice."""
    for path, acknowledged in load.acknowledged.items():
        made = history(cluster, path)
        lost = {version: number for version, number in acknowledged.items() if made.get(version) != number}
        assert not lost, f"{len(lost)} of {len(acknowledged)} acknowledged writes of {path} are not there"
        numbers = list(made.values())
        assert numbers == sorted(set(numbers)), f"a write to {path} was made twice"
    assert not load.stale
    text = f"{len(load.writes)} writes, {len(load.reads) + len(load.own_reads)} reads, {len(load.errors)} errors"
    slowest = f"slowest write {max(load.writes):.1f} s, slowest read {max(load.reads + load.own_reads):.1f} s"
    record_property(name, f"{text}, {slowest}")
    sys.stdout.write(f"{name}: {text}, {slowest}\n")


def loaded(cluster, manager, events):
    for path in WRITTEN + SETTINGS:
        manager.set_secret(path, {"n": 0})
    with Load(manager, WRITTEN, SETTINGS) as load:
        time.sleep(1)
        events(load)
        time.sleep(1)
    return load


@pytest.mark.parametrize("blow", ["kill", "pause"])
def test_nobody_notices_that_the_leader_is_gone(cluster, blow, record_property):
    """Nor that it returns: no error, no stale read, no lost write and none that is made twice."""
    cluster.prefix += blow

    def events(load):
        for _ in range(ROUNDS):
            leader = cluster.leader()
            getattr(leader, blow)()
            done = len(load.writes)
            _wait(lambda done=done: len(load.writes) > done + 20)
            if blow == "kill":
                cluster.restart(leader)
            else:
                leader.resume()
            time.sleep(0.5)

    with manager_of(cluster, "30s") as manager:
        load = loaded(cluster, manager, events)
    assert not load.errors, f"{len(load.errors)} errors, the first: {load.errors[0]}"
    check(cluster, load, f"leader: {blow}", record_property)


def test_without_a_quorum_there_is_no_answer_until_it_is_back(cluster, record_property):
    """Reads are outages, also at the member that still has the data, and writes are outages or unknown."""

    def events(load):
        for _ in range(ROUNDS):
            leader = cluster.leader()
            lost = [leader, next(node for node in cluster.nodes if node is not leader)]
            for node in lost:
                node.kill()
            done, reads = len(load.errors), len(load.reads)
            _wait(lambda done=done: len(load.errors) > done + 9)
            assert len(load.reads) - reads <= 6  # those under way
            with manager_of(cluster, "1s") as other, pytest.raises(StoreUnavailableError) as caught:
                other.get_secret(WRITTEN[0], "n", fresh=True)
            assert not isinstance(caught.value, WriteOutcomeUnknownError)
            for node in lost:
                node.start(cluster.members)
            assert all(node.ready() for node in cluster.nodes)
            done = len(load.writes)
            _wait(lambda done=done: len(load.writes) > done + 20)

    with manager_of(cluster, "2s") as manager:
        load = loaded(cluster, manager, events)
    kinds = ("Store unavailable", "The write may or may not")
    assert not [text for _, text in load.errors if not any(kind in text for kind in kinds)]
    check(cluster, load, "quorum lost", record_property)


def _wait(is_over):
    ends = time.monotonic() + 60
    while not is_over():
        assert time.monotonic() < ends, "the callers do not go on"
        time.sleep(0.05)
