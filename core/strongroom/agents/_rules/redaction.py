"""Replacement of values by placeholders in an answer, part by part. Pure.

The forms are those of `strongroom._redaction.printed_forms`, the value itself, and base64 within longer base64.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from strongroom._redaction.printed_forms import base64_pieces, escaped_forms

_LEAST_KEPT = 63
"""The fewest bytes at the end of a part that are held back. Most values have no longer form."""

_STANDARD = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_URL_SAFE = _STANDARD[:-2] + b"-_"
_ALPHABET = frozenset(_STANDARD + _URL_SAFE)


class Edge(NamedTuple):
    """The bits of a value in the character of base64 beside a piece, whose other bits are of the bytes around.

    Attributes:
        mask: the bits, of six.
        held: those of the value.
        put: those of the replacement.
    """

    mask: int = 0
    held: int = 0
    put: int = 0

    def replace(self, character: bytes) -> bytes:
        """Return the character with the bits of the replacement, if it has those of the value."""
        alphabet = _URL_SAFE if character in b"-_" else _STANDARD
        bits = alphabet.find(character)
        if bits < 0 or bits & self.mask != self.held:
            return character
        bits = bits & ~self.mask | self.put
        return alphabet[bits : bits + 1]


_NO_EDGE = Edge()


class Replacement(NamedTuple):
    """What takes the place of a form.

    Attributes:
        text: the replacement.
        before: the bits of the value in the character before it.
        after: those in the character after it.
    """

    text: bytes
    before: Edge = _NO_EDGE
    after: Edge = _NO_EDGE


class Redactor:
    """Replaces values in a stream of bytes.

    How much of a part is held back depends on its length and its line breaks, never on a resemblance to a value: a
    worker that chooses the text of an answer would otherwise learn from the lengths of its parts how much of a guess is
    right. It is as long as the longest form, rounded up to a power of two, which hides how many characters are escaped.
    Whole lines are not held back, so that the events of a stream are not late.

    Args:
        forms: the bytes of each form of each value, and their replacement. None is empty.
    """

    def __init__(self, forms: Mapping[bytes, Replacement]) -> None:
        self._forms = forms
        longest = max(map(len, forms), default=0)
        self._kept = (1 << max(longest, _LEAST_KEPT).bit_length()) - 1 if forms else 0
        self._ends_at_lines = not any(b"\n" in form or b"\r" in form for form in forms)
        self._held = b""
        self._sent = 0  # bytes at the beginning of those held that are sent: a value may overlap one that ends there
        self._edge = _NO_EDGE  # of the first character after them

    def feed(self, content: bytes) -> bytes:
        """Return the redacted content, without its end, in which a value may begin."""
        content = self._held + content
        lines = max(content.rfind(b"\n"), content.rfind(b"\r")) + 1 if self._ends_at_lines else 0
        end = max(len(content) - self._kept, lines, self._sent)
        redacted, end, self._edge = self._redact(content, end, self._edge, self._sent)
        self._sent = min(end, self._kept)
        self._held = content[end - self._sent :]
        return redacted

    def end(self) -> bytes:
        """Return the rest, redacted."""
        rest, self._held = self._held, b""
        return self._redact(rest, len(rest), self._edge, self._sent)[0]

    def whole(self, content: bytes) -> bytes:
        """Return content that is complete, redacted."""
        return self._redact(content, len(content), _NO_EDGE)[0]

    def _redact(self, content: bytes, end: int, edge: Edge, start: int = 0) -> tuple[bytes, int, Edge]:
        """Return the redacted content up to an end, or to the end of a form across it, and this position.

        At each place, the longest form counts. The rest of one that overlaps it is dropped.

        Args:
            content: the content.
            end: its end.
            edge: that of its first character, by a form before it. That of the first character left is returned.
            start: the position of that character. The bytes before it are sent.
        """
        parts: list[bytes] = []
        reach = start  # the end of the forms so far, overlapping ones too
        # A form at the end itself may have bits in the character before it.
        last = end if end > start and content[end - 1] in _ALPHABET else end - 1
        for at, _, form in self._found(content):
            if at > last:
                break
            stop, (text, before, after) = at + len(form), self._forms[form]
            if at >= start:
                parts += (_between(content[reach:at], edge, before), text)
                start = stop
            if stop > reach:
                reach, edge = stop, after
        end = max(start, end)
        parts.append(_between(content[reach:end], edge, _NO_EDGE))
        return b"".join(parts), end, edge if reach >= end else _NO_EDGE

    def _found(self, content: bytes) -> list[tuple[int, int, bytes]]:
        """Return where forms stand, in order, the longest at a place first."""
        found = []
        for form in self._forms:  # a search for each is faster than one pattern for all
            at = content.find(form)
            while at >= 0:
                found.append((at, -len(form), form))
                at = content.find(form, at + 1)
        return sorted(found)


def _between(content: bytes, after: Edge, before: Edge) -> bytes:
    """Return the content between two forms without their bits: of the one before it, and of the one after it."""
    if content and after.mask:
        content = after.replace(content[:1]) + content[1:]
    if content and before.mask:
        content = content[:-1] + before.replace(content[-1:])
    return content


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


def _edges(content: bytes, substitute: bytes, offset: int) -> tuple[Edge, Edge]:
    """Return the edges of a piece of base64, before which `offset` bytes stand in the same group of three."""
    first = 6 - offset * 8 % 6 if offset else 0  # bits of the content in the character before the piece
    last = (offset + len(content)) * 8 % 6
    low, high = (1 << first) - 1, (1 << last) - 1
    rest, shift = 8 - first, 6 - last
    return (
        Edge(low, content[0] >> rest, substitute[0] >> rest),
        Edge(high << shift, (content[-1] & high) << shift, (substitute[-1] & high) << shift),
    )
