"""How long one request may take, and how many there may be in a second."""

import pytest

from strongroom.errors import StoreUnavailableError
from strongroom_vault.http.address import Address
from strongroom_vault.http.messages import HttpRequest, Reply, SendStep, Wait
from strongroom_vault.http.nodes import Cluster
from strongroom_vault.http.rate_limit import RequestRate
from strongroom_vault.http.request_policy import exchange

ONE = Address.parse("https://one:8200")
READ = HttpRequest("GET", "/v1/x", {})


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.mark.parametrize(
    ("text", "at_once", "after_a_second"), [("10", 10, 10), ("2:5", 5, 2), ("0.5", 1, 0), ("4:0", 1, 1)]
)
def test_so_many_at_once_and_so_many_a_second(text, at_once, after_a_second):
    clock = Clock()
    limit = RequestRate.parse(text, clock)
    assert [limit.turn() == 0 for _ in range(at_once + 1)] == [True] * at_once + [False]
    clock.now += 1.0001 + 1 / float(text.partition(":")[0])
    assert sum(limit.turn() == 0 for _ in range(after_a_second + 1)) >= after_a_second


def test_a_request_waits_for_its_turn():
    cluster = Cluster((ONE,), rate=RequestRate(2.0, 1, lambda: 0.0))
    assert isinstance(next(exchange(READ, cluster, lambda: 10.0)), SendStep)
    assert next(exchange(READ, cluster, lambda: 10.0)) == Wait(0.5)
    with pytest.raises(StoreUnavailableError, match="rate_limit"):
        next(exchange(READ, cluster, lambda: 0.9))


def test_a_request_takes_no_longer_than_was_configured():
    """In total, retries and all, and never longer than its caller has."""
    left = [10.0]
    steps = exchange(READ, Cluster((ONE,), timeout=2.0), lambda: left[0])
    step = next(steps)
    assert isinstance(step, SendStep)
    assert step.timeout == 2.0
    left[0] -= 1.96
    with pytest.raises(StopIteration) as ended:  # no time for a pause
        steps.send(Reply(503, {}, b""))
    assert ended.value.value.status == 503
    step = next(exchange(READ, Cluster((ONE,), timeout=20.0), lambda: 1.5))
    assert isinstance(step, SendStep)
    assert step.timeout == 1.5
