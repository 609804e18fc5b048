"""The bar of a long command: the time that is left, on a terminal and nowhere else."""

import sys

import pytest

from strongroom._cli.migrate.report import progress_bar, time_left
from strongroom.migrate import Progress


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(None, ""), (0.2, "0 s left"), (59, "59 s left"), (61, "1 min 1 s left"), (7_320, "2 h 2 min left")],
)
def test_the_time_that_is_left_in_words(seconds, words):
    """Nothing where nobody knows."""
    assert time_left(Progress("apply", 1, 2, seconds)) == words


def test_there_is_no_bar_without_a_terminal(capsys):
    """In a pipeline its characters would be in the way."""
    with progress_bar() as tell:
        assert tell is None
    assert capsys.readouterr() == ("", "")


SCRIPT = """
from strongroom._cli.migrate.report import progress_bar, time_left
from strongroom.migrate import Progress
with progress_bar() as tell:
    tell(Progress("apply", 250, 1000, 75.0))
print("through")
"""


def test_a_terminal_has_a_bar_with_the_time_left(terminal, monkeypatch):
    """Which is gone at the end."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    screen = terminal(sys.executable, "-c", SCRIPT)
    screen.waits_for("writing")
    screen.waits_for("250/1000 1 min 15 s left")
    code, rest = screen.ended()
    assert (code, "through" in rest, "\x1b[2K" in rest) == (0, True, True)
