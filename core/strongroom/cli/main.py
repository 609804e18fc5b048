"""The entry point of the process. It imports next to nothing, so that what it sets holds for all that is imported."""

import gc
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from strongroom.cli.terminal import streams


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs one command and ends the process with its exit code.

    Args:
        arguments: the command line without the program's name; by default the process's own.
    """
    # What a command imports stays until it ends, and most commands end at once. Looking for garbage after each 700 new
    # objects, which is Python's default, is a tenth of a `get`.
    gc.set_threshold(50_000)
    streams.prepare()
    try:
        from strongroom.cli import app
        from strongroom.cli.terminal import output

        if "_STRONGROOM_COMPLETE" in os.environ:  # `completion.VARIABLE`, which a shell sets on Tab
            from strongroom.cli.terminal import completer

            completer.answer(app.strongroom)
        code = app.run(sys.argv[1:] if arguments is None else arguments)
        output.finish()
    except KeyboardInterrupt:  # while modules are imported: Ctrl-C is no traceback then either
        code = 130
    gc.freeze()  # nor does the interpreter look for any as it ends
    sys.exit(code)
