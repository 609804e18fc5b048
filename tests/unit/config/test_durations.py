"""Durations as people write them."""

import pytest

from strongroom.formats.durations import format_duration, parse_duration


@pytest.mark.parametrize(("text", "seconds"), [
    (5, 5.0), (0.5, 0.5), ("90s", 90.0), ("1m30s", 90.0), ("500ms", 0.5), ("1.5h", 5400.0), (" 2s ", 2.0),
    ("1d", 86400.0), ("500us", 0.0005), ("500µs", 0.0005), ("500μs", 0.0005), ("1s5000000ns", 1.005), ("30", 30.0),
    (".5s", 0.5), ("1H", 3600.0), (0, 0.0),
])  # fmt: skip
def test_a_duration_is_read_in_every_notation(text, seconds):
    """As in a TOML file, and as Vault's own clients write it."""
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", [
    "", "s", "5 s", "-5s", -1, "1e3", "soon", "5x", "1s1", True, None, float("nan"), float("inf"), 10**400, "٣s",
    "9" * 400 + "s", "1s" * 100_000,
])  # fmt: skip
def test_what_is_not_a_duration_is_none(text):
    assert parse_duration(text) is None


@pytest.mark.parametrize(("seconds", "text"), [(90, "90 s"), (3600, "1 h"), (7200, "2 h"), (150, "2.5 min")])
def test_a_duration_is_shown_in_the_unit_that_fits(seconds, text):
    assert format_duration(seconds) == text
