"""Renewal of leased secrets while a child process has them in its environment."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from strongroom import required_secrets
from strongroom._cli.terminal import output
from strongroom.store.deadline import boot_time

if TYPE_CHECKING:
    from strongroom.required_secrets import Requirement, Resolve

_RETRY = 1.0
_MINIMUM = 0.1
"""Seconds until the next read: after a failure, and at least."""
_LONGEST_WAIT = 60.0
"""A wait in seconds stops while the machine is suspended, and a lease does not: look at the clock this often."""


def leased(answers: Sequence[Requirement]) -> list[Requirement]:
    """Return the rows whose value has a time to live."""
    return [answer for answer in answers if answer.resolution is not None and answer.resolution.ttl is not None]


def advise_restart(command: str) -> Callable[[Requirement], None]:
    """Return a function that prints that the command has an old value of a row."""

    def advise(answer: Requirement) -> None:
        output.say(f"{answer.variable} has a new value, and the old one expires soon: restart {command}")

    return advise


@contextmanager
def renewal(
    answers: Sequence[Requirement], resolve: Resolve, replaced: Callable[[Requirement], object]
) -> Iterator[None]:
    """Read each leased value again when it ends, so that its store renews it, while the block runs.

    Args:
        answers: rows that a command has in its environment.
        resolve: reads one key.
        replaced: is called once for each row of which the store returns a new value, which a running command cannot
            receive.
    """
    stop = threading.Event()
    work = leased(answers), resolve, replaced, stop
    threading.Thread(target=_renew, args=work, name="strongroom-renewal", daemon=True).start()
    try:
        yield
    finally:
        stop.set()


def _renew(
    answers: Sequence[Requirement],
    resolve: Resolve,
    replaced: Callable[[Requirement], object],
    stop: threading.Event,
) -> None:
    now = boot_time()
    due = {answer.variable: now + _ttl(answer) for answer in answers}
    by_name = {answer.variable: answer for answer in answers}
    while due and not stop.wait(min(_LONGEST_WAIT, max(_MINIMUM, min(due.values()) - boot_time()))):
        for name in [name for name, at in due.items() if at <= boot_time()]:
            pause = _read_again(by_name[name], resolve, replaced)
            if pause is None:
                del due[name]
            else:
                due[name] = boot_time() + pause


def _read_again(answer: Requirement, read: Resolve, replaced: Callable[[Requirement], object]) -> float | None:
    """Return the seconds until the next read, or None if there is a new value."""
    (now,) = required_secrets.resolve({answer.variable: answer.secret}, read)
    if now.resolution is None:
        return _RETRY  # the store has logged the failure, and may recover in time
    if answer.resolution is not None and now.resolution.value == answer.resolution.value:
        return now.resolution.ttl
    replaced(answer)
    return None


def _ttl(answer: Requirement) -> float:
    return 0.0 if answer.resolution is None else answer.resolution.ttl or 0.0
