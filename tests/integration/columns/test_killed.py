"""Rotations of a keyset in OpenBao, resumes and undos that kill -9 ends at any boundary: no key is lost."""

from __future__ import annotations

import itertools
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from programs import rotation_process
from strongroom.encryption import Keyset
from support.scenarios.columns import FIRST_KEY, KEYSET

pytestmark = pytest.mark.long

KILLS = int(os.environ.get("TEST_COLUMN_ROTATION_KILLS", "12"))
"""`nox -s columns` kills 150 times."""

MOST_BOUNDARIES = 22


@pytest.fixture
def run(openbao, tmp_path):
    """A function that runs a command of the rotation until a boundary, and one that returns the keyset."""
    mount = openbao.fresh_mount(version=2)
    vault = f'url = "{openbao.url}"\ntoken = "{openbao.token}"\nmount = "{mount}"\n'
    rotation = f'[rotation."{KEYSET}"]\nrotator = "encryption-key"\n'
    config = tmp_path / "strongroom.toml"
    config.write_text(f'chain = ["vault"]\n[stores.vault]\n{vault}{rotation}', "utf-8")
    openbao.put(KEYSET, {"key": FIRST_KEY}, mount=mount)
    process = subprocess.Popen(
        [sys.executable, rotation_process.__file__, str(config), KEYSET],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(rotation_process.__file__).parents[1])},
    )

    def command(name, boundary=0):
        process.stdin.write(f"{name} {boundary}\n")
        process.stdin.flush()
        return process.stdout.readline().strip()

    yield command, lambda: Keyset.parse(openbao.call("GET", f"{mount}/data/{KEYSET}")["data"]["data"])
    process.communicate(timeout=30)


@pytest.mark.timeout(1200)
def test_no_key_that_has_encrypted_is_lost(run):
    """Each keyset that a process could have seen has encrypted a text. Every such key is there at the end."""
    command, keyset = run
    draw, used, killed = random.Random(40), {keyset().encrypting}, 0
    boundaries = itertools.count(1)
    while killed < KILLS:
        names = ["rotate", draw.choice(["resume", "undo"]), draw.choice(["resume", "undo"])]
        for name, boundary in zip(names, [next(boundaries) % MOST_BOUNDARIES + 1, draw.randint(1, 16), 0], strict=True):
            killed += command(name, boundary) == "killed"
            found = keyset()
            used.add(found.encrypting)
            assert used <= found.keys.keys(), (name, boundary)
    assert command("rotate") == "done" or command("rotate") == "done"
    assert keyset().previous is None
    assert used <= keyset().keys.keys()
