"""The suite does not depend on the environment and the umask of the caller."""

import os
import subprocess
import sys

import pytest

from support.scenarios.pages import ROOT

pytestmark = pytest.mark.long

AMBIENT = {
    "AWS_PROFILE": "nosuch",
    "COLUMNS": "20",
    "LINES": "5",
    "PGHOST": "/nowhere",
    "PYTHONPATH": str(ROOT / "tests"),
    "STRONGROOM_CONFIG": "/no/such",
    "http_proxy": "http://127.0.0.1:9",
}
"""PYTHONPATH lets the plugin below be found."""

TEST = f"""
import os
from multiprocessing.connection import Listener
from pathlib import Path
import pytest

@pytest.fixture(scope="session")
def seen():
    umask = os.umask(0o022)
    os.umask(umask)
    return os.environ.keys() & {sorted(AMBIENT)!r}, umask, os.listdir(Path.home())

def test_seen(seen):
    found, umask, files = seen
    assert (found, umask) == (set(), 0o022)
    assert ".config" not in files
    Listener(family="AF_UNIX").close()
"""


@pytest.mark.parametrize(("workers", "umask"), [([], 0o000), (["-n", "1"], 0o077)])
def test_a_fixture_of_the_session_sees_neither(tmp_path, workers, umask):
    """It comes before the fixtures of a test, and its server lasts. A socket has room, however long TMPDIR is."""
    (tmp_path / "test_seen.py").write_text(TEST, "utf-8")
    (tmp_path / "home" / ".config").mkdir(parents=True)
    temporary = tmp_path / ("long" * 25)
    temporary.mkdir()
    options = ["-c", str(ROOT / "pyproject.toml"), f"--rootdir={tmp_path}", "-p", "conftest", *workers]
    environ = {name: text for name, text in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(tmp_path / "test_seen.py")],
        env=environ | AMBIENT | {"HOME": str(tmp_path / "home"), "TMPDIR": str(temporary)},
        umask=umask,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
