"""Waiting until the required secrets of an application can be read, before it serves.

Any server can call it at its start; the integrations of web frameworks do. `strongroom check --wait` is the command.
"""

from __future__ import annotations

import asyncio
import logging
import time
from functools import partial

from strongroom._manager import SecretsManager
from strongroom.errors import StrongroomError
from strongroom.required_secrets import Requirement, Rounds, resolve
from strongroom.secrets_manager import default_manager
from strongroom.store.concurrency import in_daemon

_log = logging.getLogger("strongroom.readiness")


def wait_ready(manager: SecretsManager | None = None, *, timeout: float = 60.0) -> None:
    """Return when every row of `[secrets]` resolves. Without this table there is nothing to wait for.

    An outage, a denial and an absence are retried, and so is a missing file that an option names: a store may start
    later than its application. Anything else is raised at once. Values that are found are cached.

    Args:
        manager: None is the default manager of the process.
        timeout: seconds. With zero, the rows are resolved once.

    Raises:
        StrongroomError: the error of the first row that does not resolve. Its notes name the others.
    """
    wait = _Wait(manager, timeout)
    while (pause := wait.resolve()) is not None:
        time.sleep(pause)


async def await_ready(
    manager: SecretsManager | None = None,
    *,
    timeout: float = 60.0,  # noqa: ASYNC109  # the last round decides which error is raised
) -> None:
    """Resolve every row of `[secrets]` off the event loop, and again until all resolve. Arguments: see `wait_ready`."""
    wait = _Wait(manager, timeout)
    # No event: a store does not tell that it is back.
    while (pause := await asyncio.wrap_future(in_daemon(wait.resolve, "strongroom readiness"))) is not None:  # noqa: ASYNC110
        await asyncio.sleep(pause)


def wait_or_exit(*, timeout: float = 60.0) -> None:
    """`wait_ready` for a server that forks its workers: with a separate manager, which is closed before the fork.

    Raises:
        SystemExit: a required secret does not resolve. Frameworks that log the exceptions of a hook would go on.
    """
    try:
        with SecretsManager() as manager:
            wait_ready(manager, timeout=timeout)
    except StrongroomError as error:
        notes = "".join(f". {note}" for note in getattr(error, "__notes__", ()))
        raise SystemExit(f"strongroom: {error}{notes}") from None


class _Wait:
    """The rows that do not resolve yet."""

    def __init__(self, manager: SecretsManager | None, timeout: float) -> None:
        self._manager = manager or default_manager()
        self._rows = self._manager.config.secrets
        self._rounds = Rounds(timeout, time.monotonic())
        self._again = False

    def resolve(self) -> float | None:
        """Resolve the rows, and return the seconds until the next round, or None if all are met."""
        answers = resolve(self._rows, partial(self._manager.resolve, fresh=self._again, allow_dynamic=False))
        unmet = [answer for answer in answers if not answer.met]
        transient = bool(unmet) and all(answer.is_transient for answer in unmet)
        pause = self._rounds.pause(time.monotonic(), transient=transient)
        if unmet and pause is None:
            raise _error(unmet)
        for answer in unmet:
            _log.warning("waiting for a required secret variable=%s state=%s", answer.variable, answer.state.value)
        self._rows, self._again = {answer.variable: answer.secret for answer in unmet}, True
        return pause


def _error(unmet: list[Requirement]) -> BaseException:
    first, *others = unmet
    assert first.error is not None  # noqa: S101  # a row without an error is met
    error = first.error.copy()
    if others:
        error.add_note(f"{len(others)} more did not resolve: {', '.join(other.variable for other in others)}")
    return error
