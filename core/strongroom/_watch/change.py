"""The event of a watch. A separate file because it is all that most programs import."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from strongroom.secret import Version


@dataclass(frozen=True, kw_only=True)
class Change:
    """A watched secret has changed. It has no values: read the secret to get them.

    Attributes:
        path: the secret's path.
        kind: `created` or `deleted` if the secret was, or is now, in no store of the chain; otherwise `updated`.
        keys: the keys that were added, removed or got another value, sorted. It is empty if a new version has the same
            values.
        old_version: the version before, or None if the secret did not exist or its store has no versions.
        new_version: the version now, or None if the secret does not exist or its store has no versions.
        store: the name of the store that has the secret, or had it before it was deleted.
        time: when the new version was written if the store knows it, otherwise when the change was found. It has a time
            zone.
    """

    path: str
    kind: Literal["created", "updated", "deleted"]
    keys: tuple[str, ...]
    old_version: Version | None
    new_version: Version | None
    store: str
    time: datetime
