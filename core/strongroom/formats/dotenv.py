r"""Parsing and writing of `.env` files.

python-dotenv parses. Nothing is expanded (`${OTHER}` stays as it is written), nothing is put into the environment, and
what python-dotenv skips silently is reported.

A line is written only in a form that a POSIX shell which sources the file and python-dotenv both read as the value:

- bare, if the value has only letters, digits and `_./:@%+,=-`;
- between single quotes, as it is, if it has none, no two backslashes in a row, and no backslash at the end;
- between double quotes, with `\` and `"` escaped, if it has no dollar and no backtick.

Everything else is refused: a dollar or a backtick together with a single quote or such backslashes, a carriage
return, a NUL, and `${`, which python-dotenv expands even between single quotes. Docker Compose reads the same forms,
except for values between double quotes that begin or end with a double quote or end with a backslash:
https://github.com/compose-spec/compose-go/blob/042173482969cd44087fbc45b1f2f48d01b2d9c8/dotenv/parser.go#L128
"""

from __future__ import annotations

import io
import logging
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from strongroom.errors import ConfigurationError, InvalidDataError
from strongroom.files.bounded import Inspect, read_bytes
from strongroom.secret import SensitiveDict, SensitiveStr

if TYPE_CHECKING:
    from dotenv.parser import Binding

logger = logging.getLogger("strongroom.secrets_manager")

MAX_SIZE = 1 << 20
"""The largest file that is read, in bytes."""

MAX_LINES = 20_000
"""The most lines of a file that is read. python-dotenv needs some 20 µs for each."""

_LONGEST_NAME = 64
"""Characters of a line that are left for the name and the quotes of a value that is almost as long as a file."""

MAX_BLANKS = 100
"""The longest run of blanks in a line. python-dotenv's time grows with the square of it."""

MAX_NOTES = 100

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_BLANKS = re.compile(rf"[^\S\r\n]{{{MAX_BLANKS + 1}}}")
# Not a last line of base64, which ends in one or two equal signs.
_ASSIGNMENT = re.compile(r"^[ \t]*+(?:export[ \t]++)?[A-Za-z_][A-Za-z0-9_]*+=(?!=|\s|$)", re.MULTILINE)

_EXPANDED = re.compile(r"`|\$[A-Za-z0-9_{(@*#?$!-]|\\\$")
"""Parts that a shell replaces, except between single quotes."""

_EXPANDED_BY_DOTENV = "${"
"""The part that python-dotenv replaces by default, also between single quotes."""


_OPEN_BACKTICK = re.compile(r"\s*`(?:\\`|[^`])*")
"""A value without the backtick that ends it. Node's dotenv takes backticks for quotes of a text of several lines."""

_BARE = re.compile(r"[A-Za-z0-9_./:@%+,=-]*")
_COMMENT = re.compile(r"[^\S\r\n]+#")

_logged: set[tuple[str, str]] = set()


class Dotenv(NamedTuple):
    """The content of a `.env` file.

    Attributes:
        values: name to value, as `SensitiveStr`; of duplicates, the last. A name without `=` has no value.
        notes: probable mistakes of its author, each with a line number and without values; at most `MAX_NOTES`.
        bare: the numbers of lines that have a name without `=`. The name may be a piece of a value, and is not kept.
        expanded: the numbers of lines with a value that a shell, or python-dotenv by default, reads as another one.
    """

    values: SensitiveDict
    notes: tuple[str, ...]
    bare: tuple[int, ...] = ()
    expanded: tuple[int, ...] = ()

    def get(self, name: str) -> SensitiveStr:
        """Return the value of a name; empty if it is not set, since an empty variable counts as missing."""
        value = self.values.get(name)
        return value if isinstance(value, SensitiveStr) else SensitiveStr("")


class _Mistake(NamedTuple):
    """The line of a mistake, or 0 for the whole text. Returned and not raised: a raise would keep the frame's text."""

    line: int
    description: str


_TOO_LARGE = _Mistake(0, f"more than {MAX_SIZE:,} bytes: it is not a .env file")


def parse_dotenv(text: str, file: str | Path = ".env") -> Dotenv:
    """Parse the text of a `.env` file. Line ends inside quotes become a single newline, as in python-dotenv.

    Raises:
        ConfigurationError: names `file` and the line that is not NAME=value: a quote or a backtick left open, a name
            with a space; or the text has more than `MAX_SIZE` characters or `MAX_LINES` lines.
    """
    parsed = _parse(text)
    del text
    return _raise_mistake(parsed, file)


