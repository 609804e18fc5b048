"""A process that works with encrypted columns until its stdin is closed, or rewraps one.

`work CONFIG URL ROWS SHARE SHARES PAUSE` prints, at its end, a JSON document of its writers and readers: values
that could not be read, other errors, and the last value of each row that it has written.
`rewrap CONFIG URL COLUMN` prints a line for each batch.
"""

from __future__ import annotations

import json
import random
import sys
import threading
from pathlib import Path

from sqlalchemy import create_engine, select, update

from strongroom import SecretsManager, set_default_manager
from strongroom.errors import DecryptionError
from strongroom.integrations.sqlalchemy import rewrap
from support.scenarios.columns import Customer

WRITERS, READERS, MOST = 2, 2, 20


class Work:
    def __init__(self, engine, rows, share, shares, pause):
        self._engine = engine
        self._rows = rows
        self._share = share
        self._shares = shares
        self._pause = pause
        self._end = threading.Event()
        self._lock = threading.Lock()
        self.found = {"read": 0, "written": 0, "unreadable": [], "errors": [], "last": {}}

    def run(self):
        threads = [threading.Thread(target=self._loop, args=(self._write, number)) for number in range(WRITERS)]
        threads += [threading.Thread(target=self._loop, args=(self._read, number)) for number in range(READERS)]
        for thread in threads:
            thread.start()
        say("ready")
        sys.stdin.read()
        self._end.set()
        for thread in threads:
            thread.join()

    def _loop(self, act, number):
        draw, count = random.Random(self._share * 100 + number), 0
        while not self._end.wait(self._pause):
            count += 1
            try:
                act(draw, number, count)
            except DecryptionError as error:
                self._note("unreadable", error)
            except Exception as error:  # noqa: BLE001  # the test wants none
                self._note("errors", error)

    def _note(self, kind, error):
        with self._lock:
            self.found[kind].append(f"{type(error).__name__}: {error}"[:300])

    def _write(self, draw, number, count):
        """Only one writer writes a row, so that its last value is known."""
        part = self._share * WRITERS + number
        row = draw.randrange(self._rows // (self._shares * WRITERS)) * self._shares * WRITERS + part
        value = f"{row}:{part}:{count}"
        with self._engine.begin() as connection:
            connection.execute(update(Customer).where(Customer.id == row).values(iban=value, note=value))
        with self._lock:
            self.found["last"][row] = value
            self.found["written"] += 1

    def _read(self, draw, _number, _count):
        start = draw.randrange(self._rows)
        query = select(Customer.id, Customer.iban, Customer.note).where(Customer.id >= start).limit(MOST)
        with self._engine.connect() as connection:
            rows = connection.execute(query).all()
        assert all(iban.startswith(f"{row}:") and note.startswith(f"{row}:") for row, iban, note in rows)
        with self._lock:
            self.found["read"] += 2 * len(rows)


def say(line):
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main(command, config, url, *arguments):
    engine = create_engine(url)
    with SecretsManager.from_config(Path(config)) as manager:
        set_default_manager(manager)
        if command == "rewrap":
            rewrap(engine, getattr(Customer, arguments[0]), progress=say)
            return
        *numbers, pause = arguments
        work = Work(engine, *map(int, numbers), float(pause))
        work.run()
        set_default_manager(None)
    say(json.dumps(work.found))


if __name__ == "__main__":
    main(*sys.argv[1:])
