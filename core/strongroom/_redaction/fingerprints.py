"""Keyed fingerprints of values, which find the values in a text and hold none of them.

A value is found as it is, also with color codes inside, and in the forms in which programs print it: those of
`printed_forms`, in UTF-16, and in base64, also within longer base64 such as that of `user:password`, and over the ends
of its lines. A number is found as JSON prints it.

Each form is kept as the hash of its first characters, by Python's string hash, which is keyed for each process, and as
a BLAKE2b digest of the whole under a random key. A scan hashes four characters at each position of a text, and more
only if a value may begin there. Text of less than `LEAST_LENGTH` characters, numbers of less than `LEAST_DIGITS`
digits, and words such as `true` are left out, since they stand in every log.
"""

from __future__ import annotations

import base64
import hashlib
import heapq
import re
import secrets
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from strongroom._redaction.printed_forms import base64_pieces, escaped_forms
from strongroom.encoding import to_json_text

LEAST_LENGTH = 4
"""The shortest text that is a fingerprint, in characters."""

LEAST_DIGITS = 6
"""The shortest number that is a fingerprint, also as text, in digits: one more than a port has."""

_LEAST_LINE = 16
"""The shortest line of a longer text that is a fingerprint by itself, such as a line of a PEM key."""

_LEAST_ENCODED = 6
"""The shortest piece of base64 that is a fingerprint."""

_WINDOW = 8
_WORDS = frozenset({"true", "false", "none", "null"})

_WIDTHS = (64, 76)
"""The characters in a line of base64, as `openssl base64` and `base64` write it."""

_BASE64 = "[A-Za-z0-9+/_-]"
_LINE_END = re.compile(r"(?:\r?\n|(?:\\r)?\\n)[ \t]*")
"""The end of a line of base64 and the indentation of the next, as they are, or as JSON escapes them."""

_WRAPPED = re.compile(rf"(?<!{_BASE64}){_BASE64}{{{_LEAST_LINE},}}+(?:{_LINE_END.pattern}{_BASE64}++)+")
"""Base64 in lines. The first one is long, as words are not."""

_LAST = re.compile(rf"(?<!{_BASE64}){_BASE64}{{{_LEAST_LINE},}}+(?:{_LINE_END.pattern}{_BASE64}++)*+(\r?\n\Z)?")
"""Base64 in lines, with a group if it is at the end of the text. Each part is passed once, so the search is linear."""

_FULL_LINE = re.compile(
    rf"(?:[ \t]*(?:{_BASE64}{{4}}){{4,}}|.*(?<!{_BASE64})(?:{_BASE64}{{4}}){{{_WIDTHS[0] // 4},}})\r?\n\Z"
)
"""A line of nothing but base64, or one with as much of it at its end as programs write in one line."""

_COLOR = re.compile(r"\x1b\[[0-9;:]*[mK]")
"""A code that a terminal prints nothing for, such as `grep --color` writes around a part of a line."""

_NUMBER = re.compile(r"-?\d*\.?\d*")

_ALONE = 8
"""A number of fewer digits counts only if no other digit touches it: a time would hold it by chance."""


class Match(NamedTuple):
    """A value in a text.

    Attributes:
        start, end: its position.
        name: the name that was given to it.
        form: `plain`, `json`, `python`, `url`, `html`, `utf-16` or `base64`.
    """

    start: int
    end: int
    name: str
    form: str


class _Form(NamedTuple):
    length: int
    digest: bytes
    name: str
    form: str
    alone: bool


