"""Load on a cluster whose nodes fail: readers and writers, and a raw client that polls each node."""

import http.client
import itertools
import json
import secrets
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

from strongroom import SecretsManager
from strongroom.errors import StoreError
from strongroom_vault.plugin import open_vault

READERS, WRITERS = 6, 3
POLL = 0.05
SETTINGS = 8
"""The number of secrets that nobody writes meanwhile."""
AGAIN = 60.0
"""Seconds in which a cluster has a leader again on any machine."""


class Load:
    """Callers of one manager: readers past the cache, and writers that count, each in a separate secret.

    Attributes:
        reads: how long each read of a secret took that nobody writes, in seconds.
        own_reads: the same for the secrets that the writers have just written, which must not be older than that.
        writes: how long each write took.
        errors: the time of each error, and its text.
        stale: reads that returned a number older than one that had been acknowledged when they began.
        acknowledged: path -> version -> number of the writes that succeeded.
    """

    def __init__(self, manager, written, settings):
        self._manager = manager
        self._stopping = threading.Event()
        self._written, self._settings = written, settings
        self._newest = dict.fromkeys(written + settings, 0)
        self.reads, self.own_reads, self.writes, self.errors, self.stale = [], [], [], [], []
        self.acknowledged = {path: {} for path in written}

    def __enter__(self):
        self._threads = ThreadPoolExecutor(READERS + WRITERS)
        self._running = [self._threads.submit(self._read, number) for number in range(READERS)]
        self._running += [self._threads.submit(self._write, path) for path in self._written]
        return self

    def __exit__(self, *_):
        self._stopping.set()
        for running in self._running:
            running.result()
        self._threads.shutdown()

    def _read(self, number):
        """Read the settings, or in every second thread the secrets of the writers."""
        paths, times = (self._written, self.own_reads) if number % 2 else (self._settings, self.reads)
        for path in itertools.cycle(paths):
            if self._stopping.wait(0.01):
                return
            newest, began = self._newest[path], time.monotonic()
            try:
                found = self._manager.get_secret(path, "n", as_=int, fresh=True)
            except Exception as error:  # noqa: BLE001  # any error has reached the caller
                self.errors.append((began, f"read after {time.monotonic() - began:.2f} s: {error}"))
                continue
            times.append(time.monotonic() - began)
            if found < newest:
                self.stale.append((began, path, found, newest))

    def _write(self, path):
        for number in itertools.count(1):
            if self._stopping.wait(0.02):
                return
            began = time.monotonic()
            try:
                version = self._manager.set_secret(path, {"n": number})
            except Exception as error:  # noqa: BLE001  # as above
                self.errors.append((began, f"write after {time.monotonic() - began:.2f} s: {error}"))
                continue
            self.writes.append(time.monotonic() - began)
            self.acknowledged[path][version] = self._newest[path] = number


class Poller:
    """A client without any policy: it asks each node all the time, and keeps when which one answered."""

    def __init__(self, cluster):
        self._cluster = cluster
        self._stopping = threading.Event()
        self.answers = {"GET": [], "POST": []}

    def __enter__(self):
        self._cluster.put("failover/poll", {})
        nodes = [node.url for node in self._cluster.nodes]
        self._threads = [
            threading.Thread(target=self._poll, args=(url, kind)) for url in nodes for kind in self.answers
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _poll(self, url, method):
        while not self._stopping.wait(POLL):
            began = time.monotonic()
            connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=1)
            try:
                body = json.dumps({"data": {}}) if method == "POST" else None
                token = {"X-Vault-Token": self._cluster.token}
                connection.request(method, "/v1/secret/data/failover/poll", body, token)
                if connection.getresponse().status == 200:
                    self.answers[method].append((began, time.monotonic()))
            except (OSError, http.client.HTTPException):
                pass
            finally:
                connection.close()

    def gap(self, method, since, until):
        """Return the longest time between the answers to two requests of this kind, in seconds: the best possible."""
        ends = sorted(end for began, end in self.answers[method] if since <= began <= until)
        return max((after - before for before, after in itertools.pairwise([since, *ends])), default=until - since)


class Result:
    """Result of one run of the load, beside the best result that any client could get.

    Attributes:
        slowest_read: of the secrets that nobody writes, in seconds.
        slowest_own_read: of the secrets that are written.
        slowest_write: in seconds.
        best_read: how long no node answered any read, even with an old value.
        best_write: how long no node made any write.
        lost: acknowledged writes that are not in the history, or not under their version.
        twice: numbers that are in more than one version.
    """

    def __init__(self, cluster, load, poller, since, until):
        self.reads, self.writes = len(load.reads) + len(load.own_reads), len(load.writes)
        self.errors, self.stale = load.errors, load.stale
        self.slowest_read, self.slowest_own_read = max(load.reads), max(load.own_reads)
        self.slowest_write = max(load.writes)
        self.best_read, self.best_write = (poller.gap(method, since, until) for method in ("GET", "POST"))
        self.lost, self.twice = [], []
        for path, acknowledged in load.acknowledged.items():
            history = _history(cluster, path)
            found = dict(history)
            self.lost += [(path, version) for version, n in acknowledged.items() if found.get(version) != n]
            numbers = [n for _, n in history if n]
            self.twice += [(path, n) for n in set(numbers) if numbers.count(n) > 1]

    def __str__(self):
        return (
            f"{self.reads} reads, slowest {self.slowest_read:.2f} s, of what is written {self.slowest_own_read:.2f} s "
            f"(best possible {self.best_read:.2f}); "
            f"{self.writes} writes, slowest {self.slowest_write:.2f} s (best possible {self.best_write:.2f}); "
            f"{len(self.errors)} errors, {len(self.lost)} lost, {len(self.stale)} stale, {len(self.twice)} twice"
        )


def _history(cluster, path):
    """Return each version with its number. After a partition, another election may interrupt the reads."""
    deadline = time.monotonic() + AGAIN
    while True:
        leader = cluster.leader()
        try:
            newest = leader.call("GET", f"secret/data/{path}")["data"]["metadata"]["version"]
            return [(v, _number(leader, f"{path}?version={v}")) for v in range(1, newest + 1)]
        except StoreError:
            if time.monotonic() > deadline:
                raise


def _number(leader, path):
    return leader.call("GET", f"secret/data/{path}")["data"]["data"]["n"]


def run(cluster, urls, events):
    """Let callers use the cluster through these addresses while `events` runs; return what that came to."""
    folder = f"failover/{secrets.token_hex(4)}"
    written = [f"{folder}/written/{number}" for number in range(WRITERS)]
    settings = [f"{folder}/settings/{number}" for number in range(SETTINGS)]
    for path in written + settings:
        cluster.call("POST", f"secret/metadata/{path}", {"max_versions": 100_000})
        cluster.put(path, {"n": 0})
    cluster.wait_for_standbys()
    store = open_vault(url=list(urls), token=cluster.token)
    with SecretsManager(chain=[store]) as manager, Poller(cluster) as poller, Load(manager, written, settings) as load:
        since = time.monotonic()
        events()
        until = time.monotonic()
    cluster.heal()
    return Result(cluster, load, poller, since, until)
