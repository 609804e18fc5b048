"""The command line as a module of Python."""

import subprocess
import sys
from pathlib import Path

import strongroom


def test_python_runs_the_command_line_as_a_module(tmp_path: Path) -> None:
    """For a Python whose folder of scripts is not on PATH. No module of the working directory takes click's place."""
    (tmp_path / "click.py").write_text('print("stranger")')
    done = subprocess.run(
        (sys.executable, "-m", "strongroom", "--verbose", "--version"),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=tmp_path,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{strongroom.__version__}\n", "")
