"""The file of `agent run --learn`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from strongroom._cli.agents import learned_rules

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs private files")


def test_a_file_without_rules_is_removed(tmp_path):
    """As after a secret that cannot be read: the next run makes it again."""
    file = tmp_path / "learned.toml"

    def fail() -> None:
        with learned_rules.created(file):
            assert file.stat().st_mode & 0o777 == 0o600
            raise LookupError

    with pytest.raises(LookupError):
        fail()
    assert not file.exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux")
def test_a_full_disk_is_told_and_is_no_error(capsys, tmp_path):
    """The command has run, and its exit code counts."""
    redactor = SimpleNamespace(whole=lambda content: content)
    session = SimpleNamespace(observed=set(), rules=(), redactor=lambda: redactor)
    descriptor = os.open("/dev/full", os.O_WRONLY)
    learned_rules.write(session, tmp_path / "learned.toml", descriptor)
    os.close(descriptor)
    assert capsys.readouterr().err.endswith("learned.toml: No space left on device\n")
