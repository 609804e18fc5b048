"""A command as the child of this process, which stands in for it: signals go on to it, and its exit code comes back.

Both are in one process group, so that the terminal is the command's as much as ours: it reads what is typed, and a
pipeline that we are part of stays one.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import FrameType

from strongroom.cli.terminal import output

_OF_TERMINAL = frozenset({signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGWINCH})
"""What a terminal sends to every process of the group in its foreground: the command has it already."""

_PASSED_ON = _OF_TERMINAL | {
    signal.SIGHUP,
    signal.SIGTERM,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGTTIN,
    signal.SIGTTOU,
    signal.SIGCONT,
}

CANNOT_RUN, NOT_FOUND = 126, 127
"""A shell's exit codes for a command that cannot be run, and for one that does not exist."""

_DIED = 128
"""What a shell adds to a signal's number, where a command was ended by it."""


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
    if not command[0]:  # the folders of PATH would be what is run
        output.say("there is no command ''")
        return NOT_FOUND
    try:
        return start(command, variables)
    except FileNotFoundError:
        code, fault = NOT_FOUND, f"there is no command {command[0]}"
    except OSError as error:
        code, fault = CANNOT_RUN, f"{command[0]} cannot be run: {error.strerror}"
    output.say(fault)
    return code


def run(command: Sequence[str], variables: Mapping[bytes, bytes]) -> int:
    """Run the command to its end and return its exit code: 128 plus the signal's number where a signal ended it.

    Raises:
        OSError: the command cannot be started.
    """
    child = _Child()
    with _passed_on(child):
        child.start(command, variables)
        return child.wait()


class _Child:
    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._early: list[int] = []

    def start(self, command: Sequence[str], variables: Mapping[bytes, bytes]) -> None:
        """Starts it. What we have inherited to hand on, such as a socket, it has too."""
        self._process = subprocess.Popen(command, env=variables, close_fds=False)  # noqa: S603  # what is asked for
        for number in self._early:
            self.signal(number)

    def signal(self, number: int) -> None:
        """Sends it the signal, once it runs."""
        if self._process is None:
            self._early.append(number)
        elif self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, number)

    def wait(self) -> int:
        """Until it has ended. While it is stopped, so are we: whoever waits for us is told."""
        process = self._process
        assert process is not None, "it was started"  # noqa: S101
        while True:
            _, status = os.waitpid(process.pid, os.WUNTRACED)
            if not os.WIFSTOPPED(status):
                process.returncode = os.waitstatus_to_exitcode(status)
                return _DIED - process.returncode if process.returncode < 0 else process.returncode
            os.kill(os.getpid(), signal.SIGSTOP)


@contextlib.contextmanager
def _passed_on(child: _Child) -> Iterator[None]:
    """While the block runs, the child gets the signals that we get, and they do nothing to us."""

    def pass_on(number: int, _: FrameType | None) -> None:
        if number not in _OF_TERMINAL or not _is_in_foreground():
            child.signal(number)

    # What is ignored stays so in the command, as `nohup` relies on; a handler would not be inherited.
    wanted = [number for number in _PASSED_ON if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, pass_on) for number in wanted}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _is_in_foreground() -> bool:
    """Whether what is typed on our terminal, if we have one, signals our group."""
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
