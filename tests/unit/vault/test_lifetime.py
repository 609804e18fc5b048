"""When a token is renewed and when it is replaced: laws of the algorithm, for every lease."""

import math
import time

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from strongroom.store.deadline import boot_time
from strongroom_vault.session.lifetime import (
    HOUR,
    LEAST_PAUSE,
    LeaseStep,
    after_failure,
    new_lease,
    next_step,
    renewed_lease,
    retry_pause,
)

ttls = st.integers(1, 100 * 24 * 3600)
draws = st.floats(0, 1)
times = st.floats(0, 1e7)
failures = st.integers(1, 10_000)


@given(times, ttls, draws, st.booleans(), st.booleans())
def test_first_step_is_after_a_pause_and_before_the_end(began, ttl, draw, renewable, repeatable):
    """Whatever the token is; and no renewal is later than an hour."""
    lease = new_lease(began, ttl, draw, renewable=renewable, repeatable=repeatable)
    step, at = next_step(lease)
    assert at - began + 1e-6 >= LEAST_PAUSE
    assert at < lease.ends
    expected = LeaseStep.RENEW if renewable else LeaseStep.LOGIN if repeatable else LeaseStep.WARN
    assert step is expected
    if step is LeaseStep.RENEW:
        assert at - began <= HOUR + 1e-6


@given(times, ttls, draws)
def test_lease_is_used_for_two_thirds_and_a_third_of_the_grace(began, ttl, draw):
    """The grace is 10 to 20 % of the lease, and is kept for what may go wrong."""
    lease = new_lease(began, ttl, draw, renewable=False, repeatable=True)
    _, at = next_step(lease)
    assert 0.1 * ttl - 1e-6 <= lease.grace <= 0.2 * ttl + 1e-6
    assert at - began == pytest.approx(ttl * 2 / 3 + lease.grace / 3, abs=1e-6)
    assert lease.ends - at >= lease.grace - 1e-6


@given(times, draws, st.booleans())
def test_token_without_an_end_needs_nothing(began, draw, repeatable):
    """The root's, for example, whatever is said of its renewals."""
    lease = new_lease(began, 0, draw, renewable=True, repeatable=repeatable)
    assert lease.ends == math.inf
    assert not lease.is_final
    assert next_step(lease) is None


def test_warning_comes_at_four_fifths_of_the_whole_life():
    """Which began before anybody looked."""
    lease = new_lease(1000, 60, 0.5, renewable=False, repeatable=False, full_ttl=100)
    assert lease.is_final
    assert next_step(lease) == (LeaseStep.WARN, pytest.approx(1000 + 40))
    late = new_lease(1000, 10, 0.5, renewable=False, repeatable=False, full_ttl=100)
    assert next_step(late)[1] <= 1000


@given(times, ttls, draws, st.data())
def test_renewal_that_brings_a_whole_lease_goes_on(began, ttl, draw, data):
    """It counts from when it was asked for."""
    lease = new_lease(began, ttl, draw, renewable=True, repeatable=True)
    _, at = next_step(lease)
    more = renewed_lease(lease, at, ttl, data.draw(draws), renewable=True)
    assert more.ends == pytest.approx(at + ttl)
    assert next_step(more)[0] is LeaseStep.RENEW
    assert next_step(more)[1] >= at + LEAST_PAUSE - 1e-6


@given(times, st.integers(2, 10**7), draws, st.data())
def test_renewal_that_brings_less_is_followed_by_a_login_at_once(began, ttl, draw, data):
    """Zero seconds of a token that had an end are no life without one."""
    lease = new_lease(began, ttl, draw, renewable=True, repeatable=True)
    _, at = next_step(lease)
    capped = renewed_lease(lease, at, data.draw(st.integers(0, ttl - 1)), draw, renewable=True)
    assert math.isfinite(capped.ttl)
    assert next_step(capped) == (LeaseStep.LOGIN, at)


