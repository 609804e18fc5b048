"""Many threads read for a long time what another client writes, while the cluster's leader is killed again and again.

One minute, and as many seconds as SOAK_SECONDS says: `nox -s soak` takes ten minutes.
"""

import bisect
import gc
import os
import random
import statistics
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from strongroom import SecretsManager, StoreUnavailableError
from strongroom._boundary.guard import GuardedStore
from strongroom_vault.plugin import open_vault
from support.vault.cluster import TestCluster

SECONDS = int(os.environ.get("SOAK_SECONDS", "60"))
THREADS = 64
PATHS = 8
TTL, MAX_STALE = 1, 15
WRITE_EVERY = 5
KILL_EVERY, FIRST_KILL, DOWN_FOR = 30, 5, 8
BACK = 3
"""After so many seconds clients know that the cluster is whole again: a breaker that was open has looked."""

LAG = 1
"""A standby may be behind, by a quarter of a second when it was measured, so that what it says is as old."""

MIB = 1024 * 1024

CONFIG = f"""
chain = [{{ store = "vault" }}]

[cache]
ttl = "{TTL}s"
max_stale = "{MAX_STALE}s"

[stores.vault]
plugin = "vault"
url = URLS
auth = {{ method = "approle", role_id = "soak", secret_id = "soak" }}
"""


@pytest.fixture
def cluster(tmp_path):
    with TestCluster(folder=tmp_path) as cluster:
        yield cluster


@pytest.fixture
def secrets(cluster, tmp_path):
    """The manager that is read from. Its token lives for half a minute, and is renewed."""
    cluster.write_policy({"secret/data/soak/*": ["read"]}, name="soak")
    cluster.call("POST", "sys/auth/approle", {"type": "approle"})
    cluster.call("POST", "auth/approle/role/soak", {"token_policies": ["soak"], "token_ttl": "30s", "role_id": "soak"})
    cluster.call("POST", "auth/approle/role/soak/custom-secret-id", {"secret_id": "soak"})
    file = tmp_path / "strongroom.toml"
    file.write_text(CONFIG.replace("URLS", repr(cluster.urls)), "utf-8")
    file.chmod(0o600)
    with SecretsManager.from_config(file) as secrets:
        yield secrets


class Ledger:
    """What was written when: numbers from 0 on for each path, and the moments from which on each was acknowledged."""

    def __init__(self):
        self._begun = [0] * PATHS
        self._known = [[] for _ in range(PATHS)]

    def begin(self, path):
        """The next number that is to be written there."""
        self._begun[path] = number = len(self._known[path])
        return number

    def acknowledge(self, path):
        self._known[path].append(time.monotonic())

    def age(self, path, number, at):
        """For how many seconds this number had been replaced by the next one at that time; 0 where it had not been."""
        assert 0 <= number <= self._begun[path], "a value that nobody wrote"
        known = self._known[path]
        return max(0.0, at - known[number + 1]) if number + 1 < len(known) else 0.0


class Readings:
    """What readers have met."""

    def __init__(self):
        self.count = 0
        self.oldest = self.oldest_while_whole = 0.0
        self.errors = []
        self._lock = threading.Lock()

    def note(self, age, *, whole):
        with self._lock:
            self.count += 1
            self.oldest = max(self.oldest, age)
            if whole:
                self.oldest_while_whole = max(self.oldest_while_whole, age)


def read(secrets, ledger, readings, whole, stopping):
    """Reads without an end; what is raised is an error that reached the caller."""
    while not stopping.wait(random.uniform(0.02, 0.08)):
        path, at, was_whole = random.randrange(PATHS), time.monotonic(), whole.is_set()
        try:
            number = secrets.get_secret(f"soak/{path}", "number", as_=int)
            readings.note(ledger.age(path, number, at), whole=was_whole)
        except Exception as error:  # noqa: BLE001  # whatever it is, it reached the caller
            readings.errors.append(f"{type(error).__name__}: {error}")


