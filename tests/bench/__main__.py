"""Run the benchmarks, and write their results as JSON.

    PYTHONPATH=tests python -m bench RESULTS [PART ...]

Each part is saved when it ends. Parts that are not named keep their results of an earlier run on this machine.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from bench.cached import cached, metrics
from bench.cold_profile import profile
from bench.growing import processes, secrets, threads
from bench.measuring import Bench
from bench.migrating import write
from bench.processes import cost, run, start
from bench.reads import bulk, cold, disk, tls

PARTS = {
    part.__name__: part
    for part in (profile, cold, bulk, tls, disk, cached, metrics, start, cost, run, write, threads, processes, secrets)
}


def main(file: Path, names: list[str]) -> None:
    """Measure these parts, or all of them."""
    if unknown := set(names) - set(PARTS):
        sys.exit(f"No such part: {', '.join(sorted(unknown))}. There are {', '.join(PARTS)}.")
    with Bench() as bench:
        if names and file.exists():
            before = json.loads(file.read_text("utf-8"))
            if before["machine"] == bench.results["machine"]:
                bench.results = before
        for name in names or PARTS:
            bench.results["load"] = max(os.getloadavg()[0], bench.results.get("load", 0))
            PARTS[name](bench)
            file.write_text(json.dumps(bench.results), "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
