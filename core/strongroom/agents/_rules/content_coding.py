"""Decoding of compressed answers in bounded memory: gzip, and br and zstd if a package for them is installed.

A compressed text is shorter if it repeats itself. So where its parts end would tell a worker whether a text that it
chose repeats a value, and a decoded body is cut again.
"""

from __future__ import annotations

import importlib
import re
import zlib
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from typing import Any, Protocol

from strongroom.agents._rules.request import Refusal

BLOCK = 1 << 14
"""Bytes of a decoded body that make a part."""

LARGEST_STEP = 1 << 24
"""The most bytes into which one part of a body may decompress: a bomb ends its answer, not the memory."""

_LINE_END = re.compile(rb"[\r\n]")

_LARGEST_WINDOW = 1 << 23
"""Bytes that a decoder of zstd has to remember, by RFC 9659."""


class Decoder(Protocol):
    """Decodes a body, part by part."""

    def feed(self, content: bytes) -> bytes:
        """Return the decoded part. Raises Refusal for a malformed body."""
        ...

    def finish(self) -> None:
        """Raise Refusal if the body is incomplete."""


class _Identity:
    def feed(self, content: bytes) -> bytes:
        return content

    def finish(self) -> None:
        pass


class _Frames:
    """The decoder of a body that may have several frames, as gzip and zstd have.

    Args:
        start: returns the decoder of one frame.
        error: its exception for malformed content.
        step: the bytes that it gets at a time; they decompress to `LARGEST_STEP` at most.
    """

    def __init__(self, start: Callable[[], Any], error: type[Exception], step: int) -> None:
        self._start, self._error, self._step = start, error, step
        self._frame: Any = None

    def feed(self, content: bytes) -> bytes:
        parts: list[bytes] = []
        room = LARGEST_STEP
        for at in range(0, len(content), self._step):
            rest = content[at : at + self._step]
            while rest:
                if self._frame is None or self._frame.eof:
                    self._frame = self._start()
                try:
                    parts.append(self._frame.decompress(rest))
                except self._error:
                    raise _malformed() from None
                room -= len(parts[-1])
                if room < 0:
                    raise _too_large()
                rest = self._frame.unused_data
        return b"".join(parts)

    def finish(self) -> None:
        if not (self._frame is None or self._frame.eof):
            raise _malformed()


class _Brotli:
    def __init__(self, brotli: Any) -> None:
        self._decoder, self._error = brotli.Decompressor(), brotli.error
        self._is_empty = True

    def feed(self, content: bytes) -> bytes:
        if not content:
            return b""
        self._is_empty = False
        try:
            decoded: bytes = self._decoder.process(content, output_buffer_limit=LARGEST_STEP)
        except self._error:
            raise _malformed() from None
        if len(decoded) >= LARGEST_STEP:  # the decoder ends soon after its limit
            raise _too_large()
        return decoded

    def finish(self) -> None:
        if not (self._is_empty or self._decoder.is_finished()):
            raise _malformed()


def _malformed() -> Refusal:
    return Refusal(502, "The answer's compressed body is malformed or incomplete")


def _too_large() -> Refusal:
    return Refusal(502, f"A part of the answer decompresses to more than {LARGEST_STEP >> 20} MiB")


@cache
def _decoders() -> dict[str, Callable[[], Decoder]]:
    """Return the constructor of each decoder, by the name of the encoding."""
    decoders: dict[str, Callable[[], Decoder]] = {
        "identity": _Identity,
        "gzip": lambda: _Frames(lambda: zlib.decompressobj(wbits=31), zlib.error, 1 << 13),
    }
    brotli, zstandard = _imported("brotli"), _imported("zstandard")
    zstd = _imported("compression.zstd") or _imported("backports.zstd")  # of Python 3.14; of mitmproxy before it
    if hasattr(getattr(brotli, "Decompressor", None), "can_accept_more_data"):  # from 1.2: others have no limit
        decoders["br"] = lambda: _Brotli(brotli)
    if zstd is not None:
        limit = {zstd.DecompressionParameter.window_log_max: _LARGEST_WINDOW.bit_length() - 1}
        decoders["zstd"] = lambda: _Frames(lambda: zstd.ZstdDecompressor(options=limit), zstd.ZstdError, 1 << 8)
    elif zstandard is not None:
        start = zstandard.ZstdDecompressor(max_window_size=_LARGEST_WINDOW).decompressobj
        decoders["zstd"] = lambda: _Frames(start, zstandard.ZstdError, 1 << 8)
    return decoders


def _imported(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def decoder_for(encoding: str) -> Decoder:
    """Return the decoder of a Content-Encoding; an empty one is `identity`.

    Raises:
        Refusal: it cannot be decoded, or is several on top of each other.
    """
    name = encoding.strip().lower() or "identity"
    make = _decoders().get("gzip" if name == "x-gzip" else name)
    if make is None:
        raise Refusal(502, "The answer has a content coding in which a secret could not be found")
    return make()


def accepted(encodings: str) -> str:
    """Return the value of Accept-Encoding without the encodings that cannot be decoded."""
    kept = [part.strip() for part in encodings.split(",") if part.partition(";")[0].strip().lower() in _decoders()]
    return ", ".join(kept) or "identity"


class Cutter:
    """Cuts a body into parts whose lengths its text alone decides, however it arrives.

    Args:
        at_lines: a part ends at each line too, so that the events of a stream are not late.
    """

    def __init__(self, *, at_lines: bool) -> None:
        self._at_lines = at_lines
        self._rest = b""

    def cut(self, content: bytes) -> list[bytes]:
        """Return the parts that are complete."""
        content = self._rest + content
        # CR and LF each end a part: whether LF follows a CR is not known before it arrives.
        ends = [0, *(found.end() for found in _LINE_END.finditer(content))] if self._at_lines else [0]
        lines = (content[start:end] for start, end in pairwise(ends))
        rest = content[ends[-1] :]
        end = len(rest) - len(rest) % BLOCK
        self._rest = rest[end:]
        return [text[at : at + BLOCK] for text in (*lines, rest[:end]) for at in range(0, len(text), BLOCK)]

    def end(self) -> list[bytes]:
        """Return the rest."""
        rest, self._rest = self._rest, b""
        return [rest] if rest else []
