"""When a watch looks."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from strongroom._watch.schedule import effective_interval, first_look, next_look

intervals = st.floats(0.01, 86_400)


@given(st.floats(0, 1e6), intervals, st.floats(0, 1))
def test_the_first_look_is_within_one_interval(now: float, interval: float, draw: float) -> None:
    assert now <= first_look(now, interval, draw) <= now + interval


@given(st.floats(0, 1e6), intervals, st.floats(0, 1e5))
def test_a_look_is_never_earlier_than_one_interval_after_the_last(last: float, interval: float, late: float) -> None:
    assert next_look(last, interval, last + late) >= last + interval


@given(st.integers(0, 1000), st.sampled_from([0.5, 10.0, 30.0]), st.floats(0, 100))
def test_a_late_look_skips_what_it_missed_and_keeps_its_phase(last: int, interval: float, late: float) -> None:
    at = next_look(float(last), interval, last + late)
    assert last + late < at <= last + late + interval
    assert (at - last) % interval == 0


def test_a_short_ttl_shortens_the_interval() -> None:
    """The cache drops a secret after nine tenths of its ttl at the earliest."""
    assert effective_interval(30.0, 300.0) == 30.0
    assert effective_interval(30.0, 10.0) == 8.0
    assert effective_interval(30.0, 0.0) == 30.0
