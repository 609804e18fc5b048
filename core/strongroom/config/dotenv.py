"""Reading one `.env` file exactly: python-dotenv's grammar, with what it passes over in silence said aloud.

Nothing is expanded (`${OTHER}` stays as it is written) and nothing is put into the environment.
"""

from __future__ import annotations

import errno
import io
import logging
import os
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from strongroom.bounded_file import read_bytes
from strongroom.errors import ConfigurationError
from strongroom.secret import SensitiveDict, SensitiveStr

if TYPE_CHECKING:
    from dotenv.parser import Binding

logger = logging.getLogger("strongroom.secrets_manager")

MAX_SIZE = 1 << 20
"""The largest file that is read, in bytes."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# Not a last line of base64, which ends in one or two equal signs.
_ASSIGNMENT = re.compile(r"^\s*(?:export\s+)?[A-Za-z_][A-Za-z0-9_]*=(?!=|\s|$)", re.MULTILINE)

_logged: set[tuple[str, str]] = set()
_logging = threading.Lock()


class Dotenv(NamedTuple):
    """What a `.env` file says.

    Attributes:
        values: each name with its value, as `SensitiveStr`; of duplicates, the last. A name without `=` has no value.
        notes: what its author probably did not mean, each a line of words with a line number, and never a value.
        bare: the lines that have a name without `=`. Its name may be a piece of a value, and is kept nowhere.
    """

    values: SensitiveDict
    notes: tuple[str, ...]
    bare: tuple[int, ...] = ()

    def get(self, name: str) -> SensitiveStr:
        """The value of a name; the empty string where it is not set, as an empty variable counts as missing."""
        value = self.values.get(name)
        return value if isinstance(value, SensitiveStr) else SensitiveStr("")


class _Mistake(NamedTuple):
    """What is wrong with a file, and in which line. Returned and not raised: a raise would keep the frame's text."""

    line: int
    what: str


def parse_dotenv(text: str, file: str | Path = ".env") -> Dotenv:
    """What a `.env` file of this text says. Line ends inside quotes become a single newline, as in python-dotenv.

    Raises:
        ConfigurationError: names `file` and the line that is not NAME=value: a quote left open, a name with a space.
    """
    found = _parsed(text)
    del text
    return _without_mistake(found, file)


def read_dotenv(file: Path, *, inspect: Callable[[os.stat_result, bytes], str] | None = None) -> Dotenv:
    """What the `.env` file says now. Its notes, and that others may read it, are logged once in a process.

    Raises:
        FileNotFoundError: there is no such file. A folder of that name, such as a virtual environment, is none.
        OSError: it cannot be read.
        ConfigurationError: names the file, and the line that is wrong: as `parse_dotenv` does, or it is not UTF-8, or
            the file is larger than `MAX_SIZE`.
    """
    try:
        content, status = read_bytes(file, MAX_SIZE)
    except IsADirectoryError as error:
        raise FileNotFoundError(errno.ENOENT, error.strerror, str(file)) from None
    if fault := inspect(status, content) if inspect else "":
        del content
        raise ConfigurationError(f"{file}: {fault}")
    size, found = len(content), _decoded(content)
    del content
    if size > MAX_SIZE:
        raise ConfigurationError(f"{file}: larger than {MAX_SIZE:,} bytes: it is not a .env file")
    read = _without_mistake(found, file)
    if status.st_mode & 0o077:
        read = read._replace(notes=(*read.notes, "others than its owner may read it: run chmod 600 on it"))
    for note in read.notes:
        _log_once(file, note)
    return read


def _decoded(content: bytes) -> Dotenv | _Mistake:
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        return _Mistake(content.count(b"\n", 0, error.start) + 1, "it is not UTF-8")
    return _parsed(text)


def _parsed(text: str) -> Dotenv | _Mistake:
    from dotenv.parser import parse_stream

    if "\0" in text:
        return _Mistake(text.count("\n", 0, text.index("\0")) + 1, "a NUL byte: save the file as UTF-8")
    values: dict[str, SensitiveStr] = {}
    lines: dict[str, int] = {}
    notes: list[str] = []
    bare: list[int] = []
    for binding in parse_stream(io.StringIO(text.removeprefix("\ufeff"), newline=None)):
        line = _first_line(binding)
        if binding.error:
            # Not even a part of the line is shown: what stands after an open quote is a value.
            return _Mistake(line, "it is not NAME=value: is a quote left open?")
        if binding.key is None:
            continue
        if binding.value is None:
            # Not shown either: it may be a line of a key that was pasted without quotes.
            notes.append(f"line {line} has a name without a value: it counts as not set")
            bare.append(line)
            continue
        if binding.key in lines:
            name = binding.key if _NAME.fullmatch(binding.key) else "a name"
            notes.append(f"line {line} sets {name} again, after line {lines[binding.key]}: the last one counts")
        if _ASSIGNMENT.search(binding.value.partition("\n")[2]):
            notes.append(f"the value that starts at line {line} runs over another NAME=: is a quote left open?")
        lines[binding.key] = line
        values[binding.key] = SensitiveStr(binding.value)
    return Dotenv(SensitiveDict(values), tuple(notes), tuple(bare))


def _without_mistake(found: Dotenv | _Mistake, file: str | Path) -> Dotenv:
    if isinstance(found, _Mistake):
        raise ConfigurationError(f"{file}, line {found.line}: {found.what}")
    return found


def _first_line(binding: Binding) -> int:
    """The line that the binding's own text starts at: python-dotenv counts the blank lines before it as part of it."""
    text = binding.original.string
    return binding.original.line + text.count("\n", 0, len(text) - len(text.lstrip()))


def _log_once(file: Path, note: str) -> None:
    """Under whatever name it is read: `./.env` is read for what configures Strongroom, and as a store."""
    about = str(file.absolute()), note
    with _logging:
        if about in _logged:
            return
        _logged.add(about)
    logger.warning("%s: %s", file, note)
