"""The end of a helper that calls itself: a store of its chain starts a program, and that starts the helper again.

A profile of AWS whose `credential_process` is a helper with a store that uses the profile would start helpers without
end. Each has its own session, so the end of an outer one does not end the inner ones.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from strongroom.errors import ConfigurationError, shown
from strongroom.store.program import ACTIVE_HELPERS

_DEEPEST = 3
"""How many parents with the same words a helper may have. git names the secret on stdin, so one or two can be right."""


@contextmanager
def announced(name: str, *others: str) -> Iterator[None]:
    """Announce a read to the programs that stores start meanwhile.

    The announcement is an environment variable. A program with another environment, as of `env -i`, has lost it, so
    the command lines of the parents count too, if the system shows them in `/proc`.

    Args:
        name: the path of the secret, or another name of the read.
        others: what else tells two reads apart.

    Raises:
        ConfigurationError: such a program has started this helper for the same read.
    """
    before = os.environ.get(ACTIVE_HELPERS, "")
    read = ascii((name, *others))  # ASCII, and without line ends
    if read in before.split("\n") or _same_parents() > _DEEPEST:
        raise ConfigurationError(
            f"The helper for {shown(name)} calls itself: a store of its chain runs it. Let that store get its "
            "credential elsewhere, such as from a profile of AWS whose credential_process is not this helper"
        )
    os.environ[ACTIVE_HELPERS] = f"{before}\n{read}"
    try:
        yield
    finally:
        os.environ[ACTIVE_HELPERS] = before


def _same_parents() -> int:
    """Return how many processes above this one have its command line; at most one more than are allowed."""
    found = 0
    try:
        own, parent = _command_line("self"), os.getppid()
        while parent > 1 and found <= _DEEPEST:
            found += _command_line(str(parent)) == own
            status = Path("/proc", str(parent), "stat").read_bytes()
            parent = int(status.rpartition(b")")[2].split()[1])  # the name before may have spaces
    except (OSError, ValueError, IndexError):  # no /proc, or a parent has ended
        pass
    return found


def _command_line(process: str) -> bytes:
    return Path("/proc", process, "cmdline").read_bytes()
