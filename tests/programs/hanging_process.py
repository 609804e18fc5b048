"""A process whose store hangs in each call. Run as a program.

    python hanging_process.py ENDING

The process reads, writes and lists once without an event loop and once in one, and prints a line for each outage, whose
reason depends on when the time is over. ENDING is `close`, to close the manager at the end, or `exit`.
"""

import asyncio
import os
import subprocess
import sys
import threading
from pathlib import Path

from strongroom import SecretsManager, StoreUnavailableError
from strongroom.store import time_limit
from support.clock import LONG


class Blocking:
    def read(self, path):
        threading.Event().wait()

    close = read_many = list_entries = write = delete = lambda self, *_: threading.Event().wait()


def output_of(ending):
    """Run the process, and return its output."""
    program = [sys.executable, __file__, ending]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(program, env=environment, capture_output=True, text=True, timeout=LONG, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


CALLS = (
    ("get_secret", ("a/b", "key")),
    ("set_secret", ("a/b", {"key": "value"})),
    ("list_secrets", ("a",)),
)


def blocked(manager, name, arguments):
    getattr(manager, name)(*arguments)


def awaited(manager, name, arguments):
    asyncio.run(getattr(manager, f"a{name}")(*arguments))


def main(ending):
    manager = SecretsManager(chain=[Blocking()])
    for name, arguments in CALLS:
        for call in (blocked, awaited):
            try:
                with time_limit(0.1):
                    call(manager, name, arguments)
            except StoreUnavailableError:
                sys.stdout.write("unavailable\n")
    if ending == "close":
        manager.close()


if __name__ == "__main__":
    main(sys.argv[1])
