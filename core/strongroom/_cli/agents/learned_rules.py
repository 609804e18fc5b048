"""The file of `agent run --learn`, from before the command runs until after it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from strongroom._cli.terminal import output
from strongroom.errors import ConfigurationError
from strongroom.files import private

if TYPE_CHECKING:
    from strongroom.agents.session import AgentSession


@contextmanager
def written(file: Path | None, session: AgentSession) -> Iterator[None]:
    """Write the rules that the session has learned in the block, if there is a file for them.

    It is created before, so that a folder that cannot be written is told before the command runs, and removed after an
    exception. A fault in writing is told: the command has run, and its exit code counts.

    Raises:
        ConfigurationError: the file cannot be created.
    """
    from strongroom.agents._rules.learning import learned_text
    from strongroom.agents.session import MAX_OBSERVED

    if file is None:
        yield
        return
    failed = f"Cannot write the rules: {file}"
    with private.faults_as(ConfigurationError, failed):
        descriptor = private.open_file(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    with os.fdopen(descriptor, "wb", buffering=0) as stream:
        try:
            yield
        except BaseException:
            file.unlink(missing_ok=True)
            raise
        observed = session.observed or ()
        try:
            stream.write(session.redactor().whole(learned_text(observed, session.rules).encode()))
        except OSError as error:
            output.say(f"{failed}: {error.strerror}")
            return
    first = "the first " if len(observed) >= MAX_OBSERVED else ""
    output.say(f"Wrote rules for {first}{output.counted(len(observed), 'request')} to {file}: review them")
