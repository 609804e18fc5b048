"""Record `strongroom dev --demo`, the first command of the README, as a picture: `nox -s pictures`.

python docs/images/record_demo.py docs/images/demo.svg
"""

from __future__ import annotations

import io
import os
import re
import sys
from pathlib import Path
from typing import Final

import pexpect
from rich.console import Console
from rich.text import Text

COMMAND: Final = "strongroom dev --demo"
WIDTH: Final = 90


def record() -> str:
    """Run the command in a terminal and return its output, with colors."""
    environ = {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(WIDTH)}
    output, status = pexpect.run(
        COMMAND, env=environ, dimensions=(60, WIDTH), timeout=120, encoding="utf-8", withexitstatus=True
    )
    if status != 0:
        sys.exit(f"{COMMAND} failed:\n{output}")
    return output.replace("\r\n", "\n")


def picture(output: str) -> str:
    """Return the output as SVG. Fonts of other sites are left out: a picture in a page may not load them."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    console.print(Text.from_ansi(f"\x1b[1m$ {COMMAND}\x1b[0m\n{output.rstrip()}"))
    svg = console.export_svg(title="Strongroom", unique_id="demo")
    return re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(picture(record()), "utf-8")
