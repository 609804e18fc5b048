"""Output of commands: results on stdout, exact and in UTF-8; messages on stderr, one line each."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from strongroom._cli.terminal import streams
from strongroom.encoding import as_text, to_json, to_json_text
from strongroom.errors import ConfigurationError, InvalidDataError, shown
from strongroom.secret import Value

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions
    from rich.table import Table

    from strongroom._chain.answer import Resolution


def is_terminal() -> bool:
    """Return True if stdout is a terminal."""
    return sys.stdout.isatty()


def say(message: str, *, label: str = "", color: str | None = None) -> None:
    """Print a message on one line of stderr; on a terminal it is wrapped between words.

    A stderr that cannot be written is ignored: messages change neither the result nor the exit code.

    Args:
        message: text, whose control characters are escaped.
        label: word before the message, such as `warning`.
        color: color of the label on a terminal; ignored if NO_COLOR is set.
    """
    line = streams.line(message, label=label)
    if color and sys.stderr.isatty() and not os.environ.get("NO_COLOR"):
        line = line.replace(f"{label}:", click.style(f"{label}:", fg=color), 1)
    write_advice(line)


def write_advice(text: str) -> None:
    """Write text and a newline to stderr. A failure is ignored: the disk may be full, or the reader gone."""
    with contextlib.suppress(OSError):
        click.echo(text, err=True)


def write(content: bytes, *, newline: bool = True) -> None:
    """Write exactly these bytes to stdout.

    Raises:
        UnwritableError: stdout cannot be written, for example because the disk is full.
    """
    with streams.result_errors():
        click.echo(content, nl=newline)


def write_file(file: Path, content: bytes) -> None:
    """Replace a private file with a result.

    Raises:
        ConfigurationError: it cannot be written.
    """
    from strongroom.files import private

    try:
        private.replace(file.absolute(), content)
    except OSError as error:
        fault = error.strerror
    else:
        return
    raise ConfigurationError(f"Cannot write {file}: {fault}")  # outside the `except`, whose frames have the content


def write_value(value: Value, path: str, key: str) -> None:
    """Write the exact bytes of a value, and a newline on a terminal only.

    Raises:
        InvalidDataError: the value is null.
    """
    if value is None:
        raise InvalidDataError(path, f"the value of key {key!r} is null", hint="Use --json to print it")
    content = value if isinstance(value, bytes) else as_text(value, path, key).encode()
    write(bytes(content), newline=is_terminal())


def write_json(value: Any) -> None:
    """Write a JSON document; see `as_json`."""
    write(as_json(value), newline=False)


def as_json(value: Any) -> bytes:
    """Return a JSON document with a newline. Bytes are `{"strongroom:bytes": "<base64>"}`, times are ISO 8601."""
    import json

    return json.dumps(to_json(value), ensure_ascii=False, indent=2, default=datetime.isoformat).encode() + b"\n"


def write_document(fields: Mapping[str, Any], *, version: int = 1) -> None:
    """Write the `--json` document of a command: one object, whose first field is `version`.

    Args:
        fields: the fields of the document.
        version: the version of this document. While it stays the same, fields are only added.
    """
    write_json({"version": version, **fields})


def write_lines(lines: Iterable[str]) -> None:
    """Write one result a line."""
    for line in lines:
        write(line.encode())


def write_rows(rows: Iterable[Sequence[str]]) -> None:
    """Write one row a line, with tabs between its fields."""
    write_lines("\t".join(map(one_line, row)) for row in rows)


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun, such as `1 store` or `2 stores`. Without `plural`, an `s` makes it."""
    return f"{number} {noun if number == 1 else plural or f'{noun}s'}"


def joined(words: Iterable[object]) -> str:
    """Return the words as `a, b and c`, each with its control characters escaped."""
    *most, last = (shown(str(word)) for word in words)
    return f"{', '.join(most)} and {last}" if most else last


def say_ages(found: Iterable[Resolution]) -> None:
    """Say how old the answers of caches are, when nothing else is asked: `run --offline`."""
    from strongroom.formats.durations import format_duration

    ages = [each.age for each in found if each.cached]
    if ages:
        oldest = format_duration(max(ages))
        say(f"Offline: {counted(len(ages), 'secret')} from the cache on disk, up to {oldest} old")


def minute(moment: datetime | None) -> str:
    """Return a time for a table."""
    return "" if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def second(moment: datetime | None) -> str:
    """Return a time for a table, to the second."""
    return "" if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def one_line(text: str) -> str:
    """Return the text with a space for each control character, so that it stays one field of one line."""
    return "".join(character if character.isprintable() else " " for character in text)


def value_text(value: Value) -> str:
    """Return a value as one line for a table."""
    text = value if isinstance(value, str) else to_json_text(value)
    if text.isprintable():
        return text
    import json

    # A control character could move the cursor. `get PATH KEY` prints the exact value.
    return json.dumps(text)


class Cell(NamedTuple):
    """Table cell with a rich style. The style adds nothing to the text."""

    text: str
    style: str = ""


_STYLES = {
    "found": "green",
    "default": "green",
    "ok": "green",
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
    "running": "yellow",
    "unfinished": "yellow",
    "finished": "green",
    "undone": "dim",
    "unreadable": "red",
    "misconfigured": "red",
    "checking": "dim",
    "never": "dim",
}


