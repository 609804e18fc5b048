"""Random factors, and the generator that an application seeds."""

import random

from strongroom.store.jitter import random_factor


def test_a_seed_of_the_application_neither_repeats_nor_loses_numbers():
    """Workers that all seed with 1 would renew their tokens in one moment."""
    random.seed(1)
    state = random.getstate()
    first = [random_factor() for _ in range(4)]
    random.seed(1)
    assert [random_factor() for _ in range(4)] != first
    assert random.getstate() == state


def test_a_factor_lies_between_its_bounds():
    """By default from 0 to 1."""
    assert all(0.9 <= random_factor(0.9, 1.0) <= 1.0 for _ in range(100))
    assert all(0.0 <= random_factor() <= 1.0 for _ in range(100))
