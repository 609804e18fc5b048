"""Replacement of values by placeholders in an answer, part by part. Pure.

The forms are those of `strongroom._escapes`, the value itself, and base64 within longer base64.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping

from strongroom._escapes import base64_pieces, escaped_forms


class Redactor:
    """Replaces values in a stream of bytes.

    Only bytes that may be the beginning of a value are held back, so that the events of a stream are not late.

    Args:
        forms: the bytes of each form of each value, and their replacement.
    """

    def __init__(self, forms: Mapping[bytes, bytes]) -> None:
        self._forms = forms
        self._sorted = sorted(forms)
        self._longest = max(map(len, forms), default=1)
        self._firsts = re.compile(b"[%s]" % b"".join({re.escape(form[:1]) for form in forms}) if forms else b"(?!)")
        self._held = b""

    def feed(self, content: bytes) -> bytes:
        """Return the redacted content, without what may be the beginning of a value."""
        content = self._held + content
        redacted, end = self._redact(content, self._beginning)
        self._held = content[end:]
        return redacted

    def end(self) -> bytes:
        """Return the rest, redacted."""
        rest, self._held = self._held, b""
        return self.whole(rest)

    def whole(self, content: bytes) -> bytes:
        """Return content that is complete, redacted."""
        return self._redact(content, lambda content, _: len(content))[0]

    def _redact(self, content: bytes, end_from: Callable[[bytes, int], int]) -> tuple[bytes, int]:
        """Return the redacted content up to an end, and the end. At each place, the longest form counts."""
        parts: list[bytes] = []
        start, end = 0, end_from(content, 0)
        for at, _, form in self._found(content):
            if at >= end:
                break
            if at >= start:
                parts += (content[start:at], self._forms[form])
                start = at + len(form)
                if start > end:
                    end = end_from(content, start)
        return b"".join((*parts, content[start:end])), end

    def _found(self, content: bytes) -> list[tuple[int, int, bytes]]:
        """Return where forms stand, in order, the longest at a place first."""
        found = []
        for form in self._forms:  # a search for each is faster than one pattern for all
            at = content.find(form)
            while at >= 0:
                found.append((at, -len(form), form))
                at = content.find(form, at + 1)
        return sorted(found)

    def _beginning(self, content: bytes, start: int) -> int:
        """Return the position, from `start`, of the longest rest that is the beginning of a form but not all of it."""
        for found in self._firsts.finditer(content, max(start, len(content) - self._longest + 1)):
            rest = content[found.start() :]
            at = bisect_right(self._sorted, rest)  # what begins with it, and is longer, follows it
            if at < len(self._sorted) and self._sorted[at].startswith(rest):
                return found.start()
        return len(content)


def forms_of(pairs: Iterable[tuple[str, str]]) -> dict[bytes, bytes]:
    """Return the replacement of each form in which the values of (value, placeholder) may stand in an answer.

    A placeholder has no character that is escaped, so it is its own escaped form. A piece of base64 is replaced by one
    of the same length, so that the base64 around it can still be decoded.
    """
    forms: dict[bytes, bytes] = {}
    for value, placeholder in pairs:
        content = value.encode("utf-8")
        for text in (value, *(form for _, form in escaped_forms(value))):
            forms.setdefault(text.encode("utf-8"), placeholder.encode("ascii"))
        substitute = placeholder.encode("ascii") * (len(content) // len(placeholder) + 1)
        for piece, other in zip(base64_pieces(content), base64_pieces(substitute[: len(content)]), strict=True):
            forms.setdefault(piece.encode("ascii"), other.encode("ascii"))
    return forms
