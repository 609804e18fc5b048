"""Records of the audit log: one line of JSON each, with the hash of the line before and its own.

::

    {"seq":7,"time":"…","event":"read",…,"prev":"<hash of record 6>","hash":"<hash of all bytes before this key>"}

The hash is SHA-256, or HMAC-SHA-256 under the key of the log. It covers the line as it is written, not its meaning: two
forms of one JSON document are two lines.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple, Self

MAX_LINE = 1 << 16
"""The longest line, in bytes, without its line feed. Path and key have 1,024 characters at most."""

_LINE = re.compile(rb'(\{"seq":([1-9][0-9]{0,17}),.*,"prev":"([0-9a-f]{64})"),"hash":"([0-9a-f]{64})"\}', re.ASCII)
_HEAD = re.compile(r"(0|[1-9][0-9]{0,17}):([0-9a-f]{64})")


class Head(NamedTuple):
    """A place in the chain: the number of a record, and its hash. Its text is `SEQ:HASH`."""

    seq: int
    hash: str

    def __str__(self) -> str:
        return f"{self.seq}:{self.hash}"

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Return the head in a text, or None."""
        found = _HEAD.fullmatch(text.strip())
        return None if found is None else cls(int(found[1]), found[2])


START = Head(0, "0" * 64)
"""The place before the first record."""


class Record(NamedTuple):
    """A record that its hash confirms.

    Attributes:
        head: its place.
        before: the hash of the record before.
        line: its bytes, without the line feed.
    """

    head: Head
    before: str
    line: bytes

    def fields(self) -> dict[str, Any]:
        """Return the record's fields."""
        fields: dict[str, Any] = json.loads(self.line)
        return fields

    def follows(self, before: Head) -> bool:
        """Return True if it is the record after that place."""
        return self.head.seq == before.seq + 1 and self.before == before.hash


class Hasher:
    """The hash of a log's lines.

    Args:
        key: the key of the log; None is a plain chain.
    """

    def __init__(self, key: bytes | None = None) -> None:
        self._key = key

    def digest(self, content: bytes) -> str:
        """Return the hash in hexadecimal."""
        if self._key is None:
            return hashlib.sha256(content).hexdigest()
        return hmac.digest(self._key, content, "sha256").hex()

    def record(self, before: Head, fields: Mapping[str, object]) -> Record:
        """Return the record with these fields after that place."""
        content = {"seq": before.seq + 1, **fields, "prev": before.hash}
        body = json.dumps(content, separators=(",", ":")).encode("ascii")[:-1]
        own = self.digest(body)
        return Record(Head(before.seq + 1, own), before.hash, b'%b,"hash":"%b"}' % (body, own.encode("ascii")))

    def parse(self, line: bytes) -> Record | None:
        """Return the record of a line without its line feed, or None if it is not a record, or was changed."""
        found = _LINE.fullmatch(line) if len(line) <= MAX_LINE else None
        if found is None or not hmac.compare_digest(self.digest(found[1]).encode("ascii"), found[4]):
            return None
        return Record(Head(int(found[2]), found[4].decode("ascii")), found[3].decode("ascii"), line)

    def begins_with_record(self, line: bytes) -> bool:
        """Return True if the bytes begin with a whole record."""
        found = _LINE.match(line[:MAX_LINE])
        return found is not None and self.parse(found[0]) is not None


def looks_like_record(line: bytes) -> bool:
    """Return True if a line has the form of a record. Its hash is not checked."""
    return _LINE.fullmatch(line) is not None
