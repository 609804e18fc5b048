"""Processes that are killed while they change the disk cache."""

import json
import os
import subprocess
import sys
from pathlib import Path

from programs import disk_writers
from strongroom.secret import Secret

KILLS = os.environ.get("TEST_DISK_CACHE_KILLS", "20")


def test_writers_that_are_killed_at_random_points_leave_no_damage(tmp_path):
    """Eight at a time. At most the entries in flight are lost, and the next process continues."""
    folder = tmp_path / "cache"
    command = [sys.executable, str(Path(disk_writers.__file__)), str(folder), KILLS]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=100 + int(KILLS))
    found = json.loads(done.stdout)
    assert found == {"ended by themselves": 0, "wrong": [], "damaged": 0, "faults": []}
    cache = disk_writers.open_cache(folder)
    secret = Secret("app/new", {"k": "v"})
    assert cache.fetch("app/new", lambda: secret) is secret
    assert cache.current("app/new").data["k"] == "v"
