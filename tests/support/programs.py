"""Programs of Debian that tests need. A module without imports of servers and drivers, which few tests need."""

from __future__ import annotations

import shutil

import pytest


def require(*programs: str) -> None:
    """Skip the test if a program is not installed."""
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
