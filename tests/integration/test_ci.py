"""The questions and refusals of `.ci/run`, with a Python and a Debian that stand in for those of the machine."""

import os
import subprocess
from pathlib import Path

import pexpect
import pytest

RUN = Path(__file__).parents[2] / ".ci" / "run"
QUESTION = "for the guides? [y/N] "

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root installs packages")


@pytest.fixture
def machine(tmp_path, monkeypatch) -> Path:
    """A machine without Debian's packages, on which no virtual environment can be made: a run ends at its first line.

    The file holds the commands of apt-get.
    """
    asked = tmp_path / "asked"
    programs = {"tar": "exit 0", "dpkg": "exit 1", "apt-get": f'echo "$*" >>{asked}', "python9.9": "echo /bin/false"}
    for name, body in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return asked


@pytest.mark.parametrize(("answer", "installed"), [("y", True), ("", False)])
def test_a_terminal_is_asked_before_docker_is_installed(machine, answer, installed):
    """The other packages start no service."""
    terminal = pexpect.spawn(str(RUN), ["9.9"], encoding="utf-8", timeout=60)
    terminal.expect_exact(QUESTION)
    assert "docker" not in machine.read_text()
    terminal.sendline(answer)
    terminal.expect_exact("FAILED: Python 9.9")
    terminal.expect(pexpect.EOF)
    assert ("docker" in machine.read_text()) is installed


def test_nothing_is_asked_without_a_terminal(machine):
    """In CI nobody answers."""
    done = subprocess.run(
        [RUN, "9.9"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60
    )
    assert QUESTION not in done.stdout + done.stderr
    assert "docker" in machine.read_text()


def test_a_version_that_is_missing_is_refused_before_anything_is_installed(machine):
    """A matrix of versions must not pass if one was never run."""
    done = subprocess.run(
        [RUN, "9.8"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 1
    assert done.stderr == "Python 9.8 is not on this machine\n"
    assert not machine.exists()
