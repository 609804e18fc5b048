"""Why a read comes to what it comes to: every link's answer, and whether its value is the one that is served. Pure."""

from __future__ import annotations

import hmac
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from strongroom.errors import Attempt, StrongroomError
from strongroom.model import Value, Version, to_json_text


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
        key = secrets.token_bytes(32)
        mine, served = (hmac.digest(key, _comparable(value), "sha256") for value in (answer.value, self.served.value))
        return hmac.compare_digest(mine, served)


def _comparable(value: Value) -> bytes:
    """The same bytes for two values that an application reads as the same text."""
    if isinstance(value, bytes):
        return bytes(value)
    if isinstance(value, Mapping):
        return json.dumps({key: _comparable(item).hex() for key, item in value.items()}, sort_keys=True).encode()
    if value is None:
        return b"\0null"  # no text that a person would store
    return (value if isinstance(value, str) else to_json_text(value)).encode("utf-8", "surrogatepass")
