"""A command that is restarted, signalled or ended when its secrets change: `run --on-change`."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import TypeAlias

import click

from strongroom._cli.exit_codes import ExitCode
from strongroom._cli.process.child_process import Child
from strongroom._cli.read.variable_changes import Reaction, Rows, leased, renewal
from strongroom._cli.terminal import output
from strongroom.errors import StrongroomError
from strongroom.required_secrets import Requirement

Action: TypeAlias = str | signal.Signals
"""What happens to the command after a change: `restart`, `exit`, or the signal that it gets."""


def read_action(_: click.Context, __: click.Parameter, text: str | None) -> Action | None:
    """Return the action in the option's text.

    Raises:
        click.BadParameter: the text names no action.
    """
    if text is None or text in {"restart", "exit"}:
        return text
    kind, colon, name = text.partition(":")
    if kind != "signal" or not colon:
        raise click.BadParameter(f"{text!r} is not restart, exit or signal:NAME")
    try:
        return signal.Signals[f"SIG{name.upper().removeprefix('SIG')}"]
    except KeyError:
        raise click.BadParameter(f"{name!r} is not the name of a signal, such as HUP") from None


class Supervisor:
    """Runs a command and acts when one of its variables changes.

    Args:
        command: the program and its arguments.
        action: what happens then.
        stop_timeout: seconds between SIGTERM and SIGKILL when it is ended.
        rows: the rows of `[secrets]` with which it starts.
        environment: returns the command's environment for resolved rows, and writes the files that it names.
    """

    def __init__(
        self,
        command: Sequence[str],
        action: Action,
        *,
        stop_timeout: float,
        rows: Rows,
        environment: Callable[[Sequence[Requirement]], Mapping[bytes, bytes]],
    ) -> None:
        self._name = command[0]
        self._action = action
        self._stop_timeout = stop_timeout
        self._rows = rows
        self._environment = environment
        self._child = Child(command)
        self._reaction = Reaction(self._react)
        self._leases = ExitStack()
        self._ended = self._complained = False

    def run(self) -> int:
        """Run the command to its end and return its exit code, or `ExitCode.CHANGED` if a change ended it.

        Raises:
            OSError: the command cannot be started.
        """
        with self._leases, self._rows.watched(self._reaction):
            self._renew_leases()
            code = self._child.run(self._environment(self._rows.answers))
        return ExitCode.CHANGED if self._ended else code

    def _renew_leases(self) -> None:
        """Renew the leases of the rows in use, instead of those before."""
        self._leases.close()
        if rows := leased(self._rows.answers):
            self._leases.enter_context(renewal(rows, self._rows.read, lambda _: self._reaction.trigger()))

    def _react(self) -> bool:
        if self._child.asked_to_end:
            self._complain("it was asked to end")
            return True
        if self._action == "restart":
            return self._restart()
        if isinstance(self._action, signal.Signals):
            return self._signal(self._action)
        self._ended = self._child.end(self._stop_timeout)
        return True

    def _signal(self, number: int) -> bool:
        """Send the signal, after the files of rows have the new values. Return False if some do not resolve now."""
        if any(answer.secret.as_path for answer in self._rows.answers):
            answers = self._resolved()
            if answers is None:
                return False
            try:
                self._environment(answers)
            except StrongroomError as error:
                self._complain(str(error))
                return True
            self._complained = False
            self._rows.answers = answers
            self._renew_leases()
        self._child.signal(number)
        return True

    def _resolved(self) -> tuple[Requirement, ...] | None:
        answers = self._rows.resolve()
        if unmet := [answer.variable for answer in answers if not answer.met]:
            self._complain(f"{', '.join(unmet)} did not resolve")
            return None
        return answers

    def _restart(self) -> bool:
        """Start the command with the new values. Return False if some do not resolve now."""
        answers = self._resolved()
        if answers is None:
            return False
        changed = self._rows.changed(answers)
        if not changed:
            return True
        try:
            variables = self._environment(answers)
        except StrongroomError as error:
            self._complain(str(error))
            return True
        output.say(f"Restarting {self._name}: {', '.join(changed)} changed")
        self._complained = False
        if self._child.end(self._stop_timeout, variables):
            self._rows.answers = answers
            self._renew_leases()
        return True

    def _complain(self, fault: str) -> None:
        if not self._complained:
            self._complained = True
            output.say(f"{self._name} keeps running with the old values: {fault}")
