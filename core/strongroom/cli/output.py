"""What the command writes: results to stdout, exactly and as UTF-8; everything else to stderr, one line each."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence

import click

from strongroom.model import Value, as_text, to_json

DOCUMENT_VERSION = 1
"""The shape of the documents that `--json` prints: what one has stays, with its meaning; more may be added to it."""


def is_terminal() -> bool:
    """Whether a person reads the output as it is written."""
    return sys.stdout.isatty()


def say(message: str) -> None:
    """One line for the person at the keyboard, on stderr, so that it never mixes with a result."""
    click.echo(f"strongroom: {' '.join(message.splitlines())}", err=True)


def write_value(value: Value, path: str, key: str) -> None:
    """The exact bytes of a value, and a newline on a terminal only.

    Raises:
        InvalidDataError: the value is null, which has no bytes.
    """
    content = value if isinstance(value, bytes) else as_text(value, path, key).encode()
    click.echo(bytes(content), nl=is_terminal())


def write_json(value: Value) -> None:
    """One JSON document; bytes in it as `{"strongroom:bytes": "<base64>"}`."""
    click.echo(json.dumps(to_json(value), ensure_ascii=False, indent=2).encode())


def write_document(fields: Mapping[str, Value]) -> None:
    """What a command answers with --json: one object, whose first field is its `version`.

    Args:
        fields: the others, in the order that they are printed in; none is called `version`.
    """
    write_json({"version": DOCUMENT_VERSION, **fields})


def write_lines(lines: Iterable[str]) -> None:
    """One result a line."""
    for line in lines:
        click.echo(line.encode())


def write_table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], *, caption: str = "", color: bool = True
) -> None:
    """A table for a person to read, wrapped to the terminal's width."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, box=box.SIMPLE_HEAD, caption=Text(caption) if caption else None, caption_justify="left")
    for row in rows:
        # As Text, since what a store calls a thing may look like rich's markup.
        table.add_row(*(Text(cell, overflow="fold") for cell in row))
    Console(color_system="auto" if color else None, highlight=False).print(table)
