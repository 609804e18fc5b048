"""The output of a command with the known values masked: `run --redact`."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from strongroom._redaction.fingerprints import Fingerprints

_READ_SIZE = 1 << 16
LONGEST_LINE = 1 << 20
"""Bytes of a line that are held back until its end comes."""

OVERLAP = 1 << 16
"""Bytes of a longer line that stay held back, because a value may begin in them."""


@contextmanager
def redacted_output(known: Fingerprints) -> Iterator[None]:
    """Mask stdout and stderr of this process, and of the children that it starts in the block.

    Output appears line by line; a line of base64 appears with the next one. The block ends when the last process that
    inherited the output has closed it, as at the end of a pipeline.

    Args:
        known: fingerprints for bytes. Values that are added in the block count.
    """
    streams = [_Redirection(descriptor, known) for descriptor in (1, 2)]
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        for redirection in streams:
            redirection.end()


def complete(known: Fingerprints, held: bytes) -> int:
    """Return how many of these bytes can be written: whole lines, or of a very long line what no value runs over.

    A line stays if base64 at its end may go on in the next one, with a value that begins here.
    """
    text = held.decode("latin-1")
    whole = text.rfind("\n") + 1
    end = known.unfinished(text[:whole]) if whole else len(held) - OVERLAP if len(held) > LONGEST_LINE else 0
    if 0 < end != whole:
        for match in known.find(text):
            if match.start >= end:
                break
            end = max(end, match.end)
    return end


class _Redirection:
    """A descriptor that is a pipe to a thread, which writes the masked output to its original file."""

    def __init__(self, descriptor: int, known: Fingerprints) -> None:
        self._descriptor = descriptor
        self._known = known
        self._original = os.dup(descriptor)
        self._reader, writer = os.pipe()
        os.dup2(writer, descriptor)
        os.close(writer)
        self._thread = threading.Thread(target=self._copy, name="strongroom-redact", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Restore the descriptor, and wait until everything is written."""
        os.dup2(self._original, self._descriptor)
        self._thread.join()
        os.close(self._original)

    def _copy(self) -> None:
        """Copy until the end. If nobody reads it any more, close the pipe, so that the command gets SIGPIPE."""
        held = b""
        is_read = True
        try:
            while is_read and (content := os.read(self._reader, _READ_SIZE)):
                held += content
                end = complete(self._known, held)
                is_read = self._write(held[:end])
                held = held[end:]
            if is_read:
                self._write(held)
        finally:
            os.close(self._reader)

    def _write(self, content: bytes) -> bool:
        """Write the masked content. Return False if nobody reads it any more."""
        masked = self._known.mask(content.decode("latin-1")).encode("latin-1")
        try:
            while masked:
                masked = masked[os.write(self._original, masked) :]
        except OSError:
            return False
        return True
