"""The file of `agent run --learn`, and the address of `agent serve --listen`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import click
import pytest

from strongroom._cli.agents import agent

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs private files")


@pytest.fixture
def session():
    redactor = SimpleNamespace(whole=lambda content: content)
    return SimpleNamespace(observed=set(), rules=(), redactor=lambda: redactor)


def test_the_file_is_private_and_new(capsys, session, tmp_path):
    """The command may have made one meanwhile, which is not taken."""
    file = tmp_path / "learned.toml"
    agent._write_learned(file, session)
    assert file.stat().st_mode & 0o777 == 0o600
    agent._write_learned(file, session)
    told = capsys.readouterr().err.splitlines()
    assert [line.partition(": ")[2] for line in told] == [
        f"Wrote rules for 0 requests to {file}: review them",
        f"Cannot write the rules: {file}: File exists",
    ]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux")
def test_a_full_disk_is_told_and_is_no_error(capsys, monkeypatch, session, tmp_path):
    """The command has run, and its exit code counts."""
    monkeypatch.setattr(agent.private, "open_file", lambda *_: os.open("/dev/full", os.O_WRONLY))
    agent._write_learned(tmp_path / "learned.toml", session)
    assert capsys.readouterr().err.endswith("learned.toml: No space left on device\n")


@pytest.mark.parametrize("text", ["127.0.0.1:0", "127.0.0.1:99999", "127.0.0.1:", ":3128", "127.0.0.1", "3128"])
def test_an_address_to_listen_on_has_a_host_and_a_port(text):
    """Port 0 would be any port, which worker.env could not name."""
    with pytest.raises(click.UsageError, match=r"--listen must be HOST:PORT, with a port from 1 to 65535"):
        agent._parse_address(text)


def test_an_address_of_ipv6_is_in_brackets():
    assert agent._parse_address("[::1]:65535") == ("::1", 65535)
