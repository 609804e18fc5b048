"""Writers of one audit log that are killed at any moment leave a chain that verifies, and whose writers go on."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

from strongroom.audit_log.log_file import Hasher, LogFile
from strongroom.audit_log.verification import verify

KILLS = int(os.environ.get("TEST_AUDIT_KILLS", "3"))
"""The long form kills one of eight writers 100 times."""
WRITERS = min(KILLS, 8)
LIMIT = 60.0

WRITER = """
import sys
from pathlib import Path
from strongroom.audit_log.log_file import LogFile
from strongroom.audit_log.log_file import Hasher

log = LogFile(Path(sys.argv[1]), Hasher(bytes(32)), max_size=60_000)
for number in range(10**9):
    log.append([{"event": "read", "path": f"app/{number}"}], {"event": "log", "outcome": "torn"}, sync=False)
    if not number:
        print("begun", flush=True)
"""


def start(file: Path) -> subprocess.Popen[bytes]:
    """Start a writer that has written a record when this returns."""
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(file)], stdout=subprocess.PIPE)
    assert writer.stdout is not None
    assert writer.stdout.readline() == b"begun\n"
    return writer


def test_killed_writers_leave_one_chain(tmp_path, pytestconfig):
    """Each kill comes at a random moment; another writer takes the place of the killed one."""
    file, hasher = tmp_path / "log.jsonl", Hasher(bytes(32))
    choice = random.Random(4711)
    writers = [start(file) for _ in range(WRITERS)]
    try:
        for kill in range(KILLS):
            time.sleep(choice.uniform(0.0, 0.02))
            place = kill % WRITERS
            writers[place].kill()
            writers[place].wait(LIMIT)
            writers[place].stdout.close()
            if kill + WRITERS < KILLS:
                writers[place] = start(file)
    finally:
        for writer in writers:
            writer.kill()
            writer.wait(LIMIT)
            writer.stdout.close()
    before = verify(file, hasher)
    assert before.fault is None
    LogFile(file, hasher).append([{"event": "read"}], {"event": "log", "outcome": "torn"}, sync=False)
    after = verify(file, hasher)
    assert (after.fault, after.unfinished) == (None, 0)
    assert after.records > before.records >= WRITERS
    found = f"{KILLS} kills: {after.records:,} records, {len(after.files)} files, {len(after.repaired)} torn lines"
    pytestconfig.get_terminal_writer().line(found)