def test_token_that_no_login_can_replace_is_renewed_while_that_moves_its_end():
    """A shorter period is no reason to give up; an end that stays where it is, to the second, is one."""
    lease = new_lease(0, 3600, 0.5, renewable=True, repeatable=False)
    shorter = renewed_lease(lease, 2500, 1800, 0.5, renewable=True)
    assert next_step(shorter)[0] is LeaseStep.RENEW
    again = renewed_lease(shorter, 3700, 1800, 0.5, renewable=True)
    assert next_step(again)[0] is LeaseStep.RENEW
    ended = renewed_lease(again, 5000, 501, 0.5, renewable=True)
    assert ended.is_final
    assert next_step(ended)[0] is LeaseStep.WARN


def test_token_that_is_renewable_no_more_is_not_renewed():
    """The server says so with a renewal."""
    lease = new_lease(0, 60, 0.5, renewable=True, repeatable=True)
    assert next_step(renewed_lease(lease, 40, 60, 0.5, renewable=False)) == (
        LeaseStep.LOGIN,
        pytest.approx(40 + 43, abs=3),
    )


def test_pauses_after_failures_double_from_ten_seconds_to_five_minutes():
    """As in Vault's own client."""
    assert [retry_pause(count) for count in (1, 2, 3, 5, 6, 7, 10_000)] == [10, 20, 40, 160, 300, 300, 300]


@given(
    times, ttls, draws, failures, st.floats(0, 1), st.booleans(), st.sampled_from([LeaseStep.RENEW, LeaseStep.LOGIN])
)
def test_failure_is_followed_after_a_pause_and_before_the_end(began, ttl, draw, count, used, repeatable, step):
    """There is always another try before the lease ends, unless it ends within the shortest pause."""
    lease = new_lease(began, ttl, draw, renewable=True, repeatable=repeatable)
    at = began + used * ttl
    assume(at < lease.ends)
    following, then = after_failure(lease, step, at, count)
    assert then - at >= LEAST_PAUSE - 1e-6
    assert then - at <= 300 + 1e-6
    assert then <= max(lease.ends, at + LEAST_PAUSE) + 1e-6
    if following is LeaseStep.RENEW and repeatable:
        assert then <= lease.ends - lease.grace + 1e-6


@given(times, ttls, draws, failures)
def test_nothing_is_tried_once_the_lease_is_over(began, ttl, draw, count):
    """The next read logs in, where that is possible."""
    lease = new_lease(began, ttl, draw, renewable=True, repeatable=True)
    assert after_failure(lease, LeaseStep.RENEW, lease.ends, count) is None


@given(st.integers(1, 10**6), st.integers(1, 10**7), st.randoms(use_true_random=False), st.floats(0, 1))
def test_life_with_a_server_is_no_hot_loop_and_has_no_gap(ttl, most, random, failing):
    """A server that grants a lease up to a greatest age, and fails as often as it likes.

    Between two attempts there is a pause always, and while nothing fails there is a living token always.
    """
    most = max(most, ttl)
    clock, born, count = 0.0, 0.0, 0
    lease = new_lease(clock, ttl, random.random(), renewable=True, repeatable=True)
    following = next_step(lease)
    for _ in range(50):
        assert following is not None
        step, at = following
        at = max(at, clock + LEAST_PAUSE)
        assert at > clock
        clock = at
        if failing and random.random() < failing:
            count += 1
            following = after_failure(lease, step, clock, count)
            if following is None:
                break
            continue
        if not failing:
            assert clock <= lease.ends + LEAST_PAUSE
        count = 0
        left = born + most - clock
        if step is LeaseStep.RENEW:
            assert clock < lease.ends
            lease = renewed_lease(lease, clock, max(0, min(ttl, round(left))), random.random(), renewable=True)
        else:
            born = clock
            lease = new_lease(clock, ttl, random.random(), renewable=True, repeatable=True)
        following = next_step(lease)


def test_clock_goes_on():
    """And never back."""
    before = boot_time()
    time.sleep(0)
    assert boot_time() >= before
