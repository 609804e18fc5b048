"""What `import strongroom`, and a first secret of the environment, cost a new process, beside a bare interpreter."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

FIRST_SECRET = "from strongroom import get_secret; get_secret('database/connection', 'url')"

pytestmark = pytest.mark.benchmark(group="a new process")


@pytest.mark.parametrize(
    "code",
    ["pass", "import strongroom", "from strongroom import get_secret", FIRST_SECRET, "import dotenv"],
    ids=["bare", "strongroom", "get_secret", "first_secret", "dotenv"],
)
def test_new_process(benchmark: BenchmarkFixture, code: str) -> None:
    if code == "import strongroom":
        benchmark.extra_info["bounds_ms"] = {"test_new_process[bare]": 30}
    command = [sys.executable, "-c", code]
    environment = {**os.environ, "DATABASE_URL": "sqlite://"}
    benchmark.pedantic(lambda: subprocess.run(command, check=True, env=environment), rounds=20, warmup_rounds=2)


def test_command(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    """`strongroom get` from the environment: with compiled modules, as an installation has them."""
    benchmark.extra_info["bounds"] = {"test_new_process[dotenv]": 3}
    command = [str(Path(sys.executable).parent / "strongroom"), "get", "database/connection#url"]
    environment = {**os.environ, "DATABASE_URL": "sqlite://", "PYTHONPYCACHEPREFIX": str(tmp_path)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)

    def run() -> None:
        subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)

    benchmark.pedantic(run, rounds=20, warmup_rounds=2)
