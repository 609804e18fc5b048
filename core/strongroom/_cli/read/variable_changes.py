"""Changes of the rows of `[secrets]` while a command runs: new values, and leases that end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from strongroom import required_secrets
from strongroom._cli.terminal import output
from strongroom.required_secrets import Requirement, Resolve, resolve
from strongroom.store.deadline import boot_time

if TYPE_CHECKING:
    from strongroom._manager import SecretsManager
    from strongroom._watch.watch import Change
    from strongroom.required_secrets import Requirement, Resolve

_QUIET = 1.0
"""Seconds without a further change before the reaction: a deployment writes several secrets one after another."""
_MOST_PAUSES = 10
_RETRY = 5.0
"""Seconds until a reaction that could not be completed is tried again."""
_LAST_WAIT = 10.0


class Reaction:
    """Calls `react` in a background thread once changes have come and settled.

    Args:
        react: returns False to be called again after a while.
        quiet: seconds without a further change before it is called.
        retry: seconds until it is called again.
    """

    def __init__(self, react: Callable[[], bool], *, quiet: float = _QUIET, retry: float = _RETRY) -> None:
        self._react = react
        self._quiet = quiet
        self._retry = retry
        self._changed = threading.Event()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="strongroom reaction", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def trigger(self) -> None:
        """Note a change."""
        self._changed.set()

    def stop(self) -> None:
        """End the thread, after a reaction that is under way."""
        self._stopped = True
        self._changed.set()
        self._thread.join(_LAST_WAIT)

    def _run(self) -> None:
        again: float | None = None
        while not self._stopped:
            if self._changed.wait(again):
                self._settle()
            if not self._stopped:
                again = None if self._react() else self._retry

    def _settle(self) -> None:
        for _ in range(_MOST_PAUSES):
            self._changed.clear()
            if self._stopped or not self._changed.wait(self._quiet):
                return
        self._changed.clear()


class Rows:
    """The rows of `[secrets]` as they were last used, and the changes since then.

    Args:
        answers: the rows when they were first used.
        secrets: watches their paths.
        read: resolves one row.
    """

    def __init__(self, answers: Sequence[Requirement], secrets: SecretsManager, read: Resolve) -> None:
        self.answers = answers
        self._secrets = secrets
        self.read = read

    def resolve(self) -> tuple[Requirement, ...]:
        """Resolve the rows again."""
        return resolve({answer.variable: answer.secret for answer in self.answers}, self.read)

    def changed(self, answers: Sequence[Requirement]) -> list[str]:
        """Return the variables whose value is another one than when the rows were last used."""
        pairs = zip(self.answers, answers, strict=True)
        return [new.variable for old, new in pairs if _value(old) != _value(new)]

    @contextmanager
    def watched(self, reaction: Reaction) -> Iterator[None]:
        """Trigger the reaction whenever a value changes, while the block runs."""
        wanted = {(answer.secret.path, answer.secret.key) for answer in self.answers}

        def note(change: Change) -> None:
            if any((change.path, key) in wanted for key in change.keys):
                reaction.trigger()

        with self._secrets.watch(sorted({path for path, _ in wanted}), note):
            if self.changed(self.resolve()):  # before the watch began
                reaction.trigger()
            reaction.start()
            try:
                yield
            finally:
                reaction.stop()


def _value(answer: Requirement) -> object:
    return None if answer.resolution is None else answer.resolution.value


# --- leases -----------------------------------------------------------------------------------------------------------

_READ_RETRY = 1.0
_MINIMUM = 0.1
"""Seconds until the next read of a lease: after a failure, and at least."""
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
        return _READ_RETRY  # the store has logged the failure, and may recover in time
    if answer.resolution is not None and now.resolution.value == answer.resolution.value:
        return now.resolution.ttl
    replaced(answer)
    return None


def _ttl(answer: Requirement) -> float:
    return 0.0 if answer.resolution is None else answer.resolution.ttl or 0.0
