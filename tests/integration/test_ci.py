"""The questions and refusals of `.ci/run`, with a Python and a Debian that stand in for those of the machine."""

import os
import subprocess
from pathlib import Path

import pexpect
import pytest

from support.programs import DEBIAN

RUN = Path(__file__).parents[2] / ".ci" / "run"
QUESTION = "for the guides? [y/N] "

pytestmark = [pytest.mark.long, pytest.mark.skipif(os.geteuid() != 0, reason="only root installs packages")]


_PYTHON = """
case $1 in
  -c) echo "$0" ;;
  *) mkdir -p .venv/bin; for name in pip strongroom pytest; do ln -s "{line}" .venv/bin/$name; done ;;
esac"""

_LINE = """
case $0 in
  *pytest) echo "the tests" >>"{asked}"; {{ pwd; umask; ls -A ~; ls "$PATH"; env -0; }} >"{seen}" ;;
esac"""


@pytest.fixture
def machine(tmp_path, monkeypatch) -> Path:
    """A machine without Debian's packages, whose Python makes environments in which all programs do nothing.

    A run ends at the first check after the README's lines. The file holds the commands of apt-get, after a line for the
    tests of the stranger, and `seen` beside it what these had. No program changes the user.
    """
    asked, line = tmp_path / "asked", tmp_path / "line"
    programs = {
        "tar": "exit 0",
        "dpkg": "exit 1",
        "useradd": "exit 0",
        "userdel": "exit 0",
        "setpriv": "exit 1",
        "apt-get": f'echo "$*" >>"{asked}"',
        "python9.9": _PYTHON.format(line=line),
        "line": _LINE.format(asked=asked, seen=tmp_path / "seen"),
    }
    for name, body in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return asked


def test_a_stranger_runs_the_lines_of_the_readme_first(machine, monkeypatch):
    """Nothing is installed yet, no program of Debian that tests may need is on PATH, and variables must not count."""
    monkeypatch.setenv("PIP_INDEX_URL", "https://mirror.example/simple")
    monkeypatch.setenv("VAULT_ADDR", "https://vault.example")
    subprocess.run([RUN, "9.9"], stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=60)
    first, *later = machine.read_text().splitlines()
    assert first == "the tests"
    assert all("install" in line or "update" in line for line in later)
    seen, *entries = machine.with_name("seen").read_text().split("\0")
    folder, umask, *programs = seen.splitlines()
    variables = dict(entry.split("=", 1) for entry in [programs.pop(), *entries] if entry)
    assert (" " in folder, umask) == (True, "0002")
    assert {"python3", "sh", "bash"} <= {*programs}
    assert not {*programs} & {*DEBIAN}
    given = {
        "AWS_PROFILE",
        "HOME",
        "PATH",
        "PWD",
        "STRONGROOM_CONFIG",
        "TEST_SKIPPED",
        "TMPDIR",
        "OLDPWD",
        "SHLVL",
        "_",
    }
    assert given - {*variables} <= {"OLDPWD"}
    assert not [name for name in variables.keys() - given if not name.startswith(("PIP_", "SSL_", "REQUESTS_"))]
    assert variables["PIP_INDEX_URL"] == "https://mirror.example/simple"
    assert (variables["AWS_PROFILE"], variables["STRONGROOM_CONFIG"]) == ("nosuch", "/no/such")


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
