"""New virtual environments with nothing but the wheel of this tree and named packages."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[2]
for_pip: dict[str, str] = {}
"""The caller's environment, which conftest.py hides from tests: the proxies, and the home that has the cache of pip."""


def build_wheel(folder: Path) -> Path:
    """Build the wheel of this tree in this folder, and return its file."""
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True, timeout=300)
    (file,) = folder.glob("*.whl")
    return file


def new_environment(folder: Path, wheel: Path, requirements: Iterable[str]) -> Path:
    """Install these requirements in a new environment, `strongroom` from the wheel, and return the folder of programs.

    The environment is made without pip, which would be one more package.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    programs = folder / "bin"
    packages = [re.sub(r"^strongroom(?=\[|$)", str(wheel), each) for each in requirements]
    pip = [sys.executable, "-m", "pip", "--python", str(programs / "python"), "install", "--quiet", "--no-compile"]
    done = subprocess.run([*pip, *packages], env=for_pip, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return programs
