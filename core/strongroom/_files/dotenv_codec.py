r"""The format `dotenv`, and the one writer of `NAME=value` lines.

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
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from strongroom._files.codec import Contents, as_text
from strongroom.dotenv import parse_dotenv
from strongroom.env_names import EnvironmentMapping
from strongroom.errors import ConfigurationError, InvalidDataError, InvalidPathError
from strongroom.secret import SensitiveDict, SensitiveStr, Value

if TYPE_CHECKING:
    from dotenv.parser import Binding

UNWRITABLE = "a .env file cannot hold it so that a shell and python-dotenv read the same"

_BARE = re.compile(r"[A-Za-z0-9_./:@%+,=-]*")
_EXPANDED_BY_SHELL = re.compile(r"[$`]")
_EXPANDED_BY_DOTENV = "${"
_ASSIGNMENT = re.compile(
    r"""\s*(?:export[^\S\r\n]+)?(?:'[^']+'|[^=#\s]+)[^\S\r\n]*=[^\S\r\n]*(?:'(?:\\'|[^'])*'|"(?:\\"|[^"])*"|[^'"\r\n][^\r\n]*|)"""
)
"""NAME=value in python-dotenv's grammar: https://github.com/theskumar/python-dotenv/blob/v1.1.1/src/dotenv/parser.py"""

_COMMENT = re.compile(r"[^\S\r\n]*#")
_COMMENT_OF_BARE = re.compile(r"[^\S\r\n]+#")


class DotenvCodec:
    """The format `dotenv`. It holds text that is not empty: an empty variable counts as missing.

    Lines that belong to no secret stay as they are, comments included.

    Args:
        mapping: the variable of each path and key. Only its table counts, which can be read both ways.
    """

    name = "a .env file"
    keeps_more = True

    def __init__(self, mapping: EnvironmentMapping) -> None:
        self._mapping = mapping

    def decode(self, content: bytes) -> dict[str, SensitiveDict]:
        """Return the secrets of the variables that the mapping knows and that are not empty."""
        return self._secrets(_values(as_text(content)))

    def encode(self, contents: Contents, before: bytes) -> bytes:
        """Replace the lines of changed variables, remove those of removed ones, and append new ones."""
        text = as_text(before)
        values: dict[str, str | None] = {
            self._variable(path, key): None for path, data in self._secrets(_values(text)).items() for key in data
        }
        values |= {
            self._variable(path, key): str(value) for path, data in contents.items() for key, value in data.items()
        }
        return set_values(text, values).encode()

    def vet(self, path: str, data: Mapping[str, Value]) -> None:
        """Refuse a value without a variable, and one that is not text, is empty, or cannot be written."""
        for key, value in data.items():
            fault = ""
            name = self._variable(path, key)
            if not isinstance(value, str):
                fault = "it is not text, and a .env file holds nothing else"
            elif not value:
                fault = "it is empty, and an empty variable counts as missing"
            elif dotenv_line(name, value) is None:
                fault = UNWRITABLE
            if fault:
                raise InvalidDataError(path, f"key {key!r}: {fault}")

    def _secrets(self, values: Mapping[str, SensitiveStr]) -> dict[str, SensitiveDict]:
        secrets: dict[str, SensitiveDict] = {}
        for path, key, variable in self._mapping.present(values):
            if value := values[variable]:
                secrets.setdefault(path, SensitiveDict())[key] = value
        return secrets

    def _variable(self, path: str, key: str) -> str:
        name = self._mapping.keys(path).get(key)
        if name is None:
            raise InvalidPathError(path, f"no variable stands for key {key!r}", hint="Add a row to [secrets]")
        return name


