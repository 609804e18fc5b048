"""What `import strongroom`, a first secret of the environment, and `strongroom get` cost a new process."""

from __future__ import annotations

import contextlib
import math
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from strongroom_vault.dev.server import find_binary
from strongroom_vault.testing import TestVault

UNBOUNDED = math.inf
FIRST_SECRET = "from strongroom import get_secret; get_secret('database/connection', 'url')"

pytestmark = pytest.mark.benchmark(group="a new process")


@pytest.fixture(scope="module")
def openbao(audited_openbao: TestVault) -> TestVault:
    """A server that counts requests."""
    return audited_openbao


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


HVAC = """
import os, hvac
client = hvac.Client(os.environ["VAULT_ADDR"], os.environ["VAULT_TOKEN"])
client.secrets.kv.v2.read_secret_version("bench/database", raise_on_deleted_version=True)["data"]["data"]["url"]
"""
DOTENV = "from dotenv import dotenv_values; dotenv_values('.env', interpolate=False)['DATABASE_URL']"
FROM_DISK = "from strongroom import get_secret; get_secret('bench/database', 'url')"


@pytest.mark.parametrize(
    ("command", "most"),
    [
        ([STRONGROOM, "--version"], 1.2),
        ([STRONGROOM, "get", "database/connection#url"], 3.0),
        ([sys.executable, "-c", FIRST_SECRET], 3.0),
    ],
    ids=["version", "get", "first_secret"],
)
def test_start_up(benchmark: BenchmarkFixture, environment: dict[str, str], command: list[str], most: float) -> None:
    """A value of the environment, and the version. The yardstick runs before each round."""
    start_up(benchmark, environment, command, most)


@pytest.fixture(scope="module")
def configured(
    environment: dict[str, str], openbao: TestVault, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """With a secret in OpenBao, and the disk cache."""
    openbao.call("POST", "secret/data/bench/database", {"data": {"url": "sqlite://"}})
    return {
        **environment,
        "VAULT_ADDR": openbao.url,
        "VAULT_TOKEN": openbao.token,
        "STRONGROOM_CACHE_DISK": "true",
        "STRONGROOM_CACHE_FOLDER": str(tmp_path_factory.mktemp("disk") / "cache"),
        "STRONGROOM_CACHE_TTL": "1h",
    }


@pytest.mark.parametrize(
    ("command", "most"),
    [
        ([STRONGROOM, "get", "bench/database#url"], 3.0),
        ([sys.executable, "-c", FROM_DISK], UNBOUNDED),
    ],
    ids=["get", "first_secret"],
)
def test_start_up_from_the_disk_cache(
    benchmark: BenchmarkFixture,
    configured: dict[str, str],
    openbao: TestVault,
    command: list[str],
    most: float,
) -> None:
    """A secret of OpenBao that a process before has read."""
    start_up(benchmark, configured, command, most)
    assert openbao.requests("secret/data/bench/database") == 1


@pytest.mark.parametrize(
    "command",
    [
        [sys.executable, "-c", DOTENV],
        [sys.executable, "-c", HVAC],
        [str(find_binary()), "kv", "get", "-field=url", "-mount=secret", "bench/database"],
        [STRONGROOM, "get", "bench/database#url"],
    ],
    ids=["dotenv", "hvac", "bao", "strongroom"],
)
def test_others_start_up(
    benchmark: BenchmarkFixture, configured: dict[str, str], command: list[str], tmp_path: Path
) -> None:
    """The same secret with other tools, and with Strongroom without the disk cache."""
    Path(tmp_path, ".env").write_text("DATABASE_URL=sqlite://\n", "utf-8")
    with contextlib.chdir(tmp_path):
        start_up(benchmark, {**configured, "STRONGROOM_CACHE_DISK": "false"}, command, UNBOUNDED)


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
    if benchmark.stats is not None:  # the JSON of `nox -s bench`, from which tests/bench/plots.py draws
        ratios = (mine / its for mine, its in zip(benchmark.stats.stats.data, taken, strict=True))
        benchmark.extra_info["ratio"] = median(ratios)
    if most < UNBOUNDED:
        benchmark.extra_info["beside"] = {"import dotenv": (taken, most)}
