"""What writers were told is what the history holds, however often the leader is killed while they write."""

import threading
from concurrent.futures import ThreadPoolExecutor

from strongroom.errors import ConflictError, StoreUnavailableError
from strongroom.store import time_limit

WRITERS, KILLS = 8, 2


def write(front, path, stopping):
    """Writes numbers from 1 on under check-and-set until it is stopped; returns version -> number as acknowledged."""
    told, version, number = {}, 1, 0
    while not stopping.wait(0.02):
        number += 1
        try:
            with time_limit(3.5):
                if version is None:  # what became of the last write is not known
                    version = front.read(path).version
                version = front.write_if(path, {"n": number}, version)
            told[version] = number
        except (StoreUnavailableError, ConflictError):
            version = None
    return told


def test_no_acknowledged_write_is_lost_and_none_is_made_twice_while_leaders_die(cluster, open_guarded):
    """Each version holds the number that its writer was told of, and each number is in one version at most."""
    paths = [f"history/{writer}" for writer in range(WRITERS)]
    for path in paths:
        cluster.call("POST", f"secret/metadata/{path}", {"max_versions": 10_000})
        cluster.put(path, {"n": 0})
    cluster.wait_for_standbys()
    front, stopping = open_guarded(), threading.Event()
    with ThreadPoolExecutor(WRITERS) as threads:
        writers = [threads.submit(write, front, path, stopping) for path in paths]
        for _ in range(KILLS):
            stopping.wait(1)
            cluster.kill(cluster.leader())
            cluster.leader()
            stopping.wait(2)
            cluster.heal()
        stopping.set()
    leader = cluster.leader()
    for path, done in zip(paths, writers, strict=True):
        told = done.result()
        newest = leader.call("GET", f"secret/data/{path}")["data"]["metadata"]["version"]
        versions = range(1, newest + 1)
        history = {v: leader.call("GET", f"secret/data/{path}?version={v}")["data"]["data"]["n"] for v in versions}
        assert len(told) > 10
        assert told.items() <= history.items()
        assert list(history.values()) == sorted(set(history.values()))
