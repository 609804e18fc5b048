"""Search for known values in streams, files and archives, also in archives within archives."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

from strongroom._cli.scan.allowance import DAMAGE, Allowance, Reason, Stream
from strongroom._cli.scan.archives import kind_of, spooled, tar_members, zip_members
from strongroom._redaction.fingerprints import Fingerprints

BLOCK = 1 << 22
"""Bytes that are searched at once."""

OVERLAP = 1 << 16
"""Bytes that are searched again with the next block: longer than nearly every form of a value."""

_DEEPEST = 4
"""How deep archives within archives are searched, such as the layers of a container image and the packages in them."""


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

    A file or a folder that cannot be read is noted, and the others are searched.
    """
    for file in (path,) if not path.is_dir() else _files(path, allowance):
        try:
            with file.open("rb") as stream:
                yield from search_input(known, stream, str(file), allowance)
        except OSError:
            allowance.leave(str(file), Reason.REFUSED)


def _files(folder: Path, allowance: Allowance) -> Iterator[Path]:
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        allowance.leave(str(folder), Reason.REFUSED)
        return
    for entry in entries:
        if entry.is_symlink() or entry.name == ".git":
            continue
        if entry.is_dir():
            yield from _files(entry, allowance)
        elif entry.is_file():
            yield entry


def search_input(known: Fingerprints, stream: Stream, place: str, allowance: Allowance) -> Iterator[Leak]:
    """Yield the leaks in a file, and in its members if its first bytes are those of an archive.

    An archive from a pipe is copied first, since it is read from both ends.
    """
    if not stream.seekable() and kind_of(stream, nested=True) is not None:
        stream = spooled(stream)
    size = stream.seek(0, io.SEEK_END) if stream.seekable() else 0
    if size:
        stream.seek(0)
    with allowance.input(place, size):
        yield from search_content(known, stream, place, allowance)


def search_content(
    known: Fingerprints, stream: Stream, place: str, allowance: Allowance, depth: int = 0
) -> Iterator[Leak]:
    """Yield the leaks in a stream, and in its members if it is an archive, within the block of `Allowance.input`."""
    expand = kind_of(stream, nested=depth > 0)
    if expand is not None and depth == _DEEPEST:
        allowance.leave(place, Reason.NESTED)
        expand = None
    if expand is None:
        yield from search(known, stream, place)
        return
    if expand is zip_members and depth:
        stream = allowance.limited(spooled(stream), place)  # its index is at its end
    try:
        for name, content in expand(stream, place, allowance):
            yield from search_content(known, content, name, allowance, depth + 1)
    except DAMAGE:
        allowance.leave(place)
    # A program may stand before a zip, and text behind each archive. To go back in a member expands the archive again.
    beside = expand is zip_members or (expand is not tar_members and not depth)
    if beside or place.rstrip("!") in allowance.reasons:
        stream.seek(0)
        yield from search(known, stream, place)
