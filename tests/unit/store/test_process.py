"""Calls at the end of a process, and random factors. `tests/unit/test_locks.py` tests the locks."""

from __future__ import annotations

import os
import random
import subprocess
import sys

import pytest

from strongroom.store import process, remaining
from strongroom.store.process import call_at_exit, random_factor
from support.clock import LONG


@pytest.fixture
def own_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the test alone."""
    monkeypatch.setattr(process, "_calls", {})


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
    process.run_calls()
    process.run_calls()
    assert made == ["second", "first"]


FORK = """
import ctypes, os
from strongroom.store import process
from strongroom.store.process import call_at_exit

call_at_exit(lambda: os.write(1, b"parent "))
if (child := {fork}()) == 0:
    process.run_calls()
    call_at_exit(lambda: os.write(1, b"child"))
    process.run_calls()
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


def test_a_seed_of_the_application_neither_repeats_nor_loses_random_factors() -> None:
    """Workers that all seed with 1 would renew their tokens in one moment."""
    random.seed(1)
    state = random.getstate()
    first = [random_factor() for _ in range(4)]
    random.seed(1)
    assert [random_factor() for _ in range(4)] != first
    assert random.getstate() == state


def test_a_random_factor_lies_between_its_bounds() -> None:
    """By default from 0 to 1."""
    assert all(0.9 <= random_factor(0.9, 1.0) <= 1.0 for _ in range(100))
    assert all(0.0 <= random_factor() <= 1.0 for _ in range(100))
