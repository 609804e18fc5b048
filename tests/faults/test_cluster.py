"""A store on a real cluster: what it does when nodes die, hang, are sealed or step down, and what it reads then."""

import os
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

import support
from strongroom.errors import ConflictError, SecretNotFoundError, StoreUnavailableError
from strongroom.store import time_limit
from support.vault import faults
from support.vault.sessions import session_of

GENEROUS = 60.0
"""Seconds in which a cluster comes back on any machine. It takes two to four."""


def put(cluster):
    """A secret that every node has."""
    cluster.put("here", {"k": "v"})
    cluster.wait_for_standbys()


def recovers(operation, limit=GENEROUS):
    """How long it takes until the operation succeeds, each try within a link's three seconds."""
    began = time.monotonic()
    while True:
        try:
            with time_limit(3):
                operation()
        except StoreUnavailableError:
            if time.monotonic() - began > limit:
                raise
        else:
            return time.monotonic() - began


def test_what_was_written_is_read_from_any_node(cluster, open_guarded):
    """500 pairs of a write and a read, each at another node than the one before: none is stale."""
    front = open_guarded()
    order = session_of(front).cluster
    stale = 0
    for number in range(500):
        order.answered(order.addresses[number % 3], reads=False)
        front.write("pair", {"n": number})
        order.answered(order.addresses[(number + 1) % 3], reads=True)
        stale += front.read("pair").data["n"] != number
    assert stale == 0


@pytest.mark.parametrize("batch", [False, True], ids=["single", "batch"])
def test_a_standby_that_is_behind_does_not_make_a_secret_absent(cluster, open_guarded, batch):
    """Another process wrote it a moment ago. Without the active node's confirmation, all of these reads were wrong."""
    put(cluster)
    writer = open_guarded(cluster.leader().url)
    urls = [*(node.url for node in cluster.standbys()), cluster.leader().url]
    for number in range(20):
        path = f"new/{batch}-{number}"
        reader = open_guarded(*urls)  # it knows nothing of the cluster's state yet
        writer.write(path, {"n": number})
        found = dict(reader.read_many([path]))[path] if batch else reader.read(path)
        assert found.data == {"n": number}
        with pytest.raises(SecretNotFoundError):
            reader.read(f"{path}-absent")


def test_a_dead_leader_costs_a_read_nothing(cluster, open_guarded):
    """The standbys answer from their own state, whoever is first in the list."""
    put(cluster)
    leader = cluster.leader()
    front = open_guarded(leader.url, *(node.url for node in cluster.standbys()))
    assert front.read("here").data == {"k": "v"}
    cluster.kill(leader)
    with time_limit(3):
        assert front.read("here").data == {"k": "v"}


def test_a_hung_leader_is_passed_over_within_a_links_time(cluster, open_guarded):
    """Connections to it are accepted, and nothing answers."""
    put(cluster)
    leader = cluster.leader()
    front = open_guarded(leader.url, *(node.url for node in cluster.standbys()))
    assert front.read("here").data == {"k": "v"}
    cluster.pause(leader)
    with time_limit(3):
        assert front.read("here").data == {"k": "v"}


@pytest.mark.parametrize("blow", ["kill", "pause", "seal"])
def test_writes_come_back_after_the_leader_is_gone(cluster, open_guarded, blow):
    """And no acknowledged write is lost, none is made twice, and no wrong value is read."""
    front = open_guarded()
    version = front.write_if("counted", {"n": 0}, _version_of(front, "counted"))
    acknowledged = {version: 0}
    getattr(cluster, blow)(cluster.leader())
    for number in range(1, 6):
        elapsed = recovers(lambda number=number: acknowledged.update(_set(front, "counted", number)))
        assert elapsed < GENEROUS
    cluster.heal()
    for version, number in acknowledged.items():
        assert cluster.call("GET", f"secret/data/counted?version={version}")["data"]["data"] == {"n": number}


def test_a_leader_that_steps_down_is_not_noticed(cluster, open_guarded):
    """A write and a read under way wait the election out, where they have the time."""
    front = open_guarded()
    version = front.write_if("stepped", {"n": 0}, _version_of(front, "stepped"))
    cluster.step_down()
    with time_limit(10):
        assert front.write_if("stepped", {"n": 1}, version) == version + 1
        assert front.read("stepped").data == {"n": 1}


@pytest.mark.parametrize("addresses", ["the survivor's alone", "all, the survivor's first"])
def test_without_a_quorum_reads_go_on_and_writes_say_that_they_are_unsure(cluster, open_guarded, addresses):
    """Two of three are gone: what is left still answers reads, though not while it finds out that it does not lead."""
    put(cluster)
    survivor = cluster.standbys()[0]
    lost = [node for node in cluster.nodes if node is not survivor]
    front = open_guarded(survivor.url, *([] if "alone" in addresses else [node.url for node in lost]))
    for node in lost:
        cluster.kill(node)
    assert recovers(lambda: front.read("here")) < GENEROUS
    assert front.read("here").data == {"k": "v"}
    with time_limit(3), pytest.raises(StoreUnavailableError):
        front.write("here", {"k": "w"})


