"""Progress bar on stderr with the remaining time, for long commands on a terminal.

A separate module, since only long commands import it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from strongroom._cli.terminal import output

if TYPE_CHECKING:
    from strongroom.migrate import OnProgress
    from strongroom.migrate import Progress as ProgressEvent

_LABELS = {
    "plan": "reading",
    "apply": "writing",
    "verify": "verifying",
    "undo": "undoing",
    "delete-source": "deleting",
}


@contextmanager
def bar() -> Iterator[OnProgress | None]:
    """Show a progress bar on stderr while the block runs, and remove it at the end.

    Yields:
        The progress callback, or None if stderr is not a terminal.
    """
    if not sys.stderr.isatty():
        yield None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[left]}"))
    display = Progress(*columns, console=output.terminal_console(stderr=True), transient=True)
    task = display.add_task("", total=None, left="")

    def update(progress: ProgressEvent) -> None:
        description = _LABELS.get(progress.action, progress.action)
        display.update(
            task, description=description, completed=progress.done, total=progress.total, left=left(progress)
        )
        display.start()  # on the first event, so that a short command shows no bar

    try:
        yield update
    finally:
        display.stop()


def left(progress: ProgressEvent) -> str:
    """Return the remaining time in words, or an empty string if it is unknown."""
    if progress.seconds_left is None:
        return ""
    seconds = round(progress.seconds_left)
    minutes, hours = seconds // 60, seconds // 3600
    if hours:
        return f"{hours} h {minutes % 60} min left"
    return f"{minutes} min {seconds % 60} s left" if minutes else f"{seconds} s left"
