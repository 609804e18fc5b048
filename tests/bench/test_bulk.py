"""A thousand secrets that nobody has read yet, beside what else reads as many.

`secretspec` (a Rust core) and `wrk` (a load generator in C) are measured where they are installed.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import hvac
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from strongroom import SecretsManager
from strongroom_vault.testing import TestVault

COUNT = 1000
FOLDER = "secretspec/bench/default"
PATHS = [f"{FOLDER}/S{number}" for number in range(COUNT)]
ROUNDS = 5

pytestmark = pytest.mark.benchmark(group="a thousand cold secrets")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestVault]:
    """A server without an audit file, which the yardsticks do not pay for either."""
    with TestVault() as vault:
        for path in PATHS:
            vault.put(path, {"value": "postgresql://app:secret@db.internal:5432/app"})
        yield vault


def test_strongroom(benchmark: BenchmarkFixture, server: TestVault) -> None:
    benchmark.extra_info["bounds"] = {
        "test_hvac_on_eight_threads": 1 / 3,
        "test_secretspec": 0.85,
        "test_wrk": 1 / 0.55,
    }

    with SecretsManager(vault_url=server.url, vault_token=server.token, enable_fallback=False) as manager:

        def read() -> int:
            manager.invalidate()
            return len(manager.get_secrets(PATHS, strict=True))

        assert benchmark.pedantic(read, rounds=ROUNDS, warmup_rounds=1) == COUNT


def test_hvac_on_eight_threads(benchmark: BenchmarkFixture, server: TestVault) -> None:
    client = hvac.Client(url=server.url, token=server.token)

    def read_one(path: str) -> str:
        reply = client.secrets.kv.v2.read_secret_version(path=path, raise_on_deleted_version=True)
        value: str = reply["data"]["data"]["value"]
        return value

    def read() -> int:
        with ThreadPoolExecutor(8) as pool:
            return len(list(pool.map(read_one, PATHS)))

    assert benchmark.pedantic(read, rounds=ROUNDS, warmup_rounds=1) == COUNT


def test_secretspec(
    benchmark: BenchmarkFixture, server: TestVault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secretspec = pytest.importorskip("secretspec")
    rows = "\n".join(f'S{number} = {{ description = "x", required = true }}' for number in range(COUNT))
    Path(tmp_path, "secretspec.toml").write_text(
        f'[project]\nname = "bench"\nrevision = "1.0"\n\n[profiles.default]\n{rows}\n', "utf-8"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BAO_TOKEN", server.token)
    provider = f"openbao://{server.url.removeprefix('http://')}/secret?tls=false"

    def read() -> int:
        return len(secretspec.SecretSpec.builder().with_provider(provider).load().secrets)

    assert benchmark.pedantic(read, rounds=ROUNDS, warmup_rounds=1) == COUNT


THE_THOUSAND = f"""
local requests, number = {{}}, -1
function init()
  for n = 0, {COUNT - 1} do requests[n] = wrk.format("GET", "/v1/secret/data/{FOLDER}/S" .. n) end
end
function request()
  number = (number + 1) % {COUNT}
  return requests[number]
end
"""
"""What makes wrk read the same secrets, one after the other: its requests are made before it begins."""


def test_wrk(benchmark: BenchmarkFixture, server: TestVault, tmp_path: Path) -> None:
    """It is told a duration, and says a rate: what counts is the time in which it would read a thousand."""
    wrk = shutil.which("wrk")
    if wrk is None:
        pytest.skip("wrk is not installed")
    script = tmp_path / "thousand.lua"
    script.write_text(THE_THOUSAND)
    command = [wrk, "-t1", "-c16", "-d1s", "-s", str(script), "-H", f"X-Vault-Token: {server.token}", server.url]

    def read() -> float:
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        assert "Non-2xx" not in output
        (rate,) = (float(line.split()[1]) for line in output.splitlines() if line.startswith("Requests/sec"))
        return COUNT / rate

    took: list[float] = []
    benchmark.pedantic(lambda: took.append(read()), rounds=ROUNDS, warmup_rounds=1)
    benchmark.extra_info["median"] = statistics.median(took)
