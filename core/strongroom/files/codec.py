"""What a format is: how the bytes of a file hold secrets, and which secrets it cannot hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, TypeAlias

from strongroom.errors import InvalidDataError
from strongroom.paths import check_path
from strongroom.secret import SensitiveDict, SensitiveStr, Value, check_data

Contents: TypeAlias = Mapping[str, Mapping[str, Value]]
"""What a file holds: path to key to value."""


class Codec(Protocol):
    """A format. Pure: it reads and writes bytes, and no file.

    What it encodes it decodes to the same again, all values and all types, or it refuses to encode it. Its errors name
    path and key, or the line where a text is not of the format, and show nothing of what stands there.
    """

    name: str
    """The format's name, as people write it."""

    keeps_more: bool
    """Whether a file of it holds more than secrets, which a rewrite keeps."""

    def decode(self, content: bytes) -> dict[str, SensitiveDict]:
        """What the content holds.

        Raises:
            InvalidDataError, InvalidPathError: it is not of the format, or what it says is not one clear secret.
        """
        ...

    def encode(self, contents: Contents, before: bytes) -> bytes:
        """The content that holds exactly these secrets.

        Args:
            contents: every secret of the file. Each passed `vet`.
            before: what the file held; a format in which not everything is a secret keeps the rest. It can be empty.
        """
        ...

    def vet(self, path: str, data: Mapping[str, Value]) -> None:
        """Nothing, where the format can hold it.

        Raises:
            InvalidDataError, InvalidPathError, SecretTooLargeError: names path and key.
        """
        ...


def as_text(content: bytes, *, bom: bool = True) -> SensitiveStr:
    """The content as text, without a byte order mark at its beginning.

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


def checked(path: str, data: Mapping[str, Value]) -> SensitiveDict:
    """A secret out of a file, when it could be in a store: nobody but a person wrote it.

    Raises:
        InvalidDataError, InvalidPathError: names path and key.
    """
    return check_data(check_path(path), data)
