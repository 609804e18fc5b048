"""A `.env` file, written by the names of the mapping. What no row of it names stays as it is, comments too."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from strongroom.config.dotenv import parse_dotenv
from strongroom.config.env_names import EnvironmentMapping
from strongroom.errors import ConfigurationError, InvalidDataError, InvalidPathError
from strongroom.files.codec import Contents, as_text
from strongroom.files.dotenv_text import comment_of, dotenv_line
from strongroom.secret import SensitiveDict, SensitiveStr, Value

if TYPE_CHECKING:
    from dotenv.parser import Binding


class DotenvCodec:
    """The format `dotenv`. It holds text, and of that nothing empty: an empty variable counts as missing.

    Args:
        mapping: which variable stands for which path and key. Only its table counts, since that can be read both ways.
    """

    name = "a .env file"
    keeps_more = True

    def __init__(self, mapping: EnvironmentMapping) -> None:
        self._mapping = mapping

    def decode(self, content: bytes) -> dict[str, SensitiveDict]:
        """The variables that the mapping names and that are not empty."""
        secrets: dict[str, SensitiveDict] = {}
        values = _values(as_text(content))
        for path, key, variable in self._mapping.present(values):
            if value := values[variable]:
                secrets.setdefault(path, SensitiveDict())[key] = value
        return secrets

    def encode(self, contents: Contents, before: bytes) -> bytes:
        """The file's own lines, with those of changed variables replaced and those of new ones at the end."""
        text = as_text(before)
        values = _values(text)
        wanted = {self._variable(path, key): value for path, data in contents.items() for key, value in data.items()}
        lines: list[str] = []
        written: set[str] = set()
        for binding in reversed(list(_bindings(text))):  # of duplicates the last one counts
            name = binding.key
            if name is None or not values.get(name) or self._mapping.locate(name) is None:
                lines.append(binding.original.string)
            elif name in wanted and name not in written:
                written.add(name)
                same = wanted[name] == values[name]
                lines.append(binding.original.string if same else _replaced(binding, values[name], wanted[name]))
        lines.reverse()
        if lines and not lines[-1].endswith("\n"):
            lines[-1] += "\n"
        lines += [_line(name, value) for name, value in wanted.items() if name not in written]
        return "".join(lines).encode()

    def vet(self, path: str, data: Mapping[str, Value]) -> None:
        """Refuses what has no variable, is no text, is empty, or cannot be quoted."""
        for key, value in data.items():
            if fault := _fault(self._variable(path, key), value):
                raise InvalidDataError(path, f"key {key!r}: {fault}")

    def _variable(self, path: str, key: str) -> str:
        name = self._mapping.keys(path).get(key)
        if name is None:
            raise InvalidPathError(path, f"no variable stands for key {key!r}", hint="Add a row to [secrets]")
        return name


def _fault(name: str, value: Value) -> str:
    if not isinstance(value, str):
        return "it is not text, and a .env file holds nothing else"
    if not value:
        return "it is empty, and an empty variable counts as missing"
    return "no .env file can hold it exactly" if dotenv_line(name, value) is None else ""


def _values(text: str) -> dict[str, SensitiveStr]:
    fault = ""
    try:
        values = parse_dotenv(text).values
        return {name: SensitiveStr(value) for name, value in values.items() if isinstance(value, str)}
    except ConfigurationError as error:
        fault = str(error).partition(", ")[2]
    del text
    raise InvalidDataError(None, fault)


def _bindings(text: str) -> Iterator[Binding]:
    from dotenv.parser import parse_stream

    return parse_stream(io.StringIO(text, newline=None))


def _replaced(binding: Binding, before: str, value: Value) -> str:
    """The new line, below the blank lines that stood above the old one, exported where that was, with its comment.

    The comment goes above the line where no quoting would keep it apart from the value.
    """
    old = binding.original.string
    blank = old[: len(old) - len(old.lstrip())]
    export = "export " if old.lstrip().startswith("export ") else ""
    name = str(binding.key)
    comment = comment_of(old, name, before)
    beside = f" {comment}" if comment.startswith("#") else comment
    if (line := dotenv_line(name, str(value), beside)) is not None:
        return f"{blank}{export}{line}"
    return f"{blank}{comment.lstrip()}\n{export}{_line(name, value)}"


def _line(name: str, value: Value) -> str:
    return dotenv_line(name, str(value)) or ""
