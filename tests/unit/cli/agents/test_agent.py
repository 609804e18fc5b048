"""The file of `agent run --learn`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from strongroom._cli.agents import agent

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs private files")


@pytest.fixture
def session():
    redactor = SimpleNamespace(whole=lambda content: content)
    return SimpleNamespace(observed=set(), rules=(), redactor=lambda: redactor)


def test_a_file_without_rules_is_removed(session, tmp_path):
    """As after a listener that cannot be made: the next run makes it again."""
    file = tmp_path / "learned.toml"

    def fail() -> None:
        with agent._learned(file, session):
            assert file.stat().st_mode & 0o777 == 0o600
            raise LookupError

    with pytest.raises(LookupError):
        fail()
    assert not file.exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux")
def test_a_full_disk_is_told_and_is_no_error(capsys, monkeypatch, session, tmp_path):
    """The command has run, and its exit code counts."""
    monkeypatch.setattr(agent.private, "open_file", lambda *_: os.open("/dev/full", os.O_WRONLY))
    with agent._learned(tmp_path / "learned.toml", session):
        pass
    assert capsys.readouterr().err.endswith("learned.toml: No space left on device\n")
