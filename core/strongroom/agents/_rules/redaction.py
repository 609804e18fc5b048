"""Replacement of values by placeholders in an answer, part by part. Pure.

The forms are those of `strongroom._redaction.printed_forms`, the value itself, and base64 within longer base64.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from typing import NamedTuple

from strongroom._redaction.printed_forms import base64_pieces, escaped_forms

_LEAST_KEPT = 63
"""The fewest bytes at the end of a part that are held back. Most values have no longer form."""

_BLANKS = re.compile(rb"[ \t]+")


class Replacement(NamedTuple):
    """What takes the place of a form.

    Attributes:
        text: the replacement.
        before: the replacement of the character before the form, for each one that has bits of the value too. The
            character before a piece of base64 has some, beside those of the bytes around.
        after: the same of the character after the form.
    """

    text: bytes
    before: Mapping[bytes, bytes] = {}
    after: Mapping[bytes, bytes] = {}


class Redactor:
    """Replaces values in a stream of bytes.

    How much of a part is held back depends on its length and its line breaks, never on a resemblance to a value: a
    worker that chooses the text of an answer would otherwise learn from the lengths of its parts how much of a guess is
    right. It is as long as the longest form, rounded up to a power of two, which hides how many characters are escaped.
    Whole lines are not held back, so that the events of a stream are not late.

    Args:
        forms: the bytes of each form of each value, and their replacement. None is empty.

    Attributes:
        is_empty: it has no value to look for.
    """

    def __init__(self, forms: Mapping[bytes, Replacement]) -> None:
        self._forms = forms
        self.is_empty = not forms
        longest = max(map(len, forms), default=0) + 1  # with the character after it
        self._kept = (1 << max(longest, _LEAST_KEPT).bit_length()) - 1 if forms else 0
        self._ends_at_lines = not any(b"\n" in form or b"\r" in form for form in forms)
        self._held = b""
        self._covered = 0  # bytes at the beginning of those held that belong to forms which are replaced

    def feed(self, content: bytes) -> bytes:
        """Return the redacted content, without its end, in which a value may begin."""
        content = self._held + content
        lines = max(content.rfind(b"\n"), content.rfind(b"\r")) + 1 if self._ends_at_lines else 0
        return self._redact(content, max(len(content) - self._kept, lines, 0))

    def end(self) -> bytes:
        """Return the rest, redacted."""
        return self.whole(b"")

    def whole(self, content: bytes) -> bytes:
        """Return content up to its end, redacted, with the held part before it."""
        content = self._held + content
        return self._redact(content, len(content))

    def finds_cut(self, content: bytes) -> bool:
        """Return True if a form stands in the content, with or without blanks between its characters."""
        joined = _BLANKS.sub(b"", content)
        return any(_BLANKS.sub(b"", form) in joined for form in self._forms)

    def _redact(self, content: bytes, end: int) -> bytes:
        """Return the content before `end`, redacted, and hold back the rest. A form that begins before it is replaced.

        At each place, the longest form counts. One that overlaps it is dropped.
        """
        parts: list[bytes] = []
        reach = self._covered
        for start, negative, text in sorted(self._found(content)):
            if start >= end:
                break
            if start >= reach:
                parts += (content[reach:start], text)
            reach = max(reach, start - negative)
        parts.append(content[reach:end])
        self._held, self._covered = content[end:], max(reach - end, 0)
        return b"".join(parts)

    def _found(self, content: bytes) -> Iterator[tuple[int, int, bytes]]:
        """Yield where forms begin, their negative lengths, and their replacements."""
        for form, (text, before, after) in self._forms.items():  # a search for each is faster than one pattern for all
            at = content.find(form)
            while at >= 0:
                stop = at + len(form)
                first, last = before.get(content[at - 1 : at], b""), after.get(content[stop : stop + 1], b"")
                start = at - len(first)
                yield start, start - stop - len(last), first + text + last
                at = content.find(form, at + 1)


def forms_of(pairs: Iterable[tuple[str, str]]) -> dict[bytes, Replacement]:
    """Return the replacement of each form in which the values of (value, placeholder) may stand in an answer.

    A placeholder has no character that is escaped, so it is its own escaped form. In longer base64, a value is replaced
    by as many bytes of the placeholder, so that the base64 around it can still be decoded.
    """
    forms: dict[bytes, Replacement] = {}
    for value, placeholder in ((text, held) for own, held in pairs for text in _repeated(own)):
        content = value.encode("utf-8")
        for text in (value, *(form for _, form in escaped_forms(value))):
            forms.setdefault(text.encode("utf-8"), Replacement(placeholder.encode("ascii")))
        substitute = (placeholder.encode("ascii") * (len(content) // len(placeholder) + 1))[: len(content)]
        pieces = zip(base64_pieces(content), base64_pieces(substitute), strict=True)
        for number, (piece, other) in enumerate(pieces):
            edges = _edges(content, substitute, number // 2)
            forms.setdefault(piece.encode("ascii"), Replacement(other.encode("ascii"), *edges))
    return forms


def _repeated(value: str) -> tuple[str, ...]:
    """Return the value as a host may repeat it: with either kind of line end, without the white space around it.

    A value that was read from a file often ends in a line break, which a host drops.
    """
    text = value.strip()
    lines = text.replace("\r\n", "\n")
    return tuple(dict.fromkeys((text, lines, lines.replace("\n", "\r\n"))))


def _edges(content: bytes, substitute: bytes, offset: int) -> tuple[dict[bytes, bytes], dict[bytes, bytes]]:
    """Return the replacements of the characters around a piece of base64, for `Replacement`.

    Args:
        content: the value.
        substitute: its replacement.
        offset: the number of bytes before the value in its first group of three.
    """
    first, last = -(-offset * 8 // 6) - 1, (offset + len(content)) * 8 // 6
    before, after = {}, {}
    for nibble, encode in product(range(16), (base64.urlsafe_b64encode, base64.b64encode)):
        around = bytes([nibble * 17])  # of the bytes around, at most four bits are in the same character
        old, new = (encode(around * offset + text + around) for text in (content, substitute))
        before[old[first : first + 1]] = new[first : first + 1]
        after[old[last : last + 1]] = new[last : last + 1]
    return before if offset else {}, after if (offset + len(content)) % 3 else {}
