"""The health of a store, as a probe returns it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from strongroom.errors import Check, StrongroomError


@dataclass(frozen=True)
class Health:
    """How a store is.

    Attributes:
        ok: it would answer a read now.
        detail: one line in words.
        facts: names and values worth showing (version, sealed, token life left in seconds). Never a secret.
        checks: each thing that was looked at, in order, with the next step where it is not as it should be. A store
            with a failed check is not well.
        error: where it is not well, what a read would raise. A store may leave it out: then it is unavailable.
        seconds: how long it took to say so, opening included. The chain fills it in.
    """

    ok: bool
    detail: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    checks: tuple[Check, ...] = ()
    error: StrongroomError | None = None
    seconds: float = 0.0
