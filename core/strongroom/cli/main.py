"""The entry point of the process. It imports next to nothing, so that what it sets holds for all that is imported."""

import gc
import os
import sys
from collections.abc import Sequence
from typing import NoReturn


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs one command and ends the process with its exit code.

    Args:
        arguments: the command line without the program's name; by default the process's own.
    """
    # What a command imports stays until it ends, and most commands end at once. Looking for garbage after each 700 new
    # objects, which is Python's default, is a tenth of a `get`.
    gc.set_threshold(50_000)
    _open_what_is_closed()
    try:
        from strongroom.cli import output, root

        if "_STRONGROOM_COMPLETE" in os.environ:  # `completion.VARIABLE`, which a shell sets on Tab
            from strongroom.cli import completion

            completion.answer(root.strongroom)
        code = root.run(sys.argv[1:] if arguments is None else arguments)
        output.finish()
    except KeyboardInterrupt:  # while modules are imported: Ctrl-C is no traceback then either
        code = 130
    gc.freeze()  # nor does the interpreter look for any as it ends
    sys.exit(code)


def _open_what_is_closed() -> None:
    """A standard stream that was closed before we began leads nowhere, as in any program of Go's.

    Python has None in its place, and the next file or connection would get its number.
    """
    for name, mode in {"stdin": "r", "stdout": "w", "stderr": "w"}.items():
        if getattr(sys, name) is None:
            file = os.open(os.devnull, os.O_RDWR)  # the lowest number that is free, which is the closed stream's
            setattr(sys, name, os.fdopen(file, mode, encoding="utf-8"))
