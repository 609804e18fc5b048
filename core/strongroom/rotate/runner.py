"""The scheduler: rotates secrets when they are due, until it is stopped. Several replicas may run it.

It keeps no state. Whether a rotation is due is decided from the state in the store, by the write that begins
the rotation, so that of two replicas one rotates.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import NamedTuple, Protocol

from strongroom.errors import ConflictError, StrongroomError
from strongroom.rotate.rotations import Rotations, RotationStatus
from strongroom.store.process import random_factor

logger = logging.getLogger("strongroom.secrets_manager")

INTERVAL = 60.0
"""Seconds between two looks at all schedules."""

_SPREAD = 0.1
"""Share of the interval by which a pause varies, so that replicas do not look at the same moment."""


class Stop(Protocol):
    """An event that ends a runner, such as a `threading.Event`."""

    def is_set(self) -> bool:
        """Return True if it is set."""
        ...

    def wait(self, seconds: float, /) -> bool:
        """Wait until it is set, at most `seconds`. Return whether it is."""
        ...


class RotationOutcome(NamedTuple):
    """Result for one secret: its status after a rotation, or the error of one that failed."""

    path: str
    status: RotationStatus | None = None
    error: StrongroomError | None = None


class Runner:
    """Rotates the secrets of a manager by their schedules.

    Args:
        interval: seconds between two looks.
        report: called with each outcome, if it is given.
    """

    def __init__(
        self,
        rotations: Rotations,
        *,
        interval: float = INTERVAL,
        report: Callable[[RotationOutcome], object] | None = None,
    ) -> None:
        self._rotations = rotations
        self._interval = interval
        self._report = report

    def run_once(self, stop: Stop | None = None) -> list[RotationOutcome]:
        """Finish unfinished rotations, rotate the secrets that are due, and return the outcomes.

        A rotation that another replica has just begun is not an error. No error ends the round.

        Args:
            stop: if it is set, no further rotation begins.
        """
        outcomes: list[RotationOutcome] = []
        for path in self._rotations.paths:
            if stop is not None and stop.is_set():
                break
            try:
                status = self._rotations.rotate_if_due(path)
            except ConflictError as error:
                logger.debug("The rotation of %s is left to another process: %s", path, error)
                continue
            except StrongroomError as error:
                outcome = RotationOutcome(path, error=error.copy())  # without frames: it is kept
            else:
                if status is None:
                    continue
                outcome = RotationOutcome(path, status)
            outcomes.append(outcome)
            if self._report is not None:
                self._report(outcome)
        return outcomes

    def run(self, stop: Stop) -> None:
        """`run_once` at each interval, until `stop` is set. A rotation that is under way then is finished first."""
        while not stop.is_set():
            self.run_once(stop)
            stop.wait(self._interval * random_factor(1 - _SPREAD, 1 + _SPREAD))
