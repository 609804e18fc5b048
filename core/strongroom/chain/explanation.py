"""Why a read comes to what it comes to: every link's answer, and whether its value is the one that is served. Pure."""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from strongroom.encoding import to_json, to_json_text
from strongroom.errors import Attempt, StrongroomError
from strongroom.secret import Value, Version


@dataclass(frozen=True)
class LinkAnswer:
    """What one link answers.

    Attributes:
        attempt: the link, its answer in words, and how long it took.
        version: the store's name for its version, or None.
        created: when that version was written, where the store knows.
        found: it has what was asked for.
        value: what it has. Not in the `repr`.
    """

    attempt: Attempt
    version: Version | None = None
    created: datetime | None = None
    found: bool = False
    value: Value = field(default=None, repr=False)


@dataclass(frozen=True)
class Explanation:
    """What a read comes to, and why.

    Attributes:
        answers: of every link that is asked for this path, in the order of the chain.
        passed_over: the links whose `paths` leave this path out.
        served: the answer that is served, where any is: one of `answers`, or the default of `[secrets]`.
        error: why nothing is.
    """

    answers: tuple[LinkAnswer, ...]
    passed_over: tuple[str, ...] = ()
    served: LinkAnswer | None = None
    error: StrongroomError | None = None

    def equals_served(self, answer: LinkAnswer) -> bool | None:
        """Whether this link's value, read as text, is the one that is served; None where there are not two to compare.

        The time that it takes says nothing of where they differ.
        """
        if self.served is None or not answer.found:
            return None
        mine, served = answer.value, self.served.value
        if isinstance(mine, Mapping) and isinstance(served, Mapping):
            # Every one is compared, whichever differs.
            return mine.keys() == served.keys() and not [key for key in mine if not _same(mine[key], served[key])]
        return _same(mine, served)


def _same(one: Value, other: Value) -> bool:
    """Whether an application reads the same: the same text or, of two lists or two mappings, the same items."""
    if (_is_list(one) and _is_list(other)) or (isinstance(one, Mapping) and isinstance(other, Mapping)):
        one, other = (json.dumps(to_json(value), sort_keys=True) for value in (one, other))
    return hmac.compare_digest(_bytes(one), _bytes(other))


def _is_list(value: Value) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _bytes(value: Value) -> bytes:
    if isinstance(value, bytes):
        return bytes(value)
    if value is None:
        return b"\0null"  # no text that a person would store
    return (value if isinstance(value, str) else to_json_text(value)).encode("utf-8", "surrogatepass")
