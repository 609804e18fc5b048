"""`python -m strongroom`: the command line, for a Python whose folder of scripts is not on PATH."""

import os
import sys

if __name__ == "__main__":
    # Python puts the working directory there, whose author may be a stranger. With `-P` it does not.
    if not sys.flags.safe_path and sys.path[0] == os.getcwd():  # noqa: PTH109  # the same text
        del sys.path[0]
    from strongroom._cli.main import main

    main()
