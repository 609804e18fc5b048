"""Servers of tests that end with the process that started them, even if that is killed."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress

from strongroom_vault.dev.server import _GUARDED


def start(command: Sequence[str], *, environment: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    """Start a server without input and output, in a separate session."""
    return subprocess.Popen(
        ["/bin/sh", "-c", _GUARDED, "server", *command],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill a server with its children and its guard."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(30)
    assert process.stdin is not None
    process.stdin.close()
