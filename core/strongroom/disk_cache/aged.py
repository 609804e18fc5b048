"""Cached answers with an age. A separate module, almost without imports: the chain needs it, and not the rest."""

from __future__ import annotations

from typing import Self

from strongroom.errors import SecretNotFoundError
from strongroom.secret import Secret


class AgedSecret(Secret):
    """A secret from the disk cache. `age` is in seconds since the store answered."""

    # Not a field: each method that a dataclass generates is compiled when a process starts.
    age = 0.0

    def aged(self, seconds: float) -> Self:
        """Return the secret itself, with its age."""
        object.__setattr__(self, "age", seconds)
        return self


class AgedAbsence(SecretNotFoundError):  # noqa: N818  # an answer, which is raised where an absence is
    """An absence from a cache. `age` is in seconds since the store answered."""

    age = 0.0

    def aged(self, seconds: float) -> Self:
        """Return the absence itself, with its age."""
        self.age = seconds
        return self


def age_of(answer: Secret | SecretNotFoundError) -> float:
    """Return the seconds since the store answered; zero if it has just answered."""
    return answer.age if isinstance(answer, AgedSecret | AgedAbsence) else 0.0
