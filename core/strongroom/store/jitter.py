"""Random factors that spread load over time. Separate from the generator of `random`, which an application may seed.

Processes with one seed would draw the same factors, and an application that needs reproducible numbers would get
others.
"""

from random import SystemRandom

_generator = SystemRandom()  # it has no state, which the child of a fork would share


def random_factor(low: float = 0.0, high: float = 1.0) -> float:
    """Return a random number between the bounds. It hides nothing."""
    return _generator.uniform(low, high)
