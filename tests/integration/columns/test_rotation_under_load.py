"""The key of two columns rotates while processes read and write them: nothing is unreadable, and no update is lost.

`nox -s columns` runs the whole form: 100,000 rows, three rotations, five kills of the rewrap.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sqlalchemy import create_engine, insert, select, text
from sqlalchemy.engine import URL

from programs import column_process
from strongroom import SecretsManager, set_default_manager
from strongroom.integrations.sqlalchemy import key_usage
from support.scenarios.columns import FIRST_KEY, KEYSET, Base, Customer

pytestmark = pytest.mark.long

ROWS = int(os.environ.get("TEST_COLUMN_ROWS", "2000"))
GRACES = [float(grace) for grace in os.environ.get("TEST_COLUMN_GRACES", "1,0").split(",")]
"""Seconds of grace of each rotation."""

KILLS = int(os.environ.get("TEST_COLUMN_KILLS", "1"))
WATCH = float(os.environ.get("TEST_COLUMN_WATCH", "1"))
"""Seconds until a process notices a rotation, unless it reads a text of the new key. The rewrap waits for it."""

PAUSE = float(os.environ.get("TEST_COLUMN_PAUSE", "0.01"))
"""Seconds between two statements of a worker's thread."""

PROCESSES = 2
CHUNK = 5000


class Columns:
    """A keyset in OpenBao, a table in PostgreSQL, and processes that work with both."""

    def __init__(self, openbao, postgres, folder):
        mount = openbao.fresh_mount(version=2)
        self._config = folder / "strongroom.toml"
        vault = f'url = "{openbao.url}"\ntoken = "{openbao.token}"\nmount = "{mount}"\n'
        self._chain = f'chain = [{{ store = "vault", watch_interval = {WATCH} }}]\n[stores.vault]\n{vault}'
        self.configure(0)
        openbao.put(KEYSET, {"key": FIRST_KEY}, mount=mount)
        where = {"host": "127.0.0.1", "port": postgres.port, "database": "postgres"}
        self.url = URL.create("postgresql+psycopg", username="postgres", password=postgres.password, **where)
        self.engine = create_engine(self.url)
        self._started = []
        self.manager = SecretsManager.from_config(self._config)
        self._before = set_default_manager(self.manager)
        Base.metadata.create_all(self.engine)
        with self.engine.begin() as connection:
            for start in range(0, ROWS, CHUNK):
                numbers = range(start, min(start + CHUNK, ROWS))
                connection.execute(
                    insert(Customer), [{"id": row, "iban": f"{row}:0", "note": f"{row}:0"} for row in numbers]
                )

    def configure(self, grace):
        """Write the configuration, with this grace time."""
        rotation = f'[rotation."{KEYSET}"]\nrotator = "encryption-key"\ngrace = {grace}\n'
        self._config.write_text(self._chain + rotation, "utf-8")

    def rotate(self, grace):
        """Rotate the keyset, and wait for the end of its grace time."""
        self.configure(grace)
        with SecretsManager.from_config(self._config) as operator:
            if operator.rotations.rotate(KEYSET).unfinished:
                time.sleep(grace)
                assert not operator.rotations.resume(KEYSET).unfinished

    def start(self, command, *arguments):
        """Start a process, which ends with the test."""
        url = self.url.render_as_string(hide_password=False)
        environment = {**os.environ, "PYTHONPATH": str(Path(column_process.__file__).parents[1])}
        process = subprocess.Popen(
            [sys.executable, column_process.__file__, command, str(self._config), url, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self._started.append(process)
        return process

    def rewrap(self, column, kills, draw):
        """Rewrap a column by a process that is killed this often, and then by one that ends."""
        batches = ROWS // 500
        for _ in range(kills):
            with self.start("rewrap", column) as process:
                for _ in range(draw.randint(1, max(1, batches // (kills + 1)))):
                    process.stdout.readline()
                process.kill()
        with self.start("rewrap", column) as process:
            process.communicate()
        assert process.returncode == 0

    def close(self):
        """End the processes, and drop the table."""
        for process in self._started:
            if process.poll() is None:
                process.kill()
                process.communicate()
        Base.metadata.drop_all(self.engine)
        self.engine.dispose()
        set_default_manager(self._before)
        self.manager.close()


@pytest.fixture
def columns(openbao, postgres, tmp_path):
    columns = Columns(openbao, postgres, tmp_path)
    yield columns
    columns.close()


@pytest.mark.timeout(3600)
def test_the_key_rotates_and_nothing_is_unreadable_or_lost(columns, capsys):
    draw = random.Random(40)
    workers = [columns.start("work", ROWS, share, PROCESSES, PAUSE) for share in range(PROCESSES)]
    for worker in workers:
        assert worker.stdout.readline() == "ready\n"
    for grace in GRACES:
        columns.rotate(grace)
        for column, kills in (("iban", KILLS - KILLS // 2), ("note", KILLS // 2)):
            columns.rewrap(column, kills, draw)
    found = [json.loads(worker.communicate(timeout=120)[0]) for worker in workers]
    assert [each["unreadable"] for each in found] == [[], []]
    assert [each["errors"] for each in found] == [[], []]

    last = {int(row): value for each in found for row, value in each["last"].items()}
    with columns.engine.connect() as connection:
        rows = connection.execute(select(Customer.id, Customer.iban, Customer.note)).all()
    assert len(rows) == ROWS
    wanted = {row: last.get(row, f"{row}:0") for row, _, _ in rows}
    lost = [row for row, iban, note in rows if not iban == note == wanted[row]]
    assert not lost

    usage = key_usage(columns.engine, Base.metadata, KEYSET)
    assert len(usage) == len(GRACES) + 2
    assert usage[""] == 0
    assert sum(usage.values()) == 2 * ROWS
    with columns.engine.connect() as connection:
        shown = connection.execute(text("SELECT min(iban), max(note) FROM customer")).one()
    assert all(value.startswith("sr1.") for value in shown)
    read, written = (sum(each[kind] for each in found) for kind in ("read", "written"))
    with capsys.disabled():
        sys.stdout.write(f"\n{read:,} values read, {written:,} rows written, none unreadable or lost. Keys: {usage}\n")
