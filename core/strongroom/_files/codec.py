"""The interface of a file format: it decodes bytes to secrets, encodes secrets, and refuses those it cannot hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, TypeAlias

from strongroom.errors import InvalidDataError
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


def as_text(content: bytes, *, bom: bool = True) -> SensitiveStr:
    """Decode UTF-8, without a byte order mark at the beginning.

    Raises:
        InvalidDataError: it is not UTF-8; names the line.
    """
    line = 0
    try:
        return SensitiveStr(content.decode("utf-8-sig" if bom else "utf-8"))
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
