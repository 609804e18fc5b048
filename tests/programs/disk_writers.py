"""Processes that change one disk cache without a pause, and are killed at random points. Run as a program.

    python disk_writers.py FOLDER KILLS

It prints a JSON object of what was wrong: writers that ended by themselves, and what the cache holds in the end. The
writers are forked by a process with one thread, so that each starts at once.
"""

import json
import logging
import os
import random
import signal
import sys
import time
from pathlib import Path

from strongroom._config import CacheConfig
from strongroom._disk_cache.container import Container
from strongroom._disk_cache.maintenance import verify
from strongroom._disk_cache.store_cache import StoreCache
from strongroom._plugins.identity import StoreIdentity
from strongroom.secret import Secret

WRITERS = 8
PATHS = [f"app/{number}" for number in range(24)]


class Faults(logging.Handler):
    """Ends the process if the cache finds damage: a writer that is killed leaves none."""

    def emit(self, record):
        if "damaged" in record.getMessage():
            os._exit(4)


def open_cache(folder):
    config = CacheConfig(max_bytes=1 << 20)
    return StoreCache(Container(folder, config.max_bytes), "vault", lambda: StoreIdentity({"plugin": "vault"}), config)


def is_right(path, secret):
    """Each value repeats its path and one number, so that half of one would show."""
    parts = secret.data["k"].split("|")
    return len(set(parts)) == 1 and parts[0].startswith(f"{path}:")


def write_for_ever(folder, seed):
    chance, number = random.Random(seed), 0
    logging.getLogger("strongroom").addHandler(Faults())
    while True:
        cache, path = open_cache(folder), chance.choice(PATHS)
        number += 1
        value = "|".join([f"{path}:{seed}:{number}"] * chance.randrange(1, 400))
        if chance.random() < 0.2:
            cache.forget(path)
        else:
            cache.fetch(path, lambda path=path, value=value: Secret(path, {"k": value}), fresh=True)
        found = cache.current(chance.choice(PATHS))
        if found is not None and not is_right(found.path, found):
            os._exit(3)


def start(folder, seed):
    child = os.fork()
    if child == 0:
        try:
            write_for_ever(folder, seed)
        finally:
            os._exit(5)
    return child


def main(folder, kills):
    chance, ended = random.Random(kills), []
    writers = [start(folder, seed) for seed in range(WRITERS)]
    cache, ends = open_cache(folder), time.monotonic() + 60
    while not any(cache.current(path) for path in PATHS):
        assert time.monotonic() < ends
        time.sleep(0.01)
    for seed in range(kills):
        time.sleep(chance.uniform(0.001, 0.04))  # a random point, not a wait for anything
        victim = writers.pop(chance.randrange(WRITERS))
        writers.append(start(folder, WRITERS + seed))
        os.kill(victim, signal.SIGKILL)
        ended.append(os.waitpid(victim, 0)[1])
    for writer in writers:
        os.kill(writer, signal.SIGKILL)
        ended.append(os.waitpid(writer, 0)[1])
    held = {path: cache.current(path) for path in PATHS}
    checked = verify(folder)
    found = {
        "ended by themselves": sum(status != signal.SIGKILL for status in ended),
        "wrong": [path for path, secret in held.items() if secret is not None and not is_right(path, secret)],
        "damaged": checked.damaged,
        "faults": list(checked.faults),
    }
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