def dotenv_line(name: str, value: str, comment: str = "") -> SensitiveStr | None:
    """Return `NAME=value`, the comment and a line end; None if no form of the module's docstring fits."""
    candidates = [value] if _BARE.fullmatch(value) else []
    if "'" not in value:
        candidates.append(f"'{value}'")
    if not _EXPANDED_BY_SHELL.search(value):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        candidates.append(f'"{escaped}"')
    for quoted in candidates:
        line = SensitiveStr(f"{name}={quoted}{comment}\n")
        if _EXPANDED_BY_DOTENV not in value and _reads_as(line, name, value):
            return line
    return None


def set_values(text: str, values: Mapping[str, str | None]) -> SensitiveStr:
    """Return the text of a `.env` file with these values; None removes a variable. All other lines stay as they are.

    A changed variable keeps its place, its `export` and its comment. Of duplicates the last one stays.

    Raises:
        InvalidDataError: a line is not `NAME=value`, or a value cannot be written. Names the line or the variable.
    """
    before = _values(text)
    written: set[str] = set()
    lines: list[str] = []
    for binding in reversed(list(_bindings(text))):
        name = binding.key or ""
        if name not in values:
            lines.append(binding.original.string)
            continue
        value = values[name]
        if value is not None and name not in written:
            unchanged = before.get(name) == value
            lines.append(binding.original.string if unchanged else _replaced(binding, before.get(name, ""), value))
        written.add(name)
    lines.reverse()
    added = {name: value for name, value in values.items() if name not in written and value is not None}
    if added and lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    return SensitiveStr("".join([*lines, *(_line(name, value) for name, value in added.items())]))


def comment_of(line: str, name: str, value: str) -> SensitiveStr:
    """Return the comment at the end of a line with the blanks before it; empty if it has no comment.

    It begins after the quote that ends the value, or at the first blank with a # after it.
    """
    assignment = _ASSIGNMENT.match(line)
    if assignment is None:
        return SensitiveStr("")
    end = assignment.end()
    match = _COMMENT.match(line, end) if line[end - 1] in {"'", '"'} else None
    match = match or _COMMENT_OF_BARE.search(line, line.index("=") + 1)
    if match and _reads_as(line[: match.start()], name, value):
        return SensitiveStr(line[match.start() :].rstrip("\r\n"))
    return SensitiveStr("")


def _replaced(binding: Binding, before: str, value: str) -> str:
    """Return the new line, with the blank lines, the `export` and the comment of the old one.

    The comment goes above the line if no quoting would keep it apart from the value.
    """
    old = binding.original.string
    blank = old[: len(old) - len(old.lstrip())]
    export = "export " if old.lstrip().startswith("export ") else ""
    name = str(binding.key)
    comment = comment_of(old, name, before)
    text = comment.lstrip()
    separator = str(comment[: len(comment) - len(text)])
    if separator.strip(" \t") or not separator:  # a shell takes no other white space for a blank
        separator = " "
    beside = f"{separator}{text}" if text else ""
    if (line := dotenv_line(name, value, beside)) is not None:
        return f"{blank}{export}{line}"
    return f"{blank}{text}\n{export}{_line(name, value)}" if text else f"{blank}{export}{_line(name, value)}"


def _line(name: str, value: str) -> SensitiveStr:
    line = dotenv_line(name, value)
    del value
    if line is None:
        raise InvalidDataError(None, f"{name}: {UNWRITABLE}")
    return line


def _values(text: str) -> dict[str, SensitiveStr]:
    fault = ""
    try:
        values = parse_dotenv(text).values
        return {name: SensitiveStr(value) for name, value in values.items() if isinstance(value, str)}
    except ConfigurationError as error:
        fault = str(error).removeprefix(".env").lstrip(",: ")
    del text
    raise InvalidDataError(None, fault)


def _bindings(text: str) -> Iterator[Binding]:
    from dotenv.parser import parse_stream

    return parse_stream(io.StringIO(text, newline=""))


def _reads_as(line: str, name: str, value: str) -> bool:
    try:
        return parse_dotenv(line).values == {name: value}
    except ConfigurationError:
        return False
