"""The file of `agent run --learn`, from before the command runs until after it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from strongroom._cli.terminal import output
from strongroom.errors import ConfigurationError

if TYPE_CHECKING:
    from strongroom.agents.session import AgentSession


@contextmanager
def created(file: Path | None) -> Iterator[int | None]:
    """Create the file of learned rules, so that a folder that cannot be written is told before the command runs.

    The file is removed if it stays empty.

    Raises:
        ConfigurationError: it cannot be created.
    """
    from strongroom.files import private

    if file is None:
        yield None
        return
    with private.faults_as(ConfigurationError, f"Cannot write the rules: {file}"):
        descriptor = private.open_file(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        yield descriptor
    finally:
        if os.fstat(descriptor).st_size == 0:
            with suppress(OSError):
                file.unlink()
        os.close(descriptor)


def write(session: AgentSession, file: Path, descriptor: int) -> None:
    """Write the learned rules. A fault is told, and the exit code stays that of the command, which has run."""
    from strongroom.agents._rules.learning import learned_text

    observed = session.observed or ()
    text = learned_text(observed, session.rules)
    try:
        with os.fdopen(descriptor, "wb", closefd=False) as stream:
            stream.write(session.redactor().whole(text.encode()))
            stream.flush()
            os.fsync(descriptor)
    except OSError as error:
        output.say(f"Cannot write the rules: {file}: {error.strerror}")
    else:
        output.say(f"Wrote rules for {output.counted(len(observed), 'request')} to {file}: review them")
