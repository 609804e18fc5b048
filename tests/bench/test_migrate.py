"""Ten thousand secrets into Vault, verified, beside the loop that anybody would write; and the memory of many more."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import hvac
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from strongroom.store.memory import MemoryStore
from strongroom_vault.plugin import open_vault
from strongroom_vault.testing import TestVault
from support.scenarios.migrations import apply, plan, verify

COUNT = 10_000
MANY = 100_000
MOST_RESIDENT = 150
"""In MiB."""

_DATA = {"username": "app", "password": "correct horse battery staple", "host": "db.internal", "port": 5432}

_PROGRAM = """
import resource, sys
from pathlib import Path
from strongroom.errors import SecretNotFoundError
from strongroom.migrate import Migrator
from strongroom.secret import Secret
from strongroom_vault.plugin import open_vault

url, token, mount, count, home = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), Path(sys.argv[5])

class Many:
    def items(self):
        for number in range(count):
            data = {"user": f"user-{number}", "password": "p" * 40, "port": number}
            yield Secret(f"team-{number % 50}/app-{number:06}", data)

    def close(self):
        pass

stores = {"many": Many(), "vault": open_vault(url=url, token=token, mount=mount)}
with Migrator(stores=stores, state_folder=home) as migrator:
    migrator.apply(migrator.plan("many", "vault"))
    migrator.verify()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.fixture(scope="module")
def server() -> Iterator[TestVault]:
    """A server without an audit file, which the yardstick does not pay for either."""
    with TestVault() as vault:
        yield vault


@pytest.mark.timeout(900)
@pytest.mark.benchmark(group="ten thousand secrets into Vault, verified")
def test_migration(benchmark: BenchmarkFixture, server: TestVault, tmp_path: Path) -> None:
    """Planned, journaled, written under check-and-set and read back: at 4.5 times the loop's rate."""
    source = MemoryStore()
    for number in range(COUNT):
        source.write(f"app/s{number}", _DATA)
    client = hvac.Client(url=server.url, token=server.token)
    taken: list[float] = []

    def loop() -> None:
        """Writes each secret, then reads it back."""
        mount, started = server.fresh_mount(), time.perf_counter()
        kv = client.secrets.kv.v2
        for number in range(COUNT):
            path = f"app/s{number}"
            kv.create_or_update_secret(path=path, secret=_DATA, mount_point=mount)
            reply = kv.read_secret_version(path=path, mount_point=mount, raise_on_deleted_version=True)
            assert reply["data"]["data"] == _DATA
        taken.append(time.perf_counter() - started)

    def migrate() -> None:
        store = open_vault(url=server.url, token=server.token, mount=server.fresh_mount())
        stores, home = {"memory": source, "vault": store}, tmp_path / "home"
        apply(plan("memory", "vault", stores=stores, state_folder=home), stores=stores, state_folder=home)
        verify(stores=stores, state_folder=home)
        store.close()

    benchmark.extra_info["beside"] = {"the hvac loop": (taken, 1 / 4.5)}
    benchmark.pedantic(migrate, setup=loop, rounds=1)


@pytest.mark.timeout(1800)
@pytest.mark.benchmark(group="a hundred thousand secrets")
def test_memory(benchmark: BenchmarkFixture, server: TestVault, tmp_path: Path) -> None:
    """What a hundred thousand secrets take in memory, planned, written and verified by one process."""
    mount = server.fresh_mount()
    command = [sys.executable, "-c", _PROGRAM, server.url, server.token, mount, str(MANY), str(tmp_path / "home")]

    def migrate() -> int:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return int(done.stdout)

    resident = benchmark.pedantic(migrate, rounds=1)
    assert resident < MOST_RESIDENT
