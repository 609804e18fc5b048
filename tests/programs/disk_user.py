"""A process that uses a disk cache on a faulty disk: it reads, writes, and reads again. Run as a program.

    python disk_user.py FOLDER BEFORE AFTER [LIMIT]

The store has the value BEFORE until this process writes AFTER. It prints both values that it read, and its warnings,
as JSON. With a LIMIT, no file can grow beyond that many bytes.
"""

import json
import logging
import resource
import sys
from pathlib import Path

from programs.disk_writers import open_cache
from strongroom.secret import Secret

PATH = "db/app"


class Warnings(logging.Handler):
    """Collects the warnings."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.texts = []

    def emit(self, record):
        self.texts.append(record.getMessage())


def read(cache, value):
    """Read the secret, which has this value in the store."""
    return cache.fetch(PATH, lambda: Secret(PATH, {"k": value})).data["k"]


def main(folder, before, after, limit=0):
    warnings = Warnings()
    logging.getLogger("strongroom").addHandler(warnings)
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), resource.RLIM_INFINITY))
    cache = open_cache(Path(folder))
    found = [read(cache, before)]
    cache.forget(PATH)  # as a write does
    found.append(read(cache, after))
    sys.stdout.write(json.dumps({"read": found, "warnings": warnings.texts}))


if __name__ == "__main__":
    main(*sys.argv[1:])
