"""How far a long command is: a bar with the time that is left, for a person who waits, and for nobody else."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from strongroom.migrate import OnProgress
    from strongroom.migrate import Progress as Told

_DOING = {
    "plan": "reading",
    "apply": "writing",
    "verify": "verifying",
    "undo": "undoing",
    "delete-source": "deleting",
}


@contextmanager
def bar(*, color: bool = True) -> Iterator[OnProgress | None]:
    """While the block runs, a bar on stderr where that is a terminal, which is gone at the end; else nothing.

    Args:
        color: False is plain text, and so is a variable NO_COLOR that is not empty.

    Yields:
        What is to be told of the progress; None where nobody waits.
    """
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    plain = not color or bool(os.environ.get("NO_COLOR"))
    console = Console(stderr=True, color_system=None if plain else "auto", highlight=False)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[left]}"))
    shown = Progress(*columns, console=console, transient=True)
    task = shown.add_task("", total=None, left="")

    def tell(progress: Told) -> None:
        description = _DOING.get(progress.action, progress.action)
        shown.update(task, description=description, completed=progress.done, total=progress.total, left=left(progress))
        shown.start()  # not before: what is done in no time has no bar

    try:
        yield tell
    finally:
        shown.stop()


def left(progress: Told) -> str:
    """The time that is left, in words; nothing where that is not known."""
    if progress.seconds_left is None:
        return ""
    seconds = round(progress.seconds_left)
    minutes, hours = seconds // 60, seconds // 3600
    if hours:
        return f"{hours} h {minutes % 60} min left"
    return f"{minutes} min {seconds % 60} s left" if minutes else f"{seconds} s left"
