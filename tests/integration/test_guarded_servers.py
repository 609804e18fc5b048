"""Servers such as moto end with the tests that started them."""

import os
import select
import signal
import subprocess
import sys

from support.clock import LONG

_TESTS = """
import sys
from support.services import guarded
sys.stdout.write(f"{guarded.start(['sleep', '600']).pid}\\n")
sys.stdout.flush()
sys.stdin.read()
"""


def test_a_server_ends_with_tests_that_are_killed():
    """An interrupted run would leave a server for each time, which takes memory and ports."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", _TESTS], env=environment, **pipes) as tests:
        assert tests.stdout is not None
        server = os.pidfd_open(int(tests.stdout.readline()))
        tests.send_signal(signal.SIGKILL)
    try:
        ready, _, _ = select.select([server], [], [], LONG)
        assert ready
    finally:
        os.close(server)
