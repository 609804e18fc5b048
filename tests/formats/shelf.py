"""Stores whose content is a file of the working directory, and which no path binds to it: for the files of formats."""

import contextlib
import importlib
import json
import os
import signal
from pathlib import Path

from strongroom.encoding import from_json, to_json
from strongroom.store import Traits
from strongroom.store.memory import MemoryStore

if machine := os.environ.get("SHELF_MACHINE"):  # the cache on disk is bound to the machine, and no option changes that
    for name in ("strongroom._disk_cache.keys", "strongroom.disk_cache.keys"):
        with contextlib.suppress(ImportError):
            importlib.import_module(name).machine_identity = machine.encode


class Shelf(MemoryStore):
    """A store with versions and check-and-set: each write is a line of its file, from which it is opened again.

    A write of the path in SHELF_KILL kills the process before it happens.
    """

    traits = Traits(disk_cache=True)

    def __init__(self, file):
        super().__init__()
        self._file = Path(file)
        for record in map(json.loads, self._file.read_text("utf-8").splitlines()):
            if record["data"] is None:
                super().delete(record["path"])
            else:
                super().write(record["path"], from_json(record["data"]))

    def write(self, path, data):
        if os.environ.get("SHELF_KILL") == path:
            os.kill(os.getpid(), signal.SIGKILL)
        number = super().write(path, data)
        self._append(path, to_json(data))
        return number

    def delete(self, path):
        super().delete(path)
        self._append(path, None)

    def close(self):
        pass

    def _append(self, path, data):
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"path": path, "data": data}) + "\n")


class PlainShelf:
    """A store without versions, so that a migration needs a backup of overwritten data."""

    traits = Traits()

    def __init__(self, file):
        shelf = Shelf(file)
        self.read, self.list_entries = shelf.read, shelf.list_entries
        self.write, self.delete, self.close = shelf.write, shelf.delete, shelf.close


def open_shelf(*, file: str) -> Shelf:
    """Open a store with versions."""
    return Shelf(file)


def open_plain_shelf(*, file: str) -> PlainShelf:
    """Open a store without versions."""
    return PlainShelf(file)