class Fingerprints:
    """The fingerprints of some values.

    Args:
        binary: the texts that are searched are bytes, decoded as latin-1.
    """

    def __init__(self, *, binary: bool = False) -> None:
        self._key = secrets.token_bytes(32)
        self._binary = binary
        self._forms: dict[int, dict[int, tuple[_Form, ...]]] = {}
        self._starts: set[int] = set()
        self._base64_starts: set[int] = set()
        self._known: set[bytes] = set()

    def add_all(self, data: Mapping[str, Any], path: str = "") -> None:
        """Add every text, bytes and number in a secret's data, at every level. The name of each is PATH#KEY."""
        for key, value in data.items():
            for leaf in leaves(value):
                self.add(leaf, f"{path}#{key}")

    def add(self, value: str | bytes, name: str = "") -> None:
        """Add a value. One that is known already, by this name, costs one digest."""
        content = value if isinstance(value, bytes) else value.encode("utf-8", "surrogatepass")
        known = self._digest(content + name.encode("utf-8", "surrogatepass"))
        if known in self._known:
            return
        self._known.add(known)
        for form, text in _forms(content):
            self._add_form(
                text.encode("utf-8", "surrogateescape").decode("latin-1") if self._binary else text, name, form
            )

    def _add_form(self, text: str, name: str, form: str) -> None:
        window = min(len(text), _WINDOW)
        alone = form == "plain" and 0 < _digits(text) < _ALONE
        made = _Form(len(text), self._digest(_bytes(text)), name, form, alone)
        known = self._forms.setdefault(window, {})
        self._starts.add(hash(text[:LEAST_LENGTH]))
        if form == "base64":
            self._base64_starts.add(hash(text[:LEAST_LENGTH]))
        first = hash(text[:window])
        others = known.get(first, ())
        if not any(other.digest == made.digest for other in others):  # of equal values, the first name counts
            known[first] = tuple(sorted((*others, made), reverse=True))

    def find(self, text: str) -> Iterator[Match]:
        """Yield the values in a text, from left to right, the longest at each place, without overlaps."""
        end = 0
        ways = self._direct(text), self._wrapped(text), self._colored(text)
        found = heapq.merge(*ways, key=lambda match: (match.start, -match.end))
        for match in found:
            if match.start >= end:
                yield match
                end = match.end

    def unfinished(self, lines: str) -> int:
        """Return the start of the last lines, if a value in base64 may begin in them that the next line continues.

        Otherwise, return the length of the text. A line with other text counts only if it has the first `LEAST_LENGTH`
        characters of a value, or ends with a full line of base64. So the lines of a log are not held back.

        Args:
            lines: whole lines, the last one with its end.
        """
        start = len(lines)
        if found := next((found for found in _LAST.finditer(lines) if found[1] is not None), None):
            text = _Unwrapped(lines, found.start(), start)
            last = lines.rfind("\n", 0, start - 1) + 1
            if (begin := self._unfinished(text.joined)) is not None:
                start = text.position(begin)
            elif _FULL_LINE.match(lines, last):
                start = last
        return lines.rfind("\n", 0, start) + 1

    def _unfinished(self, text: str) -> int | None:
        """Return the first position at which a value in base64 may begin that is longer than the rest of the text."""
        starts, length = self._base64_starts, LEAST_LENGTH
        positions = (at for at in range(len(text) - length + 1) if hash(text[at : at + length]) in starts)
        return next((at for at in positions if self._is_longer(text[at:])), None)

    def _is_longer(self, text: str) -> bool:
        """Return whether a known form may begin with this text."""
        for window, known in self._forms.items():
            if len(text) < window:
                return True
            if any(form.length > len(text) for form in known.get(hash(text[:window]), ())):
                return True
        return False

    def _wrapped(self, text: str) -> Iterator[Match]:
        """Yield the values in base64 that stand over the end of a line."""
        for found in _WRAPPED.finditer(text):
            ends_inside = self._divided(text, _LINE_END, found.start(), found.end())
            yield from (match for match in ends_inside if match.form == "base64")

    def _colored(self, text: str) -> Iterator[Match]:
        """Yield the values that have color codes inside."""
        return self._divided(text, _COLOR, 0, len(text)) if _COLOR.search(text) else iter(())

    def _divided(self, text: str, pieces: re.Pattern[str], start: int, end: int) -> Iterator[Match]:
        """Yield the values in a part of a text that have such pieces inside."""
        whole = _Unwrapped(text, start, end, pieces)
        for match in self._direct(whole.joined):
            begin, stop = whole.position(match.start), whole.position(match.end - 1) + 1
            if stop - begin > match.end - match.start:
                yield match._replace(start=begin, end=stop)

    def _direct(self, text: str) -> Iterator[Match]:
        """Yield the values that stand in one piece."""
        windows = sorted(self._forms.items(), reverse=True)
        starts, length, end = self._starts, LEAST_LENGTH, 0
        for position in (start for start in range(len(text)) if hash(text[start : start + length]) in starts):
            if position < end:
                continue
            for window, known in windows:
                if candidates := known.get(hash(text[position : position + window])):
                    match = next((match for form in candidates if (match := self._match(text, position, form))), None)
                    if match:
                        yield match
                        end = match.end
                        break

    def _match(self, text: str, start: int, form: _Form) -> Match | None:
        part = text[start : start + form.length]
        if len(part) != form.length or self._digest(_bytes(part)) != form.digest:
            return None
        end = start + form.length
        if form.alone and (text[max(start - 1, 0) : start].isdecimal() or text[end : end + 1].isdecimal()):
            return None
        return Match(start, end, form.name, form.form)

    def mask(self, text: str, mark: str = "[redacted]") -> str:
        """Return the text with a mark in the place of each value; the same object if it has none."""
        parts: list[str] = []
        end = 0
        for match in self.find(text):
            parts += (text[end : match.start], mark)
            end = match.end
        return "".join((*parts, text[end:])) if parts else text

    def _digest(self, content: bytes) -> bytes:
        return hashlib.blake2b(content, digest_size=16, key=self._key).digest()


