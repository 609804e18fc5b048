"""The health of a store. Separate from the protocols, which use it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from strongroom.errors import Check, StrongroomError


class Health(NamedTuple):
    """The health of a store, as a probe returns it.

    Attributes:
        ok: True if the store would answer a read now.
        detail: one line for people.
        facts: names and values worth showing (version, sealed, token lifetime in seconds). Never a secret.
        checks: each check of the probe, in order, with the next step if it failed. A store with a failed check is not
            `ok`.
        error: if not `ok`, the error that a read would raise. Without it the store counts as unavailable.
        seconds: duration of the probe, including the opening of the store. The chain fills it in.
    """

    ok: bool
    detail: str = ""
    facts: Mapping[str, str] = MappingProxyType({})
    checks: tuple[Check, ...] = ()
    error: StrongroomError | None = None
    seconds: float = 0.0
