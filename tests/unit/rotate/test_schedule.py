"""Due dates: the period, the window, the jitter and the pause after a failure."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom._config import RotationConfig, StoreConfig, Window
from strongroom._config.setting_types import parse_window
from strongroom.rotate.schedule import closing, due_date, is_due, is_open, next_opening, retry_date


def at(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def rotation(**settings):
    return RotationConfig("database/app", StoreConfig.bare("password"), **settings)


LAST = at("2026-01-01T12:00")  # a Thursday
DAY = 86_400.0


def test_without_a_schedule_nothing_is_due():
    assert due_date(rotation(), LAST) is None
    assert not is_due(rotation(), LAST, at("2100-01-01"))


def test_it_is_due_one_period_after_the_last_success():
    assert due_date(rotation(every=30 * DAY), LAST) == at("2026-01-31T12:00")
    assert not is_due(rotation(every=30 * DAY), LAST, at("2026-01-31T11:59"))
    assert is_due(rotation(every=30 * DAY), LAST, at("2026-01-31T12:00"))


def test_a_secret_whose_age_is_unknown_is_due_at_once():
    assert is_due(rotation(every=30 * DAY), None, LAST)


def test_a_window_delays_it_to_its_opening():
    nightly = rotation(every=DAY, window=parse_window("02:00-05:00"))
    assert due_date(nightly, LAST) == at("2026-01-03T02:00")
    weekend = rotation(every=DAY, window=parse_window("Sat,Sun 22:00-04:00"))
    assert due_date(weekend, LAST) == at("2026-01-03T22:00")
    assert is_due(weekend, LAST, at("2026-01-04T03:59"))
    assert not is_due(weekend, LAST, at("2026-01-04T12:00"))
    assert is_due(weekend, LAST, at("2026-01-05T01:00"))  # the night of Sunday
    assert not is_due(weekend, LAST, at("2026-01-06T01:00"))


def test_jitter_delays_it_within_the_window_by_the_same_time_in_every_process():
    jittery = rotation(every=DAY, window=parse_window("02:00-05:00"), jitter=DAY)
    due = due_date(jittery, LAST)
    assert due == due_date(jittery, LAST)
    assert at("2026-01-03T02:00") < due < at("2026-01-03T03:30")
    assert due != due_date(jittery, LAST + timedelta(seconds=1))


def test_a_failed_rotation_is_repeated_after_a_pause_that_grows_to_an_hour():
    pauses = [(retry_date(LAST, failures) - LAST).total_seconds() for failures in range(1, 9)]
    assert pauses == [60, 120, 240, 480, 960, 1920, 3600, 3600]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2:00-05:00",
        "02:00",
        "02:00-02:00",
        "25:00-05:00",
        "02:60-05:00",
        "02:00-24:30",
        "Foo 02:00-05:00",
        "02:00-05:00 UTC",
    ],
)
def test_what_is_no_window(text):
    assert parse_window(text) is None


def test_windows():
    assert parse_window("02:00-05:30") == Window(7200, 19800)
    assert parse_window("fri-mon 00:00-24:00") == Window(0, 0, frozenset({4, 5, 6, 0}))


MINUTES = st.integers(0, 24 * 60 - 1)


@given(
    start=MINUTES,
    length=st.integers(1, 24 * 60),
    days=st.frozensets(st.integers(0, 6), min_size=1),
    offset=st.integers(0, 366 * 24 * 3600),
)
def test_an_opening_is_never_past_and_always_open(start, length, days, offset):
    window = Window(start * 60, (start + length) % (24 * 60) * 60, days)
    moment = at("2026-01-01") + timedelta(seconds=offset)
    opening = next_opening(window, moment)
    assert moment <= opening <= moment + timedelta(days=7)
    assert is_open(window, opening)
    assert opening < closing(window, opening) <= opening + timedelta(days=1)
    if is_open(window, moment):
        assert opening == moment
