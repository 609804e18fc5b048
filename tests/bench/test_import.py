"""What `import strongroom` costs a new process, beside a bare interpreter."""

from __future__ import annotations

import subprocess
import sys

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

pytestmark = pytest.mark.benchmark(group="a new process")


@pytest.mark.parametrize(
    "code",
    ["pass", "import strongroom", "from strongroom import get_secret", "import dotenv"],
    ids=["bare", "strongroom", "get_secret", "dotenv"],
)
def test_new_process(benchmark: BenchmarkFixture, code: str) -> None:
    if code == "import strongroom":
        benchmark.extra_info["bounds_ms"] = {"test_new_process[bare]": 30}
    command = [sys.executable, "-c", code]
    benchmark.pedantic(lambda: subprocess.run(command, check=True), rounds=20, warmup_rounds=2)
