"""What the command writes: results to stdout, exactly and as UTF-8; everything else to stderr, one line each."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import click

from strongroom.cli.terminal import streams
from strongroom.encoding import as_text, to_json
from strongroom.errors import InvalidDataError
from strongroom.secret import Value

DOCUMENT_VERSION = 1
"""The shape of the documents that `--json` prints: what one has stays, with its meaning; more may be added to it."""


def is_terminal() -> bool:
    """Whether a person reads the output as it is written."""
    return sys.stdout.isatty()


def say(message: str) -> None:
    """One line for the person at the keyboard, on stderr, so that it never mixes with a result."""
    click.echo(f"strongroom: {_plain(' '.join(message.splitlines()))}", err=True)


def write(content: bytes, *, newline: bool = True) -> None:
    """Exactly these bytes, to stdout.

    Raises:
        UnwritableError: they cannot be written, as on a full disk.
    """
    with streams.writing_results():
        click.echo(content, nl=newline)


def finish() -> None:
    """Writes what stdout still holds, or drops it where it cannot be written, as after a failure of that kind.

    Python tries it once more when it ends, and would add a complaint and an exit code of its own:
    https://docs.python.org/3/library/signal.html#note-on-sigpipe.
    """
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def write_value(value: Value, path: str, key: str) -> None:
    """The exact bytes of a value, and a newline on a terminal only.

    Raises:
        InvalidDataError: the value is null, which has no bytes.
    """
    if value is None:
        raise InvalidDataError(path, f"key {key!r} holds null, which has no bytes", hint="Ask for it with --json")
    content = value if isinstance(value, bytes) else as_text(value, path, key).encode()
    write(bytes(content), newline=is_terminal())


def write_json(value: Value) -> None:
    """One JSON document; bytes in it as `{"strongroom:bytes": "<base64>"}`."""
    import json

    write(json.dumps(to_json(value), ensure_ascii=False, indent=2).encode())


def write_document(fields: Mapping[str, Value]) -> None:
    """What a command answers with --json: one object, whose first field is its `version`.

    Args:
        fields: the others, in the order that they are printed in; none is called `version`.
    """
    write_json({"version": DOCUMENT_VERSION, **fields})


def write_lines(lines: Iterable[str]) -> None:
    """One result a line."""
    for line in lines:
        write(line.encode())


def write_rows(rows: Iterable[Sequence[str]]) -> None:
    """One row a line, with a tab between its fields."""
    write_lines("\t".join(map(one_line, row)) for row in rows)


def one_line(text: str) -> str:
    """One field of one line, whatever a store says: nothing in it moves the cursor or begins another field."""
    return "".join(character if character.isprintable() else " " for character in text)


class Cell(NamedTuple):
    """A cell of a table with a style of rich's. Its words say everything: the style is for the eye."""

    text: str
    style: str = ""


_STYLES = {
    "found": "green",
    "default": "green",
    "ok": "green",
    "well": "green",
    "dynamic": "green",
    "not asked": "dim",
    "absent": "dim",
    "not found": "dim",
    "key missing": "yellow",
    "unavailable": "yellow",
    "warning": "yellow",
    "missing": "red",
    "denied": "red",
    "failed": "red",
    "create": "green",
    "change": "green",
    "equal": "dim",
    "unmapped": "yellow",
    "conflict": "red",
    "impossible": "red",
    "done": "green",
    "skipped": "dim",
    "pending": "yellow",
}


def state(name: str, text: str | None = None) -> Cell:
    """A cell that shows how something is, in the colour of it.

    Args:
        name: of a `requirements.State`, an `errors.Answer` or an `errors.CheckState`, or `well`; of a migration's
            `State` or `ItemState`.
        text: what the cell says; by default the state's name.
    """
    return Cell(name if text is None else text, _STYLES.get(name, ""))


def write_table(
    columns: Sequence[str], rows: Iterable[Sequence[str | Cell]], *, caption: str = "", color: bool = True
) -> None:
    """A table for a person to read, wrapped to the terminal's width.

    Args:
        columns: their headings.
        rows: the cells of each; a `Cell` where one has a style.
        caption: a line below it.
        color: False is plain text, and so is a variable NO_COLOR that is not empty: https://no-color.org
    """
    from shutil import get_terminal_size

    from rich import box
    from rich.console import Console, ConsoleOptions, Group
    from rich.measure import Measurement
    from rich.table import Table
    from rich.text import Text

    class Folding:
        """A cell's text, whose long words are folded when the width of the column is known."""

        def __init__(self, text: str, style: str) -> None:
            self._text, self._style = text, style

        def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
            return Measurement.get(console, options, Text(self._text))

        def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
            text = re.sub(r"\S+", lambda word: "\n".join(folded(word[0], options.max_width)), self._text)
            # As Text, since what a store calls a thing may look like rich's markup.
            yield Text(text, self._style, overflow="fold")

    plain = not color or bool(os.environ.get("NO_COLOR"))
    # Rich by itself takes a COLUMNS of 0, which says nothing, for a width in which nothing is shown.
    width = get_terminal_size().columns
    console = Console(color_system=None if plain else "auto", highlight=False, width=width)
    table = Table(*columns, box=box.SIMPLE_HEAD)
    for row in rows:
        cells = (cell if isinstance(cell, Cell) else Cell(cell) for cell in row)
        table.add_row(*(Folding(_plain(cell.text), cell.style) for cell in cells))
    # A name is kept whole where that leaves half of the line to what is said of it.
    name = console.measure(Group(*table.columns[0].cells)).maximum
    table.columns[0].no_wrap = name <= console.width // 2
    console.print(table)
    if caption:  # not the table's own, which is as narrow as the table
        console.print(Text(f"  {_plain(caption)}", "dim italic"))


_BREAKS = (r"(?<=/)|(?=#)", r"(?<=[._:,=-])|(?=\[)")
"""Where a word may be folded: between the folders and the key of a path; where that is not enough, within a name."""


def folded(word: str, width: int, breaks: Sequence[str] = _BREAKS) -> list[str]:
    """The word as lines of at most that width; a part that has no place to fold it is left whole."""
    from rich.cells import cell_len

    if not breaks or cell_len(word) <= width:
        return [word]
    lines = [""]
    for part in re.split(breaks[0], word):
        for piece in folded(part, width, breaks[1:]):
            if cell_len(lines[-1] + piece) <= width:
                lines[-1] += piece
            else:
                lines.append(piece)
    return [line for line in lines if line]


def _plain(text: str) -> str:
    """The text without what moves a cursor or colours a screen, whoever wrote it; a new line stays one."""
    return "".join(
        character if character.isprintable() or character == "\n" else character.encode("unicode_escape").decode()
        for character in text
    )
