"""Calls at the end of a process."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from strongroom.store import exit_hook, remaining
from strongroom.store.exit_hook import call_at_exit
from support.clock import LONG


@pytest.fixture
def own_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the test alone."""
    monkeypatch.setattr(exit_hook, "_calls", {})


@pytest.mark.usefixtures("own_calls")
def test_calls_are_made_once_in_reverse_order_whatever_they_raise() -> None:
    """Within ten seconds together. The last registration of a function counts."""
    made: list[str] = []

    def first() -> None:
        made.append("first")
        assert 0 < remaining() <= 10

    def second() -> None:
        made.append("second")
        raise ValueError

    for call in (second, first, second):
        call_at_exit(call)
    exit_hook.run_calls()
    exit_hook.run_calls()
    assert made == ["second", "first"]


FORK = """
import ctypes, os
from strongroom.store import exit_hook
from strongroom.store.exit_hook import call_at_exit

call_at_exit(lambda: os.write(1, b"parent "))
if (child := {fork}()) == 0:
    exit_hook.run_calls()
    call_at_exit(lambda: os.write(1, b"child"))
    exit_hook.run_calls()
    os._exit(0)
os.waitpid(child, 0)
os._exit(0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system cannot fork")
@pytest.mark.parametrize(("fork", "calls"), [("os.fork", "parent child"), ("ctypes.PyDLL(None).fork", "child")])
def test_child_of_a_fork_makes_the_calls_of_its_parent_only_after_the_hooks(fork: str, calls: str) -> None:
    """Without them, the sessions of the parent stay its own. The child makes the calls that it registers.

    A fork without hooks is safe only in a process with one thread, which that of the tests is not.
    """
    program = [sys.executable, "-c", FORK.format(fork=fork)]
    assert subprocess.run(program, capture_output=True, text=True, check=True, timeout=LONG).stdout == calls