def state(name: str, text: str | None = None) -> Cell:
    """Return a cell in the color of a state.

    Args:
        name: a `RequirementState`, an `Answer`, a `CheckState`, the `PlannedState` or `ItemState` of a migration's
            item, or a state of `strongroom status`.
        text: text of the cell; defaults to the name.
    """
    return Cell(name if text is None else text, _STYLES.get(name, ""))


def write_listing(
    columns: Sequence[str],
    rows: Iterable[Sequence[str | Cell]],
    lines: Iterable[Sequence[str]] | None = None,
    *,
    caption: str = "",
) -> None:
    """Write a table on a terminal, and in a pipe one row a line.

    Args:
        columns: headings of the table.
        rows: cells of each row; a `Cell` has a style.
        lines: the rows in a pipe; defaults to those of the table.
        caption: line below the table.
    """
    if is_terminal():
        write_table(columns, rows, caption=caption)
    else:
        write_rows(map(texts, rows) if lines is None else lines)


def texts(row: Sequence[str | Cell]) -> list[str]:
    """Return the cells of a row without their styles."""
    return [cell.text if isinstance(cell, Cell) else cell for cell in row]


def write_table(columns: Sequence[str], rows: Iterable[Sequence[str | Cell]], *, caption: str = "") -> None:
    """Write a table, wrapped to the width of the terminal."""
    from rich.text import Text

    console = terminal_console()
    console.print(make_table(console, columns, rows))
    if caption:  # a caption of the table itself would be as narrow as the table
        console.print(Text(f"  {streams.escape(caption)}", "dim italic"))


def terminal_console(*, stderr: bool = False) -> Console:
    """Return the console on stdout, with the width of the terminal, or on stderr.

    It has no color under --no-color, or if NO_COLOR is not empty (https://no-color.org).
    """
    from shutil import get_terminal_size

    from rich.console import Console

    context = click.get_current_context(silent=True)
    plain = (context is not None and context.color is False) or bool(os.environ.get("NO_COLOR"))
    # rich would take COLUMNS=0 for a width of zero.
    width = None if stderr else get_terminal_size().columns
    return Console(stderr=stderr, color_system=None if plain else "auto", highlight=False, width=width)


def make_table(console: Console, columns: Sequence[str], rows: Iterable[Sequence[str | Cell]]) -> Table:
    """Return the table that `write_table` writes."""
    from rich import box
    from rich.cells import cell_len
    from rich.measure import Measurement
    from rich.table import Table
    from rich.text import Text

    class Folding:
        """Cell text whose long words are folded once the width of the column is known."""

        def __init__(self, text: str, style: str) -> None:
            self._text, self._style = text, style

        def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
            return Measurement.get(console, options, Text(self._text))

        def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
            text = re.sub(r"\S+", lambda word: "\n".join(folded(word[0], options.max_width)), self._text)
            # Text, not str: a name may look like markup of rich.
            yield Text(text, self._style, overflow="fold")

    table = Table(*columns, box=box.SIMPLE_HEAD)
    contents = [[name] for name in columns]
    for row in rows:
        given = (cell if isinstance(cell, Cell) else Cell(cell) for cell in row)
        cells = [cell._replace(text=streams.escape(cell.text)) for cell in given]
        table.add_row(*(Folding(cell.text, cell.style) for cell in cells))
        for column, cell in zip(contents, cells, strict=True):
            column.append(cell.text)
    # rich narrows the widest columns, and breaks their words.
    wanted = [max(map(cell_len, "\n".join(column).splitlines())) for column in contents]
    least = [min(_longest_part("\n".join(column)), console.width // 3) for column in contents]
    if wanted[0] <= console.width // 2:  # keep names whole if that leaves half of the line to the other columns
        least[0] = wanted[0]
        table.columns[0].no_wrap = True
    for heading, width in zip(table.columns, _widths(wanted, least, console.width - 3 * len(wanted) - 1), strict=True):
        heading.width = width
    return table


def _widths(wanted: Sequence[int], least: Sequence[int], width: int) -> Sequence[int | None]:
    """Return the widths of columns: each has its least one, and they share the rest, up to the wanted one.

    None for each, which leaves it to rich, if they all fit, or if the least ones do not.
    """
    left = width - sum(least)
    if sum(wanted) <= width or left < 0:
        return [None] * len(wanted)
    found = list(least)
    by_need = sorted(range(len(wanted)), key=lambda column: wanted[column] - least[column])
    for position, column in enumerate(by_need):
        more = min(wanted[column] - least[column], left // (len(by_need) - position))
        found[column] += more
        left -= more
    return found


_BREAKS = (r"(?<=/)|(?=#)", r"(?<=[._:,=-])(?!\d)|(?=\[)")
"""Folding places of a word: first between the folders and the key of a path, then within a name, but not in a time."""


def _longest_part(text: str) -> int:
    """Return the width of the longest part of a text that has no folding place."""
    from rich.cells import cell_len

    return max((cell_len(part) for part in re.split("|".join((r"\s+", *_BREAKS)), text)), default=0)


def folded(word: str, width: int, breaks: Sequence[str] = _BREAKS) -> list[str]:
    """Split a word into lines of at most `width` columns. A part without a folding place stays whole."""
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
