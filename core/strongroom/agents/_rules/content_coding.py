"""Decoding of compressed answers in bounded memory: gzip, and br and zstd if a package for them is installed.

A compressed text is shorter if it repeats itself. So where its parts end would tell a worker whether a text that it
chose repeats a value, and a decoded body is cut again.
"""

from __future__ import annotations

import importlib
import re
import zlib
from collections.abc import Callable
from functools import cache, partial
from typing import Any

from strongroom.agents._rules.request import Refusal

BLOCK = 1 << 14
"""Bytes of a decoded body that make a part."""

LARGEST_STEP = 1 << 24
"""The most bytes into which one part of a body may decompress: a bomb ends its answer, not the memory."""


class Decoder:
    """Decodes a body, part by part. It may have several frames, as gzip and zstd have.

    Args:
        start: returns the decoder of one frame, with the interface of `zlib.decompressobj`; None for no encoding.
        error: its exception for malformed content.
        step: the bytes that it gets at a time; they decompress to `LARGEST_STEP` at most.
    """

    def __init__(
        self, start: Callable[[], Any] | None = None, error: type[Exception] = Exception, step: int = 1
    ) -> None:
        self._start, self._error, self._step = start, error, step
        self._frame: Any = None

    def feed(self, content: bytes) -> bytes:
        """Return the decoded part. Raises Refusal for a malformed body."""
        start = self._start
        if start is None:
            return content
        parts: list[bytes] = []
        size = 0
        for at in range(0, len(content), self._step):
            rest = content[at : at + self._step]
            while rest:
                if self._frame is None or self._frame.eof:
                    self._frame = start()
                try:
                    parts.append(self._frame.decompress(rest))
                except self._error:
                    raise _malformed() from None
                size += len(parts[-1])
                if size >= LARGEST_STEP:
                    raise Refusal(502, f"A part of the answer decompresses to more than {LARGEST_STEP >> 20} MiB")
                rest = self._frame.unused_data
        return b"".join(parts)

    def finish(self) -> None:
        """Raise Refusal if the body is incomplete."""
        if self._frame is not None and not self._frame.eof:
            raise _malformed()


class _Brotli:
    """A decoder of brotli with the interface of `zlib.decompressobj`."""

    unused_data = b""

    def __init__(self, brotli: Any) -> None:
        self._decoder = brotli.Decompressor()

    @property
    def eof(self) -> bool:
        return bool(self._decoder.is_finished())

    def decompress(self, content: bytes) -> bytes:
        decoded: bytes = self._decoder.process(content, output_buffer_limit=LARGEST_STEP)  # ends soon after the limit
        return decoded


def _malformed() -> Refusal:
    return Refusal(502, "The answer's compressed body is malformed or incomplete")


@cache
def _codings() -> dict[str, Callable[[], Decoder]]:
    """Return the constructor of each decoder, by the name of its encoding."""
    gzip = partial(Decoder, partial(zlib.decompressobj, wbits=31), zlib.error, 1 << 13)
    codings: dict[str, Callable[[], Decoder]] = {"identity": Decoder, "gzip": gzip}
    brotli = _imported("brotli")
    if hasattr(getattr(brotli, "Decompressor", None), "can_accept_more_data"):  # from 1.2: others have no limit
        codings["br"] = partial(Decoder, partial(_Brotli, brotli), brotli.error, 1 << 16)
    if zstd := _imported("compression.zstd") or _imported("backports.zstd"):  # of Python 3.14; of mitmproxy before it
        codings["zstd"] = partial(Decoder, zstd.ZstdDecompressor, zstd.ZstdError, 1 << 8)
    return codings


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
    make = _codings().get("gzip" if name == "x-gzip" else name)
    if make is None:
        raise Refusal(502, "The answer has a content coding in which a secret could not be found")
    return make()


def accepted(encodings: str) -> str:
    """Return the value of Accept-Encoding without the encodings that cannot be decoded."""
    kept = [part.strip() for part in encodings.split(",") if part.partition(";")[0].strip().lower() in _codings()]
    return ", ".join(kept) or "identity"


class Cutter:
    """Cuts a body into parts whose lengths its text alone decides, however it arrives.

    Args:
        at_lines: a part ends at each line too, so that the events of a stream are not late.
    """

    def __init__(self, *, at_lines: bool) -> None:
        # CR and LF each end a part: whether LF follows a CR is not known before it arrives.
        lines = rb"[^\r\n]{0,%d}[\r\n]|" % (BLOCK - 1) if at_lines else b""
        self._part = re.compile(lines + rb".{%d}" % BLOCK, re.DOTALL)
        self._rest = b""

    def cut(self, content: bytes) -> list[bytes]:
        """Return the parts that are complete."""
        content, parts, at = self._rest + content, [], 0
        while found := self._part.match(content, at):
            parts.append(found[0])
            at = found.end()
        self._rest = content[at:]
        return parts

    def end(self) -> list[bytes]:
        """Return the rest."""
        rest, self._rest = self._rest, b""
        return [rest] if rest else []
