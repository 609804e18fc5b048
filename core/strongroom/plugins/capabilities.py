"""What the stores of a plugin can do, as far as the classes tell that its opener says it returns. Nothing is opened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from strongroom.store import (
    BulkStore,
    CheckedStore,
    DynamicStore,
    KeyedStore,
    ListableStore,
    ProbedStore,
    SecretStore,
    VersionedStore,
    WritableStore,
)

_BY_METHODS: Mapping[str, type[object]] = {
    "keyed": KeyedStore,
    "listable": ListableStore,
    "writable": WritableStore,
    "checked": CheckedStore,
    "versioned": VersionedStore,
    "bulk": BulkStore,
    "probed": ProbedStore,
    "dynamic": DynamicStore,
}
_BY_ATTRIBUTE = ("final_deletes", "recoverable", "local")


def of_any(kinds: Sequence[type]) -> tuple[frozenset[str], frozenset[str]] | None:
    """The capabilities that all of the classes have, and those that only some have, as `GuardedStore` names them.

    None where the classes do not tell: there are none, or one is a protocol, which says the least that a store can do.
    """
    if not kinds or any(getattr(kind, "_is_protocol", False) or not issubclass(kind, SecretStore) for kind in kinds):
        return None
    each = [_of(kind) for kind in kinds]
    always = frozenset.intersection(*each)
    return always, frozenset.union(*each) - always


def _of(kind: type) -> frozenset[str]:
    methods = {name for name, protocol in _BY_METHODS.items() if issubclass(kind, protocol)}
    return frozenset(methods | {name for name in _BY_ATTRIBUTE if getattr(kind, name, None) is True})
