"""The benchmark of the proxy, once and with small numbers."""

import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]


def test_the_benchmark_writes_its_table(tmp_path):
    table = tmp_path / "table.md"
    command = [sys.executable, "-m", "bench.agents", table, "--once"]
    subprocess.run(command, env={**os.environ, "PYTHONPATH": str(TESTS)}, cwd=tmp_path, check=True)
    rows = [line.split(" | ") for line in table.read_text().splitlines() if line.startswith("| ")]
    assert len(rows) == 10
    assert all(any(character.isdigit() for character in cell) for row in rows[2:] for cell in row[3:])
