"""Entry point of the process. It prepares the standard streams before it imports anything that may write to them."""

import contextlib
import gc
import os
import resource
import sys
from collections.abc import Sequence
from typing import NoReturn

from strongroom import __version__
from strongroom.cli.terminal import streams, unraisable


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command and exit with its exit code.

    Args:
        arguments: the command line without the program name; defaults to `sys.argv`.
    """
    streams.prepare()
    given = sys.argv[1:] if arguments is None else list(arguments)
    if given == ["--version"]:  # without click, which takes three times as long as all the rest
        with contextlib.suppress(OSError):  # the command below reports it
            sys.stdout.write(f"{__version__}\n")
            sys.stdout.flush()
            sys.exit(0)
    _disable_core_dumps()
    unraisable.install()
    try:
        from strongroom.cli import app

        if "_STRONGROOM_COMPLETE" in os.environ:  # `completer.VARIABLE`, set by the shell on Tab
            from strongroom.cli.terminal import completer

            with streams.results_only():
                completer.answer(app.strongroom)
        code = app.run(given)
        streams.finish()
    except KeyboardInterrupt:  # Ctrl-C during an import
        code = 130
    gc.freeze()  # the process ends: to look through its modules for garbage takes an eighth of a short command's time
    sys.exit(code)


def _disable_core_dumps() -> None:
    """Set the soft limit of core dumps to zero: a core dump would hold secrets. A child process may raise it again."""
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
