"""What `import strongroom`, a first secret of the environment, and `strongroom get` cost a new process."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from strongroom_vault.testing import TestVault

FIRST_SECRET = "from strongroom import get_secret; get_secret('database/connection', 'url')"

pytestmark = pytest.mark.benchmark(group="a new process")


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """With compiled modules, as an installation has them: the first run of each compiles what is not."""
    compiled = str(tmp_path_factory.mktemp("compiled"))
    environment = {**os.environ, "DATABASE_URL": "sqlite://", "PYTHONPYCACHEPREFIX": compiled}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    return environment


def run(command: list[str], environment: dict[str, str]) -> None:
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize(
    "code",
    ["pass", "import strongroom", "from strongroom import get_secret"],
    ids=["bare", "strongroom", "get_secret"],
)
def test_new_process(benchmark: BenchmarkFixture, environment: dict[str, str], code: str) -> None:
    if code == "import strongroom":
        benchmark.extra_info["bounds_ms"] = {"test_new_process[bare]": 30}
    benchmark.pedantic(run, ([sys.executable, "-c", code], environment), rounds=20, warmup_rounds=2)


STRONGROOM = str(Path(sys.executable).parent / "strongroom")


@pytest.mark.parametrize(
    ("command", "most"),
    [
        ([STRONGROOM, "--version"], 1.2),
        ([STRONGROOM, "get", "database/connection#url"], 2.7),
        ([sys.executable, "-c", FIRST_SECRET], 2.8),
    ],
    ids=["version", "get", "first_secret"],
)
def test_start_up(benchmark: BenchmarkFixture, environment: dict[str, str], command: list[str], most: float) -> None:
    """A value of the environment, and the version. The yardstick runs before each round."""
    start_up(benchmark, environment, command, most)


def test_start_up_from_the_disk_cache(
    benchmark: BenchmarkFixture, environment: dict[str, str], openbao: TestVault, tmp_path: Path
) -> None:
    """A secret of OpenBao that the process before has read."""
    openbao.call("POST", "secret/data/bench/database", {"data": {"url": "sqlite://"}})
    configured = {
        **environment,
        "VAULT_ADDR": openbao.url,
        "VAULT_TOKEN": openbao.token,
        "STRONGROOM_CACHE_DISK": "true",
        "STRONGROOM_CACHE_FOLDER": str(tmp_path / "cache"),
        "STRONGROOM_CACHE_TTL": "1h",
    }
    start_up(benchmark, configured, [STRONGROOM, "get", "bench/database#url"], 3.0)
    assert openbao.requests("secret/data/bench/database") == 1


def start_up(benchmark: BenchmarkFixture, environment: dict[str, str], command: list[str], most: float) -> None:
    dotenv = [sys.executable, "-c", "import dotenv"]
    taken: list[float] = []

    def yardstick() -> None:
        started = time.perf_counter()
        run(dotenv, environment)
        taken.append(time.perf_counter() - started)

    for warm in (dotenv, command):
        run(warm, environment)
    benchmark.pedantic(run, (command, environment), setup=yardstick, rounds=30)
    benchmark.extra_info["beside"] = {"import dotenv": (taken, most)}