class _Unwrapped:
    """A part of a text without the ends of its lines, or without other pieces.

    Attributes:
        joined: the text between these pieces.
    """

    def __init__(self, text: str, start: int, end: int, pieces: re.Pattern[str] = _LINE_END) -> None:
        self._starts: list[int] = []  # of each line, in the joined text
        self._positions: list[int] = []  # of each line, in the whole text
        lines: list[str] = []
        length = 0
        for line_end in (*pieces.finditer(text, start, end), None):
            self._starts.append(length)
            self._positions.append(start)
            lines.append(text[start : end if line_end is None else line_end.start()])
            length += len(lines[-1])
            start = end if line_end is None else line_end.end()
        self.joined = "".join(lines)

    def position(self, index: int) -> int:
        """Return the position in the whole text of a character of the joined one."""
        line = bisect_right(self._starts, index) - 1
        return self._positions[line] + index - self._starts[line]


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def leaves(value: Any) -> Iterator[str | bytes]:
    """Yield each text and bytes in a value, at every level, and each number as text."""
    if isinstance(value, str | bytes):
        yield value
    elif isinstance(value, int | float) and not isinstance(value, bool):
        whole = isinstance(value, float) and value.is_integer()
        try:
            texts = {to_json_text(value), str(int(value)) if whole else ""}  # some writers know one kind of number
        except ValueError:  # it has more digits than Python writes
            return
        yield from texts - {""}
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from leaves(item)
    elif isinstance(value, Sequence):
        for item in value:
            yield from leaves(item)


def _forms(content: bytes) -> Iterator[tuple[str, str]]:
    """Yield the forms of a value that are worth finding, each with its kind."""
    text = content.decode("utf-8", "surrogateescape")
    for part in _parts(text):
        yield "plain", part
        yield from escaped_forms(part)
        yield from (("utf-16", form) for form in _wide_forms(part))
        encoded = part.encode("utf-8", "surrogateescape")
        yield from (("base64", form) for form in base64_pieces(encoded) if len(form) >= _LEAST_ENCODED)
    yield from (("base64", form) for form in _base64_lines(content))


def _wide_forms(text: str) -> Iterator[str]:
    """Yield the text as a program reads it that takes UTF-16 for UTF-8, in both orders of the bytes."""
    for encoding in ("utf-16-le", "utf-16-be"):
        yield text.encode(encoding, "surrogatepass").decode("utf-8", "surrogateescape")


def _parts(text: str) -> Iterator[str]:
    """Yield the text, without its last line end, and its long lines."""
    lines = text.splitlines()
    whole = text.rstrip("\r\n")
    if len(whole) >= LEAST_LENGTH and whole.lower() not in _WORDS and not 0 < _digits(whole) < LEAST_DIGITS:
        yield whole
    if len(lines) > 1:
        yield from (line for line in dict.fromkeys(lines) if len(line) >= _LEAST_LINE and line != whole)


def _digits(text: str) -> int:
    """Return how many digits a number has that is text, and 0 for other text."""
    return sum(map(str.isdecimal, text)) if _NUMBER.fullmatch(text) else 0


def _base64_lines(content: bytes) -> Iterator[str]:
    """Yield the long lines of the value's base64, in the widths to which `base64` and `openssl base64` wrap it."""
    encoded = base64.b64encode(content).decode("ascii")
    for width in _WIDTHS:
        if len(encoded) > width:
            lines = (encoded[start : start + width] for start in range(0, len(encoded), width))
            yield from (line for line in lines if len(line) >= _LEAST_LINE)