def write(cluster, ledger, stopping):
    """Writes the next number of each path in turn, each as often as it takes until it is acknowledged."""
    front = GuardedStore(open_vault(url=cluster.urls, token=cluster.token), "vault")
    turn = 0
    while not stopping.wait(WRITE_EVERY):
        number = ledger.begin(turn % PATHS)
        while not stopping.is_set():
            try:
                front.write(f"soak/{turn % PATHS}", {"number": number})
            except StoreUnavailableError:
                stopping.wait(0.1)
            else:
                ledger.acknowledge(turn % PATHS)
                break
        turn += 1
    front.close()


def kill(cluster, whole, stopping):
    """Kills whoever leads, and has the node back a while before the next is killed: a quorum always stands."""
    kills, pause = 0, FIRST_KILL
    while not stopping.wait(pause):
        began = time.monotonic()
        whole.clear()
        cluster.kill(cluster.leader())
        kills += 1
        stopping.wait(DOWN_FOR)
        cluster.heal()
        stopping.wait(BACK)
        whole.set()
        pause = max(0.0, began + KILL_EVERY - time.monotonic())
    return kills


def footprint():
    """What this process holds now: memory in bytes, threads, and open files."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE"), threading.active_count(), sum(1 for _ in Path("/proc/self/fd").iterdir())


def watch(began, stopping):
    """A footprint for each second, with the second."""
    found = []
    while not stopping.wait(1):
        found.append((time.monotonic() - began, footprint()))
    return found


def quiet(samples):
    """The medians of the last ten seconds before each kill but the first, and before the end: the cluster is whole."""
    ends = [*range(FIRST_KILL + KILL_EVERY, SECONDS, KILL_EVERY), SECONDS]
    times = [at for at, _ in samples]
    for end in ends:
        within = samples[bisect.bisect(times, end - 10) : bisect.bisect(times, end)]
        yield tuple(statistics.median(column) for column in zip(*(found for _, found in within), strict=True))


@pytest.mark.timeout(SECONDS + 180)
def test_readers_see_no_error_and_no_old_value_while_leaders_die(cluster, secrets, record_property):
    """No value is older than its time and the stale bound, no error comes through, and nothing grows."""
    ledger, readings, whole, stopping = Ledger(), Readings(), threading.Event(), threading.Event()
    whole.set()
    for path in range(PATHS):
        cluster.put(f"soak/{path}", {"number": ledger.begin(path)})
        ledger.acknowledge(path)
    cluster.wait_for_standbys()
    gc.collect()
    began = time.monotonic()
    with ThreadPoolExecutor(THREADS + 3) as threads:
        readers = [threads.submit(read, secrets, ledger, readings, whole, stopping) for _ in range(THREADS)]
        others = [threads.submit(write, cluster, ledger, stopping), threads.submit(kill, cluster, whole, stopping)]
        samples = threads.submit(watch, began, stopping)
        stopping.wait(SECONDS)
        stopping.set()
        for reader in readers:
            reader.result()
        _, kills = [other.result() for other in others]
    (memory, running, files), *_, (memory_then, running_then, files_then) = quiet(samples.result())
    said = f"{readings.count} reads, {kills} kills, oldest {readings.oldest:.2f} s, {memory / MIB:.1f} to "
    said += f"{memory_then / MIB:.1f} MB, {running} to {running_then} threads, {files} to {files_then} files"
    record_property("soak", said)
    sys.stdout.write(f"{said}\n")
    assert not readings.errors, f"{len(readings.errors)} errors, the first: {readings.errors[0]}"
    assert readings.oldest <= TTL + MAX_STALE
    assert readings.oldest_while_whole <= TTL + LAG
    assert memory_then - memory < 5 * MIB
    assert running_then <= running
    assert files_then <= files + PATHS
    assert readings.count > SECONDS * THREADS
    assert kills  # on a busy machine, a cluster may not be whole again in time for the next one
