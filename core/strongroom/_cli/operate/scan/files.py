"""Search for known values in streams, files and archives, also in archives within archives."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, NamedTuple, TypeAlias

from strongroom._cli.operate.scan.allowance import Allowance
from strongroom._fingerprints import Fingerprints
from strongroom.errors import ConfigurationError

BLOCK = 1 << 22
"""Bytes that are searched at once."""

OVERLAP = 1 << 16
"""Bytes that are searched again with the next block: longer than nearly every form of a value."""

_DEEPEST = 4
"""How deep archives within archives are searched, such as the layers of a container image and the packages in them."""

_DAMAGE = (
    *(OSError, EOFError, RuntimeError, ValueError, LookupError),
    *(zipfile.BadZipFile, tarfile.TarError, lzma.LZMAError, zlib.error, struct.error),
)
"""The errors of an archive that is damaged, encrypted, or of another format than its first bytes."""

_Stream: TypeAlias = "io.BufferedReader | gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile"
"""A stream that can show its first bytes and stay at its start."""

_COMPRESSED: dict[bytes, Callable[[_Stream], _Stream]] = {
    b"\x1f\x8b": lambda stream: gzip.GzipFile(fileobj=stream),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\0": lzma.LZMAFile,  # type: ignore[dict-item]  # it reads and seeks, no more
}
_ZIP = b"PK\x03\x04"
_TAR, _TAR_OFFSET = b"ustar", 257


class Leak(NamedTuple):
    """A known value at a place.

    Attributes:
        place: the file, with `!` and the member of an archive; or the file and the commit of a repository.
        line: the line, from 1.
        name: PATH#KEY of the secret.
        form: the form in which it stands: see `fingerprints.Match`.
    """

    place: str
    line: int
    name: str
    form: str


def search(known: Fingerprints, stream: IO[bytes] | io.BufferedIOBase, place: str) -> Iterator[Leak]:
    """Yield the leaks in a stream, block by block. Text in UTF-16 is searched if it begins with a byte order mark."""
    line, skip, held = 1, 0, b""
    first = True
    decoder: codecs.IncrementalDecoder | None = None
    while True:
        block = stream.read(BLOCK)
        if first and block.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            decoder = codecs.getincrementaldecoder("utf-16")("replace")
        first, end = False, not block
        content = block if decoder is None else decoder.decode(block, end).encode("utf-8", "replace")
        text = (held + content).decode("latin-1")
        limit = len(text) if end else max(len(text) - OVERLAP, 0)
        counted = 0
        for match in known.find(text):
            if match.start >= limit:
                break
            if match.start >= skip:
                line += text.count("\n", counted, match.start)
                counted = match.start
                skip = match.end
                yield Leak(place, line, match.name, match.form)
        if end:
            return
        line += text.count("\n", counted, limit)
        held = text[limit:].encode("latin-1")
        skip = max(skip - limit, 0)


def search_path(known: Fingerprints, path: Path, allowance: Allowance) -> Iterator[Leak]:
    """Yield the leaks in a file, or in all files below a folder. Symbolic links and `.git` are skipped.

    Raises:
        ConfigurationError: a file cannot be read.
    """
    files = [path] if not path.is_dir() else sorted(_files(path))
    for file in files:
        try:
            with file.open("rb") as stream:
                yield from search_input(known, stream, str(file), allowance)
        except OSError as error:
            fault = error.strerror or "it cannot be read"
        else:
            continue
        raise ConfigurationError(f"Cannot scan {file}: {fault}")


def _files(folder: Path) -> Iterator[Path]:
    for entry in folder.iterdir():
        if entry.is_symlink() or entry.name == ".git":
            continue
        if entry.is_dir():
            yield from _files(entry)
        elif entry.is_file():
            yield entry


def search_input(known: Fingerprints, stream: _Stream, place: str, allowance: Allowance) -> Iterator[Leak]:
    """Yield the leaks in a file, and in its members if its first bytes are those of an archive."""
    size = stream.seek(0, io.SEEK_END) if stream.seekable() else 0
    if size:
        stream.seek(0)
    with allowance.input(place, size):
        yield from _search_content(known, stream, place, allowance)


def _search_content(
    known: Fingerprints, stream: _Stream, place: str, allowance: Allowance, depth: int = 0
) -> Iterator[Leak]:
    first = stream.peek(_TAR_OFFSET + len(_TAR))
    expand = next((expand for mark, expand in _COMPRESSED.items() if first.startswith(mark)), None)
    is_zip, is_tar = first.startswith(_ZIP), first.startswith(_TAR, _TAR_OFFSET)
    if depth == _DEEPEST or not (expand or is_zip or is_tar):
        yield from search(known, stream, place)
        return
    if is_zip and depth:
        stream = allowance.limited(io.BytesIO(stream.read()))  # its index is at its end
    try:
        if expand is not None:
            with expand(stream) as expanded:
                yield from _search_content(known, allowance.limited(expanded), f"{place}!", allowance, depth + 1)
        else:
            yield from (_search_zip if is_zip else _search_tar)(known, stream, place, allowance, depth + 1)
    except _DAMAGE:
        whole = False
    else:
        whole = not is_zip  # a program may stand before a zip, and its comment behind it
    if not whole:
        stream.seek(0)
        yield from search(known, stream, place)


def _search_zip(known: Fingerprints, stream: _Stream, place: str, allowance: Allowance, depth: int) -> Iterator[Leak]:
    with zipfile.ZipFile(stream) as archive:
        for member in archive.infolist():
            if allowance.spent:
                return
            if not member.is_dir():
                with archive.open(member) as content:
                    name = f"{place}!{member.filename}"
                    yield from _search_content(known, allowance.limited(content), name, allowance, depth)


def _search_tar(known: Fingerprints, stream: _Stream, place: str, allowance: Allowance, depth: int) -> Iterator[Leak]:
    with tarfile.open(fileobj=stream, mode="r:") as archive:
        for member in archive:
            if allowance.spent:
                return
            if member.isfile() and (content := archive.extractfile(member)) is not None:
                name = f"{place.removesuffix('!')}!{member.name}"
                yield from _search_content(known, allowance.limited(content), name, allowance, depth)
