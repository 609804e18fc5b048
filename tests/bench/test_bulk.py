"""A thousand secrets that nobody has read yet, beside what else reads as many.

`secretspec` (a Rust core) and `wrk` (a load generator in C) are measured where they are installed.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import hvac
import pytest
import trustme
from pytest_benchmark.fixture import BenchmarkFixture

from strongroom import SecretsManager
from strongroom_vault.testing import TestVault
from support.vault.tls_vault import TLSVault

COUNT = 1000
FOLDER = "secretspec/bench/default"
PATHS = [f"{FOLDER}/S{number}" for number in range(COUNT)]
ROUNDS = 7

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


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[trustme.CA, Path]:
    """An authority, and the file of its certificate."""
    file, ca = tmp_path_factory.mktemp("ca") / "ca.pem", trustme.CA()
    ca.cert_pem.write_to_path(str(file))
    return ca, file


@pytest.fixture(scope="module")
def server(authority: tuple[trustme.CA, Path]) -> Iterator[TLSVault]:
    """A server without an audit file, which the yardsticks do not pay for either."""
    with TLSVault(authority[1].parent, authority[0]) as vault:
        for path in PATHS:
            vault.put(path, {"value": "postgresql://app:secret@db.internal:5432/app"})
        yield vault


def timed(read: Callable[[], object]) -> float:
    """How many seconds it takes to read them all."""
    began = time.perf_counter()
    read()
    return time.perf_counter() - began


def hvac_on_eight_threads(client: hvac.Client) -> Callable[[], float]:
    """What somebody writes who has no more than hvac."""

    def read_one(path: str) -> str:
        reply = client.secrets.kv.v2.read_secret_version(path=path, raise_on_deleted_version=True)
        value: str = reply["data"]["data"]["value"]
        return value

    def read() -> None:
        with ThreadPoolExecutor(8) as pool:
            assert len(list(pool.map(read_one, PATHS))) == COUNT

    return lambda: timed(read)


@pytest.fixture
def secretspec(server: TestVault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], float] | None:
    """Its own batch of everything that a profile needs."""
    try:
        import secretspec as module
    except ImportError:
        return None
    rows = "\n".join(f'S{number} = {{ description = "x", required = true }}' for number in range(COUNT))
    Path(tmp_path, "secretspec.toml").write_text(
        f'[project]\nname = "bench"\nrevision = "1.0"\n\n[profiles.default]\n{rows}\n', "utf-8"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BAO_TOKEN", server.token)
    provider = f"openbao://{server.url.removeprefix('http://')}/secret?tls=false"

    def read() -> None:
        assert len(module.SecretSpec.builder().with_provider(provider).load().secrets) == COUNT

    return lambda: timed(read)


@pytest.fixture
def wrk(server: TestVault, tmp_path: Path) -> Callable[[], float] | None:
    """It is told a duration, and says a rate: what counts is the time in which it would read the thousand."""
    program = shutil.which("wrk")
    if program is None:
        return None
    script = tmp_path / "thousand.lua"
    script.write_text(THE_THOUSAND)
    command = [program, "-t1", "-c16", "-d1s", "-s", str(script), "-H", f"X-Vault-Token: {server.token}", server.url]

    def read() -> float:
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        assert "Non-2xx" not in output
        (rate,) = (float(line.split()[1]) for line in output.splitlines() if line.startswith("Requests/sec"))
        return COUNT / rate

    return read


@pytest.mark.benchmark(group="a thousand cold secrets")
def test_strongroom(
    benchmark: BenchmarkFixture,
    server: TestVault,
    secretspec: Callable[[], float] | None,
    wrk: Callable[[], float] | None,
) -> None:
    """All take turns: a machine that has something else to do for a while is slower for each of them."""
    yardsticks = (
        ("hvac on eight threads", hvac_on_eight_threads(hvac.Client(url=server.url, token=server.token)), 1 / 3),
        ("secretspec", secretspec, 0.6),
        ("wrk", wrk, 1 / 0.7),
    )
    with SecretsManager(vault_url=server.url, vault_token=server.token, enable_fallback=False) as manager:
        measure(benchmark, manager, yardsticks)


@pytest.mark.benchmark(group="a thousand cold secrets over TLS")
def test_strongroom_over_tls(
    benchmark: BenchmarkFixture,
    server: TLSVault,
    authority: tuple[trustme.CA, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A batch has one connection, for HTTP/2, and the next batch uses it again. hvac's threads keep theirs too."""
    file = str(authority[1])
    client = hvac.Client(url=server.tls_url, token=server.token, verify=file)
    monkeypatch.setenv("VAULT_CACERT", file)
    with SecretsManager(vault_url=server.tls_url, vault_token=server.token, enable_fallback=False) as manager:
        measure(benchmark, manager, [("hvac on eight threads", hvac_on_eight_threads(client), 1 / 3)])


@pytest.mark.parametrize(("warm", "most"), [(False, 1.3), (True, 0.5)], ids=["cold", "warm"])
@pytest.mark.benchmark(group="a thousand secrets with the disk cache")
def test_disk_cache(
    benchmark: BenchmarkFixture,
    server: TestVault,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    warm: bool,
    most: float,
) -> None:
    """Each round has a manager of its own, as a process that starts has, beside one without the cache."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("STRONGROOM_CACHE_FOLDER", str(folder))

    def read(*, disk: bool) -> None:
        address = {"vault_url": server.url, "vault_token": server.token}
        with SecretsManager(**address, enable_fallback=False, disk_cache=disk) as manager:
            assert len(manager.get_secrets(PATHS, strict=True)) == COUNT

    without: list[float] = []

    def prepare() -> None:
        without.append(timed(lambda: read(disk=False)))
        if not warm:
            shutil.rmtree(folder)

    read(disk=True)
    benchmark.extra_info["beside"] = {"without the disk cache": (without, most)}
    benchmark.pedantic(lambda: read(disk=True), setup=prepare, rounds=ROUNDS)


def measure(
    benchmark: BenchmarkFixture,
    manager: SecretsManager,
    yardsticks: Sequence[tuple[str, Callable[[], float] | None, float]],
) -> None:
    """Read them all in each round, after the yardsticks have. Each has the most that the ratio to it may be."""
    beside: dict[str, tuple[list[float], float]] = {name: ([], most) for name, take, most in yardsticks if take}

    def read() -> None:
        manager.invalidate()
        assert len(manager.get_secrets(PATHS, strict=True)) == COUNT

    def others() -> None:
        for name, take, _ in yardsticks:
            if take:
                beside[name][0].append(take())

    read()
    benchmark.extra_info["beside"] = beside
    benchmark.pedantic(read, setup=others, rounds=ROUNDS)
