"""A process whose store hangs in each call. Run as a program.

    python hanging_process.py STORE ENDING

STORE is `blocking` or `asynchronous`. The process reads once without an event loop and once in one, and prints the
reason of each outage. ENDING is `close`, to close the manager at the end, or `exit`.
"""

import asyncio
import subprocess
import sys
import threading

from strongroom import SecretsManager, StoreUnavailableError
from strongroom.store import AsyncSecretStore, time_limit


class Blocking:
    def read(self, path):
        threading.Event().wait()

    close = read_many = list_entries = lambda self, *_: threading.Event().wait()


class Asynchronous(AsyncSecretStore):
    async def aread(self, path):
        await asyncio.Event().wait()

    async def aclose(self):
        await asyncio.Event().wait()


STORES = {"blocking": Blocking, "asynchronous": Asynchronous}


def output_of(store, ending):
    """Run the process, and return its output."""
    program = [sys.executable, __file__, store, ending]
    done = subprocess.run(program, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


async def read(manager):
    with time_limit(0.1):
        await manager.aget_secret("a/b", "key")


def main(store, ending):
    manager = SecretsManager(chain=[STORES[store]()])
    for call in (lambda: manager.get_secret("a/b", "key"), lambda: asyncio.run(read(manager))):
        try:
            with time_limit(0.1):
                call()
        except StoreUnavailableError as error:
            sys.stdout.write(f"{error.reason}\n")
    if ending == "close":
        manager.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
