"""The interface of a file format, and JSON, the simplest one.

A format decodes bytes to secrets, encodes secrets, and refuses those that it cannot hold. Every other format has a
separate module, so that none loads the library of another.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Protocol, TypeAlias

from strongroom.encoding import from_json, json_text, to_json
from strongroom.errors import InvalidDataError
from strongroom.formats.strict_json import read_json
from strongroom.paths import check_path
from strongroom.secret import SensitiveDict, SensitiveStr, Value, check_data

_MARKS = {"\n": "line ends", "\r": "carriage returns"}

Contents: TypeAlias = Mapping[str, Mapping[str, Value]]
"""The secrets of a file: path to key to value."""


class Codec(Protocol):
    """A file format. Pure: it converts bytes and opens no file.

    Decoding returns exactly the values and types that were encoded; `vet` refuses all others. Errors name the path and
    key, or the line that is malformed, and never show content.
    """

    name: str
    """The name of the format, for messages."""

    keeps_more: bool
    """Whether a file also holds other content, which a rewrite keeps."""

    def decode(self, content: bytes) -> dict[str, SensitiveDict]:
        """Return the secrets in the content.

        Raises:
            InvalidDataError, InvalidPathError: the content is malformed or ambiguous, or no store could hold a secret.
        """
        ...

    def encode(self, contents: Contents, before: bytes) -> bytes:
        """Return content that holds exactly these secrets.

        Args:
            contents: every secret of the file. Each passed `vet`.
            before: the old content, which can be empty. A format with `keeps_more` keeps all other content.
        """
        ...

    def vet(self, path: str, data: Mapping[str, Value]) -> None:
        """Check that the format can hold a secret.

        Raises:
            InvalidDataError, InvalidPathError, SecretTooLargeError: names the path and the key.
        """
        ...


def as_text(content: bytes) -> SensitiveStr:
    """Decode UTF-8, without a byte order mark at the beginning.

    Raises:
        InvalidDataError: it is not UTF-8; names the line.
    """
    line = 0
    try:
        return SensitiveStr(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
    # Outside the `except`: a decoder's error holds the whole content.
    del content
    raise InvalidDataError(None, f"line {line}: it is not UTF-8")


def check_marks(text: str, marks: str, most: int) -> None:
    """Refuse a text with more than `most` of these marks: the time of its parser grows with them, not with the bytes.

    Raises:
        InvalidDataError: there are more.
    """
    if sum(map(text.count, marks)) > most:
        del text
        words = ", ".join(_MARKS.get(mark, repr(mark)) for mark in marks)
        raise InvalidDataError(
            None, f"too many fields: more than {most:,} of {words}", hint="Split the file into several"
        )


def checked(path: str, data: Mapping[str, Value]) -> SensitiveDict:
    """Check a secret from a file as if it were written to a store, since a person may have edited the file.

    Raises:
        InvalidDataError, InvalidPathError: names the path and the key.
    """
    return check_data(check_path(path), data)


def check_numbers(path: str, data: Mapping[str, Value]) -> None:
    """Refuse integers with more digits than Python reads.

    Raises:
        InvalidDataError: names the path and the key.
    """
    for key, value in data.items():
        json_text(path, key, value)


class JsonCodec:
    """The format `json`: an object of paths, each an object of keys. It holds every value.

    Bytes are `{"strongroom:bytes": "<base64>"}`, as everywhere.
    """

    name = "JSON"
    keeps_more = False

    def decode(self, content: bytes) -> dict[str, SensitiveDict]:
        """Return the secrets. A repeated name in an object and a number such as NaN are errors."""
        return secrets_of(read_json(as_text(content)))

    def encode(self, contents: Contents, before: bytes) -> bytes:
        """Write indented JSON, for people to read."""
        del before
        tree = {path: {key: to_json(value) for key, value in data.items()} for path, data in contents.items()}
        return f"{json.dumps(tree, ensure_ascii=False, allow_nan=False, indent=2)}\n".encode()

    vet = staticmethod(check_numbers)


def secrets_of(tree: object) -> dict[str, SensitiveDict]:
    """Return the secrets of a parsed JSON document.

    Raises:
        InvalidDataError, InvalidPathError: it is not an object of objects, or a path, key or value is invalid.
    """
    if not isinstance(tree, dict):
        raise InvalidDataError(None, "it is not an object of paths, each an object of keys")
    secrets: dict[str, SensitiveDict] = {}
    for path, data in tree.items():
        if not isinstance(data, dict):
            raise InvalidDataError(path, "it is not an object of keys")
        secrets[path] = checked(path, SensitiveDict((key, from_json(value)) for key, value in data.items()))
    return secrets