def test_a_leader_that_has_just_lost_its_office_is_asked_again(cluster, open_guarded):
    """For about a second it redirects each request to the next leader, which is no configured address, or gone."""
    put(cluster)
    deposed = cluster.leader()
    front = open_guarded(deposed.url)
    assert front.read("here").data == {"k": "v"}
    cluster.pause(deposed)
    others = [node for node in cluster.nodes if node is not deposed]
    chosen = cluster.leader()
    cluster.resume(deposed)
    deadline = time.monotonic() + GENEROUS
    while deposed.leader_url() != chosen.url:
        assert time.monotonic() < deadline
    for node in others:
        cluster.kill(node)
    with time_limit(3):
        assert front.read("here").data == {"k": "v"}


def test_a_sealed_node_is_left_for_the_next(cluster, open_guarded):
    """503 is known at once."""
    put(cluster)
    standby, other = cluster.standbys()
    cluster.seal(standby)
    front = open_guarded(standby.url, other.url)
    with time_limit(2):
        assert front.read("here").data == {"k": "v"}


def test_many_writers_lose_nothing_while_the_leader_is_killed(cluster, open_guarded):
    """Each counts in a secret of its own under check-and-set; what it was told is what is there."""
    front = open_guarded()
    told, stopping = {}, threading.Event()

    threads = [threading.Thread(target=_count, args=(front, f"writer-{index}", told, stopping)) for index in range(4)]
    for thread in threads:
        thread.start()
    try:
        while len(told) < len(threads):
            time.sleep(0.05)
        cluster.kill(cluster.leader())
        before = dict(told)
        deadline = time.monotonic() + GENEROUS
        while any(told[name] == before[name] for name in before) and time.monotonic() < deadline:
            time.sleep(0.05)
    finally:
        stopping.set()
        for thread in threads:
            thread.join()
    cluster.heal()
    for name, (version, number) in told.items():
        assert number > before[name][1]
        assert cluster.call("GET", f"secret/data/{name}?version={version}")["data"]["data"] == {"n": number}


@pytest.mark.parametrize(("fault", "requests"), [
    (faults.status(502), 1), (faults.status(503), 1), (faults.status(429, retry_after=9), 1), (faults.reset(), 2),
    (faults.truncated(), 1),
], ids=["502", "503", "429", "reset", "truncated"])  # fmt: skip
def test_a_bad_node_is_left_for_the_next_at_once(cluster, proxies, open_guarded, fault, requests):
    """No pause, no second attempt, and from then on the other one is asked first.

    When a connection that was kept open is reset, libcurl repeats a read once by itself, on a new one.
    """
    put(cluster)
    front = open_guarded(*(proxy.url for proxy in proxies))
    front.read("here")
    proxies[0].inject(fault)
    for proxy in proxies:
        proxy.forget()
    for _ in range(3):
        with time_limit(3):
            assert front.read("here").data == {"k": "v"}
    assert [len(proxy.requests) for proxy in proxies] == [requests, 3, 0]


def test_a_node_to_which_no_connection_is_made_is_passed_over(cluster, proxies, open_guarded):
    """Its packets are dropped, so that nothing says that it is gone."""
    put(cluster)
    front = open_guarded(*(proxy.url for proxy in proxies))
    front.read("here")
    proxies[0].stop_accepting()
    with time_limit(3):
        assert front.read("here").data == {"k": "v"}


def test_no_node_outlives_the_process_that_started_it(tmp_path):
    """However that process ends: here it is killed, and no handler of ours runs."""
    script = """if True:
        import sys
        from pathlib import Path
        from support.vault.cluster import TestCluster
        cluster = TestCluster(folder=Path(sys.argv[1]))
        cluster.start()
        print(*(node.pid for node in cluster.nodes), flush=True)
        sys.stdin.read()
    """
    command = [sys.executable, "-c", script, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(Path(support.__file__).parents[1])}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as starter:
        pids = starter.stdout.readline().split()
        assert len(pids) == 3
        starter.kill()
        starter.wait()
    deadline = time.monotonic() + GENEROUS
    while any(_runs(int(pid)) for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _runs(pid):
    """Whether there is such a process, and it is more than a zombie which init has yet to collect."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def _count(front, name, told, stopping):
    """Counts in a secret of its own, and keeps what it was told."""
    version, number, unsure = _version_of(front, name), 0, False
    while not stopping.is_set():
        try:
            with time_limit(3):
                version = front.write_if(name, {"n": number + 1}, version)
            number, unsure = number + 1, False
            told[name] = (version, number)
            continue
        except StoreUnavailableError:  # it may have been made: what is there decides, once that is known
            unsure = True
        except ConflictError:  # it was made after that was asked: the cluster still had it under way
            assert unsure
        while not stopping.is_set():
            with suppress(StoreUnavailableError), time_limit(3):
                there = front.read(name)
                assert there.data["n"] in {number, number + 1}
                version, number = there.version, there.data["n"]
                break


def _version_of(front, path):
    try:
        return front.read(path).version
    except SecretNotFoundError:
        return None


def _set(front, path, number):
    """Writes after whatever is there, under check-and-set, unless it is there already; the version and the number."""
    try:
        there = front.read(path)
        if there.data == {"n": number}:
            return {there.version: number}
        return {front.write_if(path, {"n": number}, there.version): number}
    except ConflictError as error:
        raise AssertionError("nobody else writes") from error
