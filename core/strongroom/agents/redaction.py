"""Replacement of values by placeholders in an answer, part by part. Pure.

The forms are those of `strongroom._escapes`, the value itself, and base64 within longer base64.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from strongroom._escapes import base64_pieces, escaped_forms

_LEAST_KEPT = 63
"""The fewest bytes at the end of a part that are held back. Most values have no longer form."""


class Redactor:
    """Replaces values in a stream of bytes.

    How much of a part is held back depends on its length and its line breaks, never on a resemblance to a value: a
    worker that chooses the text of an answer would otherwise learn from the lengths of its parts how much of a guess is
    right. It is as long as the longest form, rounded up to a power of two, which hides how many characters are escaped.
    Whole lines are not held back, so that the events of a stream are not late.

    Args:
        forms: the bytes of each form of each value, and their replacement.
    """

    def __init__(self, forms: Mapping[bytes, bytes]) -> None:
        self._forms = forms
        longest = max(map(len, forms), default=0)
        self._kept = (1 << max(longest - 1, _LEAST_KEPT).bit_length()) - 1 if forms else 0
        self._ends_at_lines = not any(b"\n" in form for form in forms)
        self._held = b""

    def feed(self, content: bytes) -> bytes:
        """Return the redacted content, without its end, in which a value may begin."""
        content = self._held + content
        end = max(len(content) - self._kept, content.rfind(b"\n") + 1 if self._ends_at_lines else 0)
        redacted, end = self._redact(content, end)
        self._held = content[end:]
        return redacted

    def end(self) -> bytes:
        """Return the rest, redacted."""
        rest, self._held = self._held, b""
        return self.whole(rest)

    def whole(self, content: bytes) -> bytes:
        """Return content that is complete, redacted."""
        return self._redact(content, len(content))[0]

    def _redact(self, content: bytes, end: int) -> tuple[bytes, int]:
        """Return the redacted content up to an end, or to the end of a form across it, and this position.

        At each place, the longest form counts.
        """
        parts: list[bytes] = []
        start = 0
        for at, _, form in self._found(content):
            if at >= end:
                break
            if at >= start:
                parts += (content[start:at], self._forms[form])
                start = at + len(form)
        end = max(start, end)
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
