"""The end of a session, by the clock and by the time that has passed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from strongroom.agents import session
from strongroom.agents.session import SessionEnd

START = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)


@pytest.mark.parametrize(
    ("passed", "clock", "left"),
    [(0, 0, 30), (40, 40, 20), (61, 61, 0), (61, -7200, 0), (1, 7200, 0), (40, -7200, 20)],
    ids=["at the start", "later", "after it", "set back", "set forward", "set back before it"],
)
def test_a_session_ends_by_the_clock_or_by_the_time_that_has_passed(monkeypatch, passed, clock, left):
    """A worker must not get more time from a clock that is set back."""
    now = SimpleNamespace(wall=START, boot=1000.0)
    monkeypatch.setattr(session, "datetime", SimpleNamespace(now=lambda _: now.wall))
    monkeypatch.setattr(session, "boot_time", lambda: now.boot)
    end = SessionEnd(60)
    now.wall, now.boot = START + timedelta(seconds=clock), 1000.0 + passed
    assert end.left() == left
    assert end.refusal().reason == "The session ended at 2026-01-02 03:05 UTC"


def test_a_session_without_an_end_goes_on():
    assert (SessionEnd().at, SessionEnd().left()) == (None, 30)
