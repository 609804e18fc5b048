"""Reading one `.env` file by python-dotenv's grammar, and reporting what python-dotenv skips silently.

Nothing is expanded (`${OTHER}` stays as it is written) and nothing is put into the environment.
"""

from __future__ import annotations

import errno
import io
import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from strongroom.bounded_file import Inspect, read_bytes
from strongroom.errors import ConfigurationError
from strongroom.secret import SensitiveDict, SensitiveStr
from strongroom.store import reentrant_lock

if TYPE_CHECKING:
    from dotenv.parser import Binding

logger = logging.getLogger("strongroom.secrets_manager")

MAX_SIZE = 1 << 20
"""The largest file that is read, in bytes."""

MAX_LINES = 20_000
"""The most lines of a file that is read. python-dotenv needs some 20 µs for each."""

MAX_BLANKS = 100
"""The longest run of blanks in a line. python-dotenv's time grows with the square of it."""

MAX_NOTES = 100

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_BLANKS = re.compile(rf"[^\S\r\n]{{{MAX_BLANKS + 1}}}")
# Not a last line of base64, which ends in one or two equal signs.
_ASSIGNMENT = re.compile(r"^[ \t]*+(?:export[ \t]++)?[A-Za-z_][A-Za-z0-9_]*+=(?!=|\s|$)", re.MULTILINE)

_DOUBLE_QUOTED = re.compile(r'"(?:\\.|[^"\\])*', re.DOTALL)
_EXPANDED = re.compile(r"`|\$[A-Za-z0-9_{(@*#?$!-]|\\\$")
"""Parts that a shell replaces, except between single quotes."""

_logged: set[tuple[str, str]] = set()
_logging = reentrant_lock()


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
        ConfigurationError: names `file` and the line that is not NAME=value: a quote left open, a name with a space;
            or the text has more than `MAX_SIZE` characters or `MAX_LINES` lines.
    """
    parsed = _parse(text)
    del text
    return _raise_mistake(parsed, file)


def read_dotenv(file: Path, *, inspect: Inspect | None = None) -> Dotenv:
    """Read a `.env` file. Log its notes, and a mode that lets others read it, once in a process.

    Raises:
        FileNotFoundError: there is no such file, or a folder of that name, such as a virtual environment.
        OSError: it cannot be read.
        ConfigurationError: names the file and the line: it is not NAME=value or not UTF-8, or the file has
            more than `MAX_SIZE` bytes or `MAX_LINES` lines.
    """
    try:
        content, status = read_bytes(file, MAX_SIZE)
    except IsADirectoryError as error:
        raise FileNotFoundError(errno.ENOENT, error.strerror, str(file)) from None
    if fault := inspect(status, content) if inspect else "":
        del content
        raise ConfigurationError(f"{file}: {fault}")
    parsed = _TOO_LARGE if len(content) > MAX_SIZE else _decode(content)
    del content
    dotenv = _raise_mistake(parsed, file)
    if status.st_mode & 0o077:
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
        if binding.error:
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
        if _is_expanded(binding.original.string.partition("=")[2].lstrip(), binding.value):
            expanded.append(line)
        lines[binding.key] = line
        values[binding.key] = SensitiveStr(binding.value)
    if len(notes) > MAX_NOTES:
        notes[MAX_NOTES - 1 :] = [f"it has {len(notes) - MAX_NOTES + 1:,} more such lines"]
    return Dotenv(SensitiveDict(values), tuple(notes), tuple(bare), tuple(expanded))


def _is_expanded(written: str, value: str) -> bool:
    """Return True if another reader would replace a part of the value.

    Args:
        written: the text after the equal sign, with quotes and comment.
        value: the value.
    """
    if written.startswith("'"):
        return "${" in value  # python-dotenv's default expands it even here
    quoted = _DOUBLE_QUOTED.match(written)
    return _EXPANDED.search(quoted.group() if quoted else value) is not None


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
    """Log a note once for each file, under any name: `./.env` is read for the configuration and as a store."""
    about = str(file.absolute()), note
    with _logging:
        if about in _logged:
            return
        _logged.add(about)
    logger.warning("%s: %s", file, note)
