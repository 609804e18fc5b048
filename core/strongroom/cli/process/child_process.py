"""A command as a child process: signals are forwarded to it, and its exit code is returned.

The child stays in this process group, so that it can read the terminal and remains part of a shell pipeline.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import FrameType

from strongroom.cli.terminal import output

_TERMINAL_SIGNALS = frozenset({signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGWINCH})
"""Signals that a terminal sends to its whole foreground process group, including the child."""

_FORWARDED = _TERMINAL_SIGNALS | {
    signal.SIGHUP,
    signal.SIGTERM,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGTTIN,
    signal.SIGTTOU,
    signal.SIGCONT,
}

CANNOT_RUN, NOT_FOUND = 126, 127
"""Exit codes of a shell for a command that cannot be run, and for one that does not exist."""

_SIGNALED = 128
"""A shell's exit code for a command that a signal ended is this plus the number of the signal."""


def run_command(command: Sequence[str], variables: Mapping[bytes, bytes]) -> int:
    """Run the command to its end and return its exit code as a shell reports it; see `run` and `exit_code`."""
    return exit_code(run, command, variables)


def exit_code(
    start: Callable[[Sequence[str], Mapping[bytes, bytes]], int],
    command: Sequence[str],
    variables: Mapping[bytes, bytes],
) -> int:
    """Return the exit code that `start` returns, or a shell's code, after one line on stderr, if it raises OSError.

    Args:
        start: runs or becomes the command.
        command: the program and its arguments.
        variables: its whole environment.
    """
    if not command[0]:  # would run the folders of PATH
        output.say("Command not found: ''")
        return NOT_FOUND
    try:
        return start(command, variables)
    except FileNotFoundError:
        code, fault = NOT_FOUND, f"Command not found: {command[0]}"
    except OSError as error:
        code, fault = CANNOT_RUN, f"Cannot run {command[0]}: {error.strerror}"
    output.say(fault)
    return code


def run(command: Sequence[str], variables: Mapping[bytes, bytes]) -> int:
    """Run the command to its end and return its exit code: 128 plus the signal's number where a signal ended it.

    Raises:
        OSError: the command cannot be started.
    """
    child = _Child()
    with _signal_forwarding(child):
        child.start(command, variables)
        return child.wait()


class _Child:
    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._early: list[int] = []

    def start(self, command: Sequence[str], variables: Mapping[bytes, bytes]) -> None:
        """Start the command with all inherited file descriptors, such as a socket."""
        self._process = subprocess.Popen(command, env=variables, close_fds=False)  # noqa: S603  # the user's own command
        for number in self._early:
            self.signal(number)

    def signal(self, number: int) -> None:
        """Send a signal to the child, or queue it until the child runs."""
        if self._process is None:
            self._early.append(number)
        elif self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, number)

    def wait(self) -> int:
        """Wait for the child and return its exit code. While the child is stopped, this process is stopped too."""
        process = self._process
        assert process is not None, "start() comes first"  # noqa: S101
        while True:
            _, status = os.waitpid(process.pid, os.WUNTRACED)
            if not os.WIFSTOPPED(status):
                process.returncode = os.waitstatus_to_exitcode(status)
                return _SIGNALED - process.returncode if process.returncode < 0 else process.returncode
            os.kill(os.getpid(), signal.SIGSTOP)


@contextlib.contextmanager
def _signal_forwarding(child: _Child) -> Iterator[None]:
    """Forward signals to the child while the block runs, instead of handling them."""

    def forward(number: int, _: FrameType | None) -> None:
        if number not in _TERMINAL_SIGNALS or not _is_in_foreground():
            child.signal(number)

    # An ignored signal stays ignored in the child, as `nohup` expects; a handler would not be inherited.
    wanted = [number for number in _FORWARDED if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, forward) for number in wanted}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _is_in_foreground() -> bool:
    """Return True if this process group is in the foreground of its terminal."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)
