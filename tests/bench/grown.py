"""One measurement of growth in a separate process, which prints its time and its peak of memory as JSON.

    python -m bench.grown KIND COUNT

KIND is plan, migrate, list, batch or memory. Settings are in variables: see `main`. The time leaves out imports.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from strongroom import SecretsManager
from strongroom.migrate import Migrator
from strongroom.secret import Secret
from strongroom_vault.plugin import open_vault


class Many:
    """A source of that many secrets, which it makes when they are read."""

    def __init__(self, count: int) -> None:
        self._count = count

    def items(self) -> Iterator[Secret]:
        for number in range(self._count):
            yield Secret(path(number), {"user": f"user-{number}", "password": "p" * 40, "port": number})

    def close(self) -> None:
        pass


def path(number: int) -> str:
    return f"team-{number % 50}/app-{number:06}"


def timed(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def migrate(count: int, vault: dict[str, str], home: Path, *, apply: bool) -> float:
    stores = {"many": Many(count), "vault": open_vault(**vault)}

    def work() -> None:
        with Migrator(stores=stores, state_folder=home) as migrator:
            plan = migrator.plan("many", "vault")
            if apply:
                migrator.apply(plan)
                migrator.verify()

    return timed(work)


def read(kind: str, count: int, vault: dict[str, str]) -> float:
    """Time a listing, a batch, or a read of each secret that a batch has put into the cache in memory."""
    cache = {"ttl": "1h", "max_entries": count, "max_bytes": 1 << 30}
    if kind == "batch" and "BENCH_DISK" not in os.environ:
        cache = {"ttl": 0}
    document = {
        "chain": ["vault"],
        "stores": {"vault": {"plugin": "vault", **vault}},
        "cache": {**cache, "disk": "BENCH_DISK" in os.environ},
    }
    paths = [path(number) for number in range(count)]
    with SecretsManager.from_config(document) as manager:
        if kind == "list":
            return timed(lambda: manager.list_secrets(recursive=True))
        if kind == "batch":
            # The disk cache keeps no answer of a read that took more than a minute.
            size = 10_000 if "BENCH_DISK" in os.environ else count
            batches = [paths[begin : begin + size] for begin in range(0, count, size)]
            return timed(lambda: [manager.get_secrets(batch, strict=True) for batch in batches])
        manager.get_secrets(paths, strict=True)
        return timed(lambda: [manager.get_secret(each, "password") for each in paths])


def main(kind: str, count: int) -> None:
    """Measure with the server of VAULT_ADDR and VAULT_TOKEN, the mount BENCH_MOUNT, and BENCH_HOME for a journal."""
    vault = {"url": os.environ.pop("VAULT_ADDR"), "token": os.environ.pop("VAULT_TOKEN")}
    vault["mount"] = os.environ["BENCH_MOUNT"]
    if kind in {"plan", "migrate"}:
        seconds = migrate(count, vault, Path(os.environ["BENCH_HOME"]), apply=kind == "migrate")
    else:
        seconds = read(kind, count, vault)
    print(json.dumps({"seconds": seconds, "mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
