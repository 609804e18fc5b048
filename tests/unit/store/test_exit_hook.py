"""Calls at the end of a process."""

from __future__ import annotations

import ctypes
import os

import pytest

from strongroom.store import call_at_exit, exit_hook, remaining

pytestmark = pytest.mark.usefixtures("own_calls")


@pytest.fixture
def own_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the test alone."""
    monkeypatch.setattr(exit_hook, "_calls", {})


def test_calls_are_made_once_in_reverse_order_whatever_they_raise() -> None:
    """Within ten seconds together. The last registration of a function counts."""
    made: list[str] = []

    def first() -> None:
        made.append("first")
        assert 9 < remaining() <= 10

    def second() -> None:
        made.append("second")
        raise ValueError

    for call in (second, first, second):
        call_at_exit(call)
    exit_hook._run()
    exit_hook._run()
    assert made == ["second", "first"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system cannot fork")
@pytest.mark.parametrize("hooks", [True, False])
def test_child_of_a_fork_makes_the_calls_of_its_parent_only_after_the_hooks(*, hooks: bool) -> None:
    """Without them, the sessions of the parent stay its own. The child makes the calls that it registers."""
    reading, writing = os.pipe()
    call_at_exit(lambda: os.write(writing, b"parent "))
    if (child := os.fork() if hooks else ctypes.PyDLL(None).fork()) == 0:
        try:
            exit_hook._run()
            call_at_exit(lambda: os.write(writing, b"child"))
            exit_hook._run()
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        written = stream.read()
    os.waitpid(child, 0)
    assert written == (b"parent child" if hooks else b"child")