def read_dotenv(file: Path, *, inspect: Inspect | None = None) -> Dotenv:
    """Read a `.env` file. Log its notes, and a mode that lets others read it, once in a process.

    Raises:
        FileNotFoundError: there is no such file.
        IsADirectoryError: it is a folder, such as a virtual environment.
        OSError: it cannot be read.
        ConfigurationError: names the file and the line: it is not NAME=value or not UTF-8, or the file has
            more than `MAX_SIZE` bytes or `MAX_LINES` lines.
    """
    content, status = read_bytes(file, MAX_SIZE)
    if fault := inspect(status, content) if inspect else "":
        del content
        raise ConfigurationError(f"{file}: {fault}")
    parsed = _TOO_LARGE if len(content) > MAX_SIZE else _decode(content)
    del content
    dotenv = _raise_mistake(parsed, file)
    if status.st_mode & 0o077 and hasattr(os, "geteuid"):  # on Windows, every file has the mode 0666
        dotenv = dotenv._replace(notes=(*dotenv.notes, "other users may read it: run chmod 600 on it"))
    for note in dotenv.notes:
        log_once(file, note)
    return dotenv


def _decode(content: bytes) -> Dotenv | _Mistake:
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        return _Mistake(content.count(b"\n", 0, error.start) + 1, "it is not UTF-8")
    return _parse(text)


def _refused(text: str) -> _Mistake | None:
    """Return the mistake for which a text is not parsed at all."""
    if len(text) > MAX_SIZE:
        return _TOO_LARGE
    if text.count("\n") + text.count("\r") > MAX_LINES:
        return _Mistake(0, f"more than {MAX_LINES:,} lines: it is not a .env file")
    if "\0" in text:
        return _Mistake(text.count("\n", 0, text.index("\0")) + 1, "a NUL byte: save the file as UTF-8")
    if blanks := _BLANKS.search(text):
        return _Mistake(text.count("\n", 0, blanks.start()) + 1, f"more than {MAX_BLANKS} blanks in a row")
    return None


def _parse(text: str) -> Dotenv | _Mistake:
    from dotenv.parser import parse_stream

    if mistake := _refused(text):
        return mistake
    values: dict[str, SensitiveStr] = {}
    lines: dict[str, int] = {}
    notes: list[str] = []
    bare: list[int] = []
    expanded: list[int] = []
    for binding in parse_stream(io.StringIO(text.removeprefix("\ufeff"), newline=None)):
        line = _first_line(binding)
        written = binding.original.string.partition("=")[2]
        if binding.error or _OPEN_BACKTICK.fullmatch(written):
            # No part of the line is shown: the text after an open quote is a value.
            return _Mistake(line, "it is not NAME=value: is a quote left open?")
        if binding.key is None:
            continue
        if binding.value is None:
            # Not shown either, because a key that was pasted without quotes looks like this.
            notes.append(f"line {line} has a name without a value: it counts as not set")
            bare.append(line)
            continue
        if binding.key in lines:
            name = binding.key if _NAME.fullmatch(binding.key) else "a name"
            notes.append(f"line {line} sets {name} again, after line {lines[binding.key]}: the last one counts")
        if _ASSIGNMENT.search(binding.value.partition("\n")[2]):
            notes.append(f"the value that starts at line {line} runs over another NAME=: is a quote left open?")
        if _is_expanded(written, binding.value):
            expanded.append(line)
        lines[binding.key] = line
        values[binding.key] = SensitiveStr(binding.value)
    if len(notes) > MAX_NOTES:
        notes[MAX_NOTES - 1 :] = [f"it has {len(notes) - MAX_NOTES + 1:,} more such lines"]
    return Dotenv(SensitiveDict(values), tuple(notes), tuple(bare), tuple(expanded))


def _is_expanded(written: str, value: str) -> bool:
    """Return True if a shell, or python-dotenv by default, would replace a part of the value.

    Args:
        written: the text after the equal sign, with quotes and comment.
        value: the value.
    """
    if written.lstrip().startswith("'"):
        return _EXPANDED_BY_DOTENV in value
    return _EXPANDED.search(value) is not None


def _raise_mistake(parsed: Dotenv | _Mistake, file: str | Path) -> Dotenv:
    if isinstance(parsed, _Mistake):
        line = f", line {parsed.line}" if parsed.line else ""
        raise ConfigurationError(f"{file}{line}: {parsed.description}")
    return parsed


def _first_line(binding: Binding) -> int:
    """Return the line of the binding's name: python-dotenv counts the blank lines before it as part of it."""
    text = binding.original.string
    return binding.original.line + text.count("\n", 0, len(text) - len(text.lstrip()))


