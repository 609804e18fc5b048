"""The format `dotenv`."""

from __future__ import annotations

from collections.abc import Mapping

from strongroom._files.codec import Contents, as_text
from strongroom.errors import InvalidDataError, InvalidPathError
from strongroom.formats.dotenv import assigned, dotenv_line, set_values, unwritable
from strongroom.formats.variables import EnvironmentMapping
from strongroom.secret import SensitiveDict, SensitiveStr, Value


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
        return self._secrets(assigned(as_text(content)))

    def encode(self, contents: Contents, before: bytes) -> bytes:
        """Replace the lines of changed variables, remove those of removed ones, and append new ones."""
        text = as_text(before)
        values: dict[str, str | None] = {
            self._variable(path, key): None for path, data in self._secrets(assigned(text)).items() for key in data
        }
        values |= {
            self._variable(path, key): str(value) for path, data in contents.items() for key, value in data.items()
        }
        return set_values(text, values).encode()

    def vet(self, path: str, data: Mapping[str, Value]) -> None:
        for key, value in data.items():
            fault = ""
            name = self._variable(path, key)
            if not isinstance(value, str):
                fault = "it is not text, and a .env file holds nothing else"
            elif not value:
                fault = "it is empty, and an empty variable counts as missing"
            elif dotenv_line(name, value) is None:
                fault = unwritable(value)
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
