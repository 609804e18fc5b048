"""Replacement of values by placeholders in an answer, part by part. Pure.

The forms are those of `strongroom._escapes`, the value itself, and base64 within longer base64.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping


class Redactor:
    """Replaces values in a stream of bytes.

    Only bytes that may be the beginning of a value are held back, so that the events of a stream are not late.

    Args:
        forms: the bytes of each form of each value, and what stands in their place.
    """

    def __init__(self, forms: Mapping[bytes, bytes]) -> None:
        self._forms = sorted(forms.items(), key=lambda form: -len(form[0]))
        self._held = b""

    def feed(self, content: bytes) -> bytes:
        """Return the redacted content, without what may be the beginning of a value."""
        raise NotImplementedError

    def end(self) -> bytes:
        """Return the rest, redacted."""
        raise NotImplementedError


def forms_of(pairs: Iterable[tuple[str, str]]) -> dict[bytes, bytes]:
    """Return the replacement of each form in which the values of (value, placeholder) may stand in an answer."""
    raise NotImplementedError