def log_once(file: Path, note: str) -> None:
    """Log a note once for each file, under any name: `./.env` is read for the configuration and as a store.

    Two threads that read the file for the first time at once may both log it.
    """
    about = str(file.absolute()), note
    if about not in _logged:
        _logged.add(about)
        logger.warning("%s: %s", file, note)


def dotenv_line(name: str, value: str, comment: str = "") -> SensitiveStr | None:
    """Return `NAME=value`, the comment and a line end; None if no form of the module's docstring fits."""
    candidates = [value] if _BARE.fullmatch(value) else []
    if "'" not in value:
        candidates.append(f"'{value}'")
    if "$" not in value and "`" not in value:
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        candidates.append(f'"{escaped}"')
    for quoted in candidates:
        line = SensitiveStr(f"{name}={quoted}{comment}\n")
        if _EXPANDED_BY_DOTENV not in value and _reads_as(line, name, value):
            return line
    return None


def unwritable(value: str) -> str:
    """Return why `dotenv_line` has no line for a value."""
    if len(value) > MAX_SIZE - _LONGEST_NAME:
        return f"it is too long: a .env file has at most {MAX_SIZE:,} bytes"
    if value.count("\n") + value.count("\r") >= MAX_LINES:
        return f"it has too many lines: a .env file has at most {MAX_LINES:,}"
    if _BLANKS.search(value):
        return f"it has more than {MAX_BLANKS} blanks in a row, which no .env file may have"
    return "a .env file cannot hold it so that a shell and python-dotenv read the same"


def set_values(text: str, values: Mapping[str, str | None]) -> SensitiveStr:
    """Return the text of a `.env` file with these values; None removes a variable. All other lines stay as they are.

    A changed variable keeps its place, its `export` and its comment. Of duplicates the last one stays.

    Raises:
        InvalidDataError: a line is not `NAME=value`, or a value cannot be written. Names the line or the variable.
    """
    before = assigned(text)
    written: set[str] = set()
    lines: list[str] = []
    for binding in reversed(list(_bindings(text))):
        name = binding.key or ""
        value = values.get(name)
        unchanged = before.get(name) == value
        if name not in values or (unchanged and binding.value is None):  # the value is in an earlier line
            lines.append(binding.original.string)
            continue
        if value is not None and name not in written:
            lines.append(binding.original.string if unchanged else _replaced(binding.original.string, name, value))
        written.add(name)
    lines.reverse()
    added = {name: value for name, value in values.items() if name not in written and value is not None}
    if added and lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    return SensitiveStr("".join([*lines, *(_line(name, value) for name, value in added.items())]))


def assigned(text: str) -> dict[str, SensitiveStr]:
    """Return the values in the text of a `.env` file, as data of a store.

    Raises:
        InvalidDataError: a line is not `NAME=value`. Names the line.
    """
    parsed = _parse(text)
    del text
    if isinstance(parsed, _Mistake):
        raise InvalidDataError(None, f"line {parsed.line}: {parsed.description}" if parsed.line else parsed.description)
    return {name: parsed.get(name) for name in parsed.values}


def _replaced(before: str, name: str, value: str) -> SensitiveStr:
    """Return the new line, with the blank lines, the `export` and the comment of the old one."""
    assignment = before.lstrip()
    blank = before[: len(before) - len(assignment)]
    export = "export " if assignment.startswith("export ") else ""
    return SensitiveStr(f"{blank}{export}{_line(name, value, _comment(assignment))}")


def _comment(assignment: str) -> str:
    """Return the comment at the end of NAME=value with the blanks before it; empty if it has no comment."""
    from dotenv.parser import Reader, parse_value

    rest = assignment.partition("=")[2].rstrip("\r\n")
    reader = Reader(io.StringIO(rest.lstrip(), newline=""))
    if reader.peek(1) in {"'", '"'}:
        parse_value(reader)
        found = reader.string[reader.position.chars :]
    else:
        mark = _COMMENT.search(rest)
        found = rest[mark.start() :] if mark else ""
    text = found.lstrip()
    separator = found[: len(found) - len(text)]
    if separator.strip(" \t") or not separator:  # a shell takes no other white space for a blank
        separator = " "
    return f"{separator}{text}" if text else ""


def _line(name: str, value: str, comment: str = "") -> SensitiveStr:
    line = dotenv_line(name, value, comment)
    fault = unwritable(value) if line is None else ""
    del value, comment
    if line is None:
        raise InvalidDataError(None, f"{name}: {fault}")
    return line


def _bindings(text: str) -> Iterator[Binding]:
    from dotenv.parser import parse_stream

    return parse_stream(io.StringIO(text, newline=""))


def _reads_as(line: str, name: str, value: str) -> bool:
    parsed = _parse(line)
    return isinstance(parsed, Dotenv) and parsed.values == {name: value}
