"""Deliveries of watches on real services. `nox -s watch` runs the long forms, which measure times."""

import collections
import itertools
import json
import os
import queue
import threading
import time
from dataclasses import dataclass, field

import pytest

from strongroom import SecretsManager
from strongroom._files.plugin import open_json
from strongroom_aws.plugin import open_secrets_manager
from strongroom_vault.plugin import open_vault
from support.vault.proxy import FaultProxy
from support.vault.recorded_vault import KeptVault, RecordedVault

LONG = bool(os.environ.get("TEST_WATCH_LONG"))
long_form = pytest.mark.skipif(not LONG, reason="nox -s watch runs it")
INTERVAL = 1.0 if LONG else 0.2
PAUSE = 0.1 if LONG else 0.0
"""Seconds between two writes."""
PATHS = [f"app/{number}" for number in range(20)]
WRITES = 200
GENEROUS = 60.0


@dataclass
class Service:
    """Two stores on one service: one for a manager that watches, one for a program that writes."""

    watched: object
    writer: object
    path: object = None


@pytest.fixture(params=["openbao", "moto", "file"])
def service(request, tmp_path, monkeypatch):
    if request.param == "openbao":
        server, mount = request.getfixturevalue("openbao"), request.getfixturevalue("kv2")
        made = [open_vault(url=server.url, token=server.token, mount=mount) for _ in range(2)]
    elif request.param == "moto":
        moto = request.getfixturevalue("moto")
        moto.use(monkeypatch)
        prefix = f"watch-{os.urandom(6).hex()}"
        made = [open_secrets_manager(endpoint_url=moto.url, prefix=prefix) for _ in range(2)]
    else:
        made = [open_json(file=tmp_path / "secrets.json") for _ in range(2)]
    yield Service(*made)
    for store in made:
        store.close()


@dataclass
class Deliveries:
    """The changes that a callback got, with the value that the manager serves then and the time."""

    manager: SecretsManager
    by_path: dict = field(default_factory=lambda: collections.defaultdict(list))
    arrived: threading.Condition = field(default_factory=threading.Condition)

    def __call__(self, change):
        value = self.manager.get_secret(change.path, "n", as_=int)
        with self.arrived:
            self.by_path[change.path].append((change, value, time.monotonic()))
            self.arrived.notify_all()

    def wait_for(self, values):
        """Wait until the last delivered value of each path is the given one."""
        with self.arrived:
            return self.arrived.wait_for(
                lambda: all(self.by_path[path] and self.by_path[path][-1][1] == values[path] for path in values),
                GENEROUS,
            )


def test_every_final_value_is_delivered_in_order(service):
    """200 writes to 20 watched paths. In the long form within the interval and a second of the last write."""
    for path in PATHS:
        service.writer.write(path, {"n": -1})
    last: dict[str, tuple[int, float]] = {}
    with SecretsManager(chain=[service.watched]) as manager:
        deliveries = Deliveries(manager)
        with manager.watch(PATHS, deliveries, interval=INTERVAL):
            for number in range(WRITES):
                path = PATHS[number * 7 % len(PATHS)]
                service.writer.write(path, {"n": number})
                last[path] = (number, time.monotonic())
                time.sleep(PAUSE)
            assert deliveries.wait_for({path: number for path, (number, _) in last.items()})
    for path, changes in deliveries.by_path.items():
        values = [value for _, value, _ in changes]
        assert values == sorted(values), path  # twice the same if it was read just after the next write
        versions = [(change.old_version, change.new_version) for change, _, _ in changes]
        assert all(before[1] == after[0] for before, after in itertools.pairwise(versions)), path
        assert {change.keys for change, _, _ in changes} == {("n",)}
        if LONG:
            assert changes[-1][2] - last[path][1] <= INTERVAL + 1.0, path


def test_an_outage_is_no_change_and_each_path_that_changed_meanwhile_is_one(openbao, kv2):
    """The server cannot be reached for some looks, and is written to in between."""
    for path in PATHS:
        openbao.put(path, {"n": 0}, mount=kv2)
    changes, refused = queue.Queue(), threading.Semaphore(0)

    def refuse(exchange):
        exchange.reset()
        refused.release()

    with FaultProxy(openbao.url) as proxy:
        store = open_vault(url=proxy.url, token=openbao.token, mount=kv2)
        with SecretsManager(chain=[store]) as manager, manager.watch(PATHS, changes.put, interval=0.1):
            proxy.inject(refuse)
            assert refused.acquire(timeout=GENEROUS)
            for _ in range(3):
                for path in PATHS[:3]:
                    openbao.put(path, {"n": 1}, mount=kv2)
            assert refused.acquire(timeout=GENEROUS)
            assert changes.empty()
            proxy.heal()
            found = [changes.get(timeout=GENEROUS) for _ in range(3)]
            openbao.put(PATHS[3], {"n": 1}, mount=kv2)
            found.append(changes.get(timeout=GENEROUS))
    assert sorted(change.path for change in found) == sorted(PATHS[:4])
    assert [change.new_version for change in found] == [4, 4, 4, 2]


@long_form
def test_a_killed_server_is_no_change(tmp_path):
    """It is down for ten seconds."""
    changes = queue.Queue()
    with KeptVault(tmp_path / "data") as server:
        for path in PATHS:
            server.put(path, {"n": 0})
        store = open_vault(url=server.url, token=server.token)
        with SecretsManager(chain=[store]) as manager, manager.watch(PATHS, changes.put, interval=INTERVAL):
            server.kill()
            time.sleep(10)
            server.start()
            for _ in range(2):
                for path in PATHS[:5]:
                    server.put(path, {"n": 1})
            found = [changes.get(timeout=GENEROUS) for _ in range(5)]
            time.sleep(3 * INTERVAL)
            assert changes.empty()
    assert sorted(change.path for change in found) == sorted(PATHS[:5])
    assert {(change.old_version, change.new_version) for change in found} == {(1, 3)}


@long_form
def test_five_hundred_paths_for_a_minute(tmp_path):
    """At an interval of ten seconds: the requests in the server's audit file."""
    paths = [f"app/{number}" for number in range(500)]
    file = tmp_path / "audit.log"
    with RecordedVault(file) as server:
        for path in paths:
            server.put(path, {"n": 0})
        store = open_vault(url=server.url, token=server.token)
        with SecretsManager(chain=[store]) as manager, manager.watch(paths, print, interval=10.0):
            before = file.stat().st_size
            time.sleep(60)
        with file.open(encoding="utf-8") as lines:
            lines.seek(before)
            entries = [json.loads(line) for line in lines]
    requests = collections.Counter(
        (entry["request"]["operation"], entry["request"]["path"]) for entry in entries if entry["type"] == "request"
    )
    looks = requests.pop(("list", "secret/detailed-metadata/app/"))
    assert looks in {6, 7}
    assert not [path for _, path in requests if path.startswith("secret/")]
