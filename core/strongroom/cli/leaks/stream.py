"""Search for known values in a stream."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator
from typing import IO, NamedTuple

from strongroom.fingerprints import Fingerprints

_BLOCK = 1 << 22
"""Bytes that are searched at once."""

_OVERLAP = 1 << 16
"""Bytes that are searched again with the next block: longer than nearly every form of a value."""

LARGEST = 1 << 30
"""Bytes of an archive's member, or of a compressed file, that are searched."""


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
    left = LARGEST
    decoder: codecs.IncrementalDecoder | None = None
    while left > 0:
        block = stream.read(min(_BLOCK, left))
        if left == LARGEST and block.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            decoder = codecs.getincrementaldecoder("utf-16")("replace")
        left -= len(block)
        end = not block or left <= 0
        content = block if decoder is None else decoder.decode(block, end).encode("utf-8", "replace")
        text = (held + content).decode("latin-1")
        limit = len(text) if end else max(len(text) - _OVERLAP, 0)
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
