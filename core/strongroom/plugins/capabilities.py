"""Capabilities of a plugin's stores, from the classes that its opener is annotated with. Opens nothing."""

from __future__ import annotations

from collections.abc import Sequence

from strongroom.store import SecretStore
from strongroom.store.protocols import capabilities_of


def of_any(kinds: Sequence[type]) -> tuple[frozenset[str], frozenset[str]] | None:
    """Return the capabilities that all of the classes have, and those that only some have.

    Return None if the classes do not tell: there are none, or one is a protocol, which shows the least of a store.
    """
    if not kinds or any(getattr(kind, "_is_protocol", False) or not issubclass(kind, SecretStore) for kind in kinds):
        return None
    each = [capabilities_of(kind) for kind in kinds]
    always = frozenset.intersection(*each)
    return always, frozenset.union(*each) - always
