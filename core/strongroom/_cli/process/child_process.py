"""A command as a child process: signals are forwarded to it, and its exit code is returned.

The child stays in this process group, so that it can read the terminal and remains part of a shell pipeline.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from strongroom._cli.process.signals import SignalArrival, handled, named
from strongroom._cli.terminal import output

if TYPE_CHECKING:
    import subprocess

_TERMINAL_SIGNALS = named("SIGINT", "SIGQUIT", "SIGTSTP", "SIGWINCH")
"""Signals that a terminal sends to its whole foreground process group, including the child."""

_FORWARDED = _TERMINAL_SIGNALS | named("SIGHUP", "SIGTERM", "SIGUSR1", "SIGUSR2", "SIGTTIN", "SIGTTOU", "SIGCONT")

_ENDING = named("SIGINT", "SIGQUIT", "SIGTERM")
"""Signals that ask a command to end. A command that got one is not started again."""

CANNOT_RUN, NOT_FOUND = 126, 127
"""Exit codes of a shell for a command that cannot be run, and for one that does not exist."""

TIMED_OUT = 124
"""Exit code for a command whose time was over, as of the program `timeout`."""

_SIGNALED = 128
"""A shell's exit code for a command that a signal ended is this plus the number of the signal."""


def run_command(command: Sequence[str], variables: Mapping[bytes, bytes]) -> int:
    """Run the command to its end and return its exit code as a shell reports it; see `Child.run` and `exit_code`."""
    return exit_code(lambda: Child(command).run(variables), command[0])


def exit_code(start: Callable[[], int], program: str) -> int:
    """Return the exit code that `start` returns, or a shell's code, after one line on stderr, if it raises OSError."""
    if not program:  # would run the folders of PATH
        output.say("Command not found: ''")
        return NOT_FOUND
    if not hasattr(os, "fork"):  # Windows
        output.say(f"Cannot run {program}: this system lacks the processes and signals of POSIX")
        return CANNOT_RUN
    try:
        return start()
    except FileNotFoundError:
        code, fault = NOT_FOUND, f"Command not found: {program}"
    except OSError as error:
        code, fault = CANNOT_RUN, f"Cannot run {program}: {error.strerror}"
    output.say(fault)
    return code


class Child:
    """A command that runs as a child process, and may be restarted.

    Attributes:
        started: set once it has been started.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self.started = threading.Event()
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self._early: list[int] = []
        self._lock = threading.RLock()  # `forward`, a signal handler, may run while its thread holds it
        self._gone = threading.Event()
        self._next: Mapping[bytes, bytes] | None = None
        self._asked_to_end = False

    @property
    def asked_to_end(self) -> bool:
        """True after a signal to this process that asks the command to end."""
        return self._asked_to_end

    def run(self, variables: Mapping[bytes, bytes]) -> int:
        """Run the command until it ends by itself, or by a signal that was not ours, and return its exit code.

        A signal of number n that ended it is the exit code 128 + n. Signals to this process are forwarded to it.

        Raises:
            OSError: the command cannot be started.
        """
        following: Mapping[bytes, bytes] | None = variables
        code = 0
        with SignalArrival() as arrival, signal_forwarding(self):
            while following is not None:
                self._start(following)
                code = self._wait(arrival)
                with self._lock:
                    following, self._next = self._next, None
        return code

    def forward(self, number: int) -> None:
        """Pass a signal on that this process got, unless the terminal has sent it to the child too."""
        with self._lock:
            if number in _ENDING:
                self._asked_to_end, self._next = True, None
            if number not in _TERMINAL_SIGNALS or not is_in_foreground():
                self.signal(number)

    def signal(self, number: int) -> None:
        """Send a signal to the child, or queue it until the child runs."""
        with self._lock:
            if self._process is None:
                self._early.append(number)
            elif self._process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self._process.pid, number)

    def end(self, seconds: float, following: Mapping[bytes, bytes] | None = None) -> bool:
        """Send SIGTERM to the child, and SIGKILL if it has not ended within some seconds.

        Args:
            seconds: how long it may take.
            following: the environment with which it is then started again, unless a signal to this process ends it.

        Returns:
            False if it has just ended by itself, or was asked to end.
        """
        with self._lock:
            process = self._process
            if self._asked_to_end or process is None or process.returncode is not None:
                return False
            self._next, gone = following, self._gone
            self.signal(signal.SIGTERM)
        if not gone.wait(seconds):
            output.say(f"{self._command[0]} did not end within {seconds:g} s of SIGTERM, and was killed")
            self.signal(signal.SIGKILL)
            gone.wait()
        return True

    def _start(self, variables: Mapping[bytes, bytes]) -> None:
        """Start the command with all inherited file descriptors, such as a socket."""
        import subprocess  # a command that replaces this process does not need it

        with self._lock:
            self._process = None
            self._gone = threading.Event()  # not cleared: somebody may still wait for the last child's end
            self._process = subprocess.Popen(self._command, env=variables, close_fds=False)  # noqa: S603  # the user's own command
            early, self._early = self._early, []
            self.started.set()
        for number in early:
            self.signal(number)

    def _wait(self, arrival: SignalArrival) -> int:
        """Wait for the child and return its exit code. While the child is stopped, this process is stopped too."""
        process = self._process
        assert process is not None, "_start() comes first"  # noqa: S101
        while True:
            pid, status = os.waitpid(process.pid, os.WUNTRACED | os.WNOHANG)
            if not pid:
                arrival.wait()
            elif not os.WIFSTOPPED(status):
                process.returncode = os.waitstatus_to_exitcode(status)
                self._gone.set()
                return _SIGNALED - process.returncode if process.returncode < 0 else process.returncode
            else:
                os.kill(os.getpid(), signal.SIGSTOP)


def signal_forwarding(child: Child) -> AbstractContextManager[None]:
    """Forward signals to the child while the block runs, instead of handling them."""
    # An ignored signal stays ignored in the child, as `nohup` expects; a handler would not be inherited.
    wanted = [number for number in _FORWARDED if signal.getsignal(number) is not signal.SIG_IGN]
    return handled(wanted, lambda number, _: child.forward(number))


def is_in_foreground() -> bool:
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


def has_terminal() -> bool:
    """Return True if this process has a terminal that controls it, which is still there."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True
