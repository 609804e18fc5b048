"""The parts of a cold read: a timer looks at the stack at short intervals, and each look counts for one part."""

from __future__ import annotations

import collections
import signal
import time
from types import FrameType
from typing import Final

from bench.measuring import Bench
from bench.reads import DATA, PATH, manager

INTERVAL: Final = 0.0002
PARTS: Final = (
    ("strongroom_vault/http/drivers/", "libcurl and the kernel"),
    ("strongroom_vault/http/", "request policy and messages"),
    ("strongroom_vault/session/", "session and token"),
    ("/hvac/", "hvac's URL"),
    ("strongroom_vault/", "Vault store: JSON, versions, errors"),
    ("/json/", "Vault store: JSON, versions, errors"),
    ("strongroom/_boundary/", "guard"),
    ("strongroom/_chain/threads.py", "flight and deadline"),
    ("strongroom/_chain/cache.py", "cache and seal"),
    ("strongroom/_chain/seal.py", "cache and seal"),
    ("strongroom/_chain/", "chain and link"),
    ("strongroom/_manager/", "manager"),
    ("strongroom/secret.py", "`Secret` and redaction"),
    ("strongroom/", "other modules of the core"),
)
"""Part of a path -> the name of a part. The first that fits counts; the innermost frame that fits any is the part."""


def profile(bench: Bench) -> None:
    """Sample reads at ttl 0 and with the cache. The rest of the time belongs to the server."""
    bench.vault.put(PATH, DATA)
    count = 20 if bench.once else 5000
    seen: collections.Counter[str] = collections.Counter()
    names: dict[str, str | None] = {}

    def part(file: str) -> str | None:
        if file not in names:
            names[file] = next((name for mark, name in PARTS if mark in file), None)
        return names[file]

    def look(_: int, frame: FrameType | None) -> None:
        while frame is not None:
            if name := part(frame.f_code.co_filename):
                seen[name] += 1
                return
            frame = frame.f_back

    with manager(bench.vault, ttl=0) as ours, bench.placement.pinned():
        ours.get_secret(PATH)
        wall, processor = time.perf_counter(), time.process_time()
        for _ in range(count):  # unsampled: the looks take time too
            ours.get_secret(PATH, fresh=True)
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
        before = signal.signal(signal.SIGALRM, look)
        signal.setitimer(signal.ITIMER_REAL, INTERVAL, INTERVAL)
        try:
            for _ in range(count):
                ours.get_secret(PATH, fresh=True)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
    every = sum(seen.values()) or 1
    shares = {name: number / every for name, number in seen.items()}
    bench.results["profile"] = {"wall": wall / count, "processor": processor / count, "shares": shares}
    bench.say(f"profile: {wall / count * 1e6:.0f} µs")
