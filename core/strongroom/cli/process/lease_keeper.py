"""Secrets that end, kept for a command that has them in its environment: who made them sees that they are in use."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from strongroom.cli.terminal import output
from strongroom.errors import StrongroomError

if TYPE_CHECKING:
    from strongroom.required_secrets import Requirement, Resolve

_RETRY = 1.0
_LEAST = 0.1
"""Seconds until a row is asked for again: after a failure, and where it is good for next to no time."""


def ending(answers: Sequence[Requirement]) -> list[Requirement]:
    """Those whose value is good for a while only."""
    return [answer for answer in answers if answer.resolution is not None and answer.resolution.ttl is not None]


@contextmanager
def kept(answers: Sequence[Requirement], ask: Resolve, command: str) -> Iterator[None]:
    """While the block runs, each value that ends is asked for again when it does, so that its store renews it.

    A store that cannot has another value then, which no running command can be given: that is said, once for each.

    Args:
        answers: what the command has.
        ask: reads one key.
        command: its name, for messages.
    """
    stop = threading.Event()
    work = ending(answers), ask, command, stop
    threading.Thread(target=_keep, args=work, name="kept secrets", daemon=True).start()
    try:
        yield
    finally:
        stop.set()


def _keep(answers: Sequence[Requirement], ask: Resolve, command: str, stop: threading.Event) -> None:
    now = time.monotonic()
    due = {answer.variable: now + _ttl(answer) for answer in answers}
    by_name = {answer.variable: answer for answer in answers}
    while due and not stop.wait(max(_LEAST, min(due.values()) - time.monotonic())):
        for name in [name for name, at in due.items() if at <= time.monotonic()]:
            pause = _again(by_name[name], ask, command)
            if pause is None:
                del due[name]
            else:
                due[name] = time.monotonic() + pause


def _again(answer: Requirement, ask: Resolve, command: str) -> float | None:
    """After how many seconds to ask again; None where there is another value by now."""
    try:
        found = ask(answer.secret.path, answer.secret.key)
    except StrongroomError:
        return _RETRY  # its store has said so, and it may come back before the end
    if answer.resolution is not None and found.value == answer.resolution.value:
        return None if found.ttl is None else found.ttl
    output.say(f"{answer.variable} has a new value, and the old one ends soon: start {command} again")
    return None


def _ttl(answer: Requirement) -> float:
    return 0.0 if answer.resolution is None else answer.resolution.ttl or 0.0
