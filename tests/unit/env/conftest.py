"""What the tests of local stores share: a user whom file modes can stop."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

NOBODY = 65534


@pytest.fixture
def guarded() -> Iterator[Path]:
    """A folder that every user can reach, for files that one of them must not read."""
    folder = Path(tempfile.mkdtemp(prefix="strongroom-test-"))
    folder.chmod(0o755)
    yield folder
    for place in folder.rglob("*"):
        if place.is_dir():
            place.chmod(0o700)
    shutil.rmtree(folder)


@contextmanager
def stopped_by_modes() -> Iterator[None]:
    """As a user without root's rights: root may read whatever its mode says."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(user)


@pytest.fixture
def ordinary_user():
    """The context manager in which file modes hold, for root too."""
    return stopped_by_modes
