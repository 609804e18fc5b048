"""Replacement of values by placeholders in an answer, part by part. Pure.

The forms are those of `strongroom._escapes`, the value itself, and base64 within longer base64.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cached_property

from strongroom._escapes import base64_pieces, escaped_forms


class Redactor:
    """Replaces values in a stream of bytes.

    Only bytes that may be the beginning of a value are held back, so that the events of a stream are not late.

    Args:
        forms: the bytes of each form of each value, and what stands in their place.
    """

    def __init__(self, forms: Mapping[bytes, bytes]) -> None:
        self._forms = dict(sorted(forms.items(), key=lambda form: -len(form[0])))
        self._held = b""

    def feed(self, content: bytes) -> bytes:
        """Return the redacted content, without what may be the beginning of a value."""
        content = self._held + content
        parts: list[bytes] = []
        start, end = 0, self._beginning(content, 0)
        if any(form in content for form in self._forms):  # much faster than the pattern
            for found in self._pattern.finditer(content):
                if found.start() >= end:
                    break
                parts += (content[start : found.start()], self._forms[found[0]])
                start = found.end()
                if start > end:
                    end = self._beginning(content, start)
        self._held = content[end:]
        return b"".join((*parts, content[start:end]))

    def end(self) -> bytes:
        """Return the rest, redacted."""
        rest, self._held = self._held, b""
        return self.whole(rest)

    def whole(self, content: bytes) -> bytes:
        """Return content that is complete, redacted."""
        if not any(form in content for form in self._forms):
            return content
        return self._pattern.sub(lambda found: self._forms[found[0]], content)

    @cached_property
    def _pattern(self) -> re.Pattern[bytes]:
        return re.compile(b"|".join(map(re.escape, self._forms)))  # the longest first

    def _beginning(self, content: bytes, start: int) -> int:
        """Return the position, from `start`, of the longest rest that is the beginning of a form but not all of it."""
        first = len(content)
        for form in self._forms:
            at = content.find(form[:1], max(start, len(content) - len(form) + 1))
            while -1 < at < first:
                if form.startswith(content[at:]):
                    first = at
                at = content.find(form[:1], at + 1)
        return first


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
