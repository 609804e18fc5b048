"""The load that many processes put on one server: a simulation of the schedule and the breaker on a controlled clock.

Each of 10,000 processes watches 20 paths of one folder. All start within a second and live through an outage of a
minute, during which one of the paths changes. docs/how-to/secrets/watch.md has its result.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from strongroom._chain import connection as connection_module
from strongroom._chain.connection import Breaker
from strongroom._watch.watcher import first_look, next_look

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "secrets" / "watch.md"
PROCESSES = 10_000
INTERVAL = 30.0
OUTAGE = range(120, 180)
END = 300


def simulate(*, jitter: bool) -> list[int]:
    """Return the requests that are sent in each second."""
    chance = random.Random(1)
    sent = [0] * END
    for _ in range(PROCESSES):
        start = chance.random()
        at = first_look(start, INTERVAL, chance.random() if jitter else 0.0)
        now = [at]
        breaker = Breaker(3.0, clock=lambda now=now: now[0])
        unread = 1  # the path that changes
        while at < END:
            now[0] = at
            if breaker.admit():
                sent[int(at)] += 1  # the list of the folder
                if int(at) in OUTAGE:
                    breaker.failed()
                else:
                    breaker.succeeded()
                    if at >= OUTAGE.stop:
                        sent[int(at)] += unread
                        unread = 0
            at = next_look(at, INTERVAL, at)
    return sent


@pytest.fixture(scope="module")
def loads() -> tuple[list[int], list[int]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connection_module, "random_factor", random.Random(2).uniform)
        return simulate(jitter=True), simulate(jitter=False)


def test_the_server_never_sees_more_than_its_share(loads) -> None:
    """10,000 looks each 30 seconds are 333 requests a second."""
    spread, together = loads
    even = PROCESSES / INTERVAL
    assert max(spread[1 : OUTAGE.stop]) < 1.25 * even
    assert max(spread[OUTAGE.stop :]) < 2 * 1.25 * even, "and one read of the path that changed"
    assert max(together) == 2 * PROCESSES


def test_the_page_has_these_numbers(loads) -> None:
    """The mean and the peak of the time before the outage."""
    counts = loads[0][1 : OUTAGE.start]
    shown = f"{sum(counts) / len(counts):.0f} requests a second, at most {max(counts)}"
    assert shown in PAGE.read_text("utf-8")
