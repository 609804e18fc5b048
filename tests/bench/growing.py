"""Growth with the number of secrets, processes and threads. Most figures come from new processes, for their memory."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import time
from typing import Final

from bench.measuring import Bench, clean_environment
from bench.processes import FIRST_SECRET
from bench.reads import DATA, PATH, manager
from support.vault.recorded_vault import RecordedVault

SECRETS, PROCESSES, THREADS = 100_000, 1000, 512
WAVE: Final = 32
CACHED_READS, COLD_READS = 1000, 10


def secrets(bench: Bench) -> None:
    """10 to 100,000 secrets in one mount of OpenBao for each number, which the migration fills."""
    address = {"VAULT_ADDR": bench.vault.url, "VAULT_TOKEN": bench.vault.token}
    mounts: dict[int, str] = {}
    folder = bench.new_folder()

    def step(kind: str, **settings: str):
        return lambda count: bench.grown(count, kind, BENCH_MOUNT=mounts[count], **address, **settings)

    def plan(count: int) -> dict[str, float]:
        mounts.setdefault(count, bench.vault.fresh_mount())
        return bench.grown(count, "plan", BENCH_MOUNT=mounts[count], BENCH_HOME=str(bench.new_folder()), **address)

    def migrate(count: int) -> dict[str, float]:
        bench.vault.call("DELETE", f"sys/mounts/{mounts[count]}")
        mounts[count] = bench.vault.fresh_mount()
        return bench.grown(count, "migrate", BENCH_MOUNT=mounts[count], BENCH_HOME=str(bench.new_folder()), **address)

    def disk(*, warm: bool):
        def measure(count: int) -> dict[str, float]:
            cache = folder / f"cache-{count}"
            if not warm:
                shutil.rmtree(cache, ignore_errors=True)
            return step("batch", BENCH_DISK="1", STRONGROOM_CACHE_FOLDER=str(cache))(count)

        return measure

    bench.grow("plan", plan, SECRETS)
    bench.grow("migrate", migrate, SECRETS)
    bench.grow("list", step("list"), SECRETS)
    bench.grow("batch", step("batch"), SECRETS)
    bench.grow("memory-cache", step("memory"), SECRETS)
    bench.grow("disk-cold", disk(warm=False), SECRETS)
    bench.grow("disk-warm", disk(warm=True), SECRETS)


def processes(bench: Bench) -> None:
    """Scripts that start on one disk cache, at most 32 at once. One of them asks the server, the others the cache."""
    server = bench.serve(RecordedVault(bench.folder / "audit.log"))
    server.put(PATH, DATA)
    requests: dict[int, int] = {}
    file = bench.folder / "strongroom.toml"
    file.write_text('chain = ["vault"]\ntimeout = "2m"\n', "utf-8")  # 32 processes share the cores

    def measure(count: int) -> dict[str, float]:
        before = server.requests(f"secret/data/{PATH}")
        environment = {
            **clean_environment(),
            "VAULT_ADDR": server.url,
            "VAULT_TOKEN": server.token,
            "STRONGROOM_CACHE_DISK": "true",
            "STRONGROOM_CACHE_FOLDER": str(bench.new_folder() / "cache"),
            "STRONGROOM_CACHE_TTL": "1h",
            "STRONGROOM_CONFIG": str(file),
        }
        command = [sys.executable, "-c", FIRST_SECRET]
        began = time.perf_counter()
        for start in range(0, count, WAVE):
            wave = [subprocess.Popen(command, env=environment) for _ in range(min(WAVE, count - start))]
            assert sum(process.wait() for process in wave) == 0
        taken = time.perf_counter() - began
        requests[count] = server.requests(f"secret/data/{PATH}") - before
        return {"seconds": taken, "requests": requests[count]}

    bench.grow("processes", measure, PROCESSES, first=1)


def threads(bench: Bench) -> None:
    """Threads that share one manager. Each has 1,000 cached reads, or ten from the server."""
    bench.vault.put(PATH, DATA)
    with manager(bench.vault) as ours:
        ours.get_secret(PATH, "url")

        def measure(reads: int, *, fresh: bool):
            def work() -> None:
                for _ in range(reads):
                    ours.get_secret(PATH, "url", fresh=fresh)

            def run(count: int) -> dict[str, float]:
                workers = [threading.Thread(target=work) for _ in range(count)]
                began = time.perf_counter()
                for worker in workers:
                    worker.start()
                for worker in workers:
                    worker.join()
                return {"seconds": time.perf_counter() - began}

            return run

        bench.grow("threads-cached", measure(CACHED_READS, fresh=False), THREADS, first=1, factor=8)
        bench.grow("threads-cold", measure(COLD_READS, fresh=True), THREADS, first=1, factor=8)
