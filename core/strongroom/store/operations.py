"""The table of operations: each method of a store, with its arguments, the check of its answer, and its capability.

The guard, `strongroom stores` and the contract derive their lists from it. To add a capability, add its protocol to
`protocols`, its name to `CAPABILITIES`, and a row for each of its methods.
"""

from __future__ import annotations

from typing import NamedTuple

from strongroom.store.protocols import Traits

__all__ = ["CAPABILITIES", "OPERATIONS", "Operation", "capabilities_of", "operations_of"]


class Operation(NamedTuple):
    """A method of a store.

    Attributes:
        name: the method.
        capability: the capability that it is a part of; empty for `read`, `newest_versions` and hints of migrations.
        takes: the kind of each argument, the path first. A `prefix` is that of a listing.
        answer: the kind of answer that it must give. `any` is not checked.
        changes: it changes something: if it overruns, its outcome is unknown.
        many: it takes an iterable of paths, or of tuples of these arguments, and yields each path with its answer.
        optional: a store that has the capability may lack it.
        one: the operation that the guard calls for each item, or for each folder, if the store lacks this one.
    """

    name: str
    capability: str
    takes: tuple[str, ...]
    answer: str
    changes: bool = False
    many: bool = False
    optional: bool = False
    one: str = ""


CAPABILITIES = {
    "keyed": "single-key reads",
    "listable": "listing",
    "writable": "writes",
    "checked": "check-and-set",
    "versioned": "versions",
    "bulk": "bulk reads",
    "probed": "health probe",
    "dynamic": "dynamic secrets",
}
"""Every capability beyond reading that a store's methods show, with its words in the error of a store that lacks it.

A store has a capability if it has its methods that are not optional. Each true field of `Traits` is a capability as
well, except `honors_deadline`, `disk_cache` and `consecutive`.
"""

OPERATIONS = {
    operation.name: operation
    for operation in (
        Operation("read", "", ("path",), "secret"),
        Operation("read_many", "bulk", ("path",), "secret", many=True, one="read"),
        Operation("newest_versions", "", ("path",), "newest version", many=True, optional=True),
        Operation("read_key", "keyed", ("path", "key"), "value"),
        Operation("makes", "dynamic", ("path",), "any"),
        Operation("list_entries", "listable", ("prefix",), "text"),
        Operation("walk", "listable", ("prefix",), "text", optional=True, one="list_entries"),
        Operation("probe", "probed", (), "health"),
        Operation("write", "writable", ("path", "data"), "version", changes=True),
        Operation(
            "write_many", "writable", ("path", "data"), "version", changes=True, many=True, optional=True, one="write"
        ),
        Operation("delete", "writable", ("path",), "any", changes=True),
        Operation(
            "delete_many", "writable", ("path",), "deletion", changes=True, many=True, optional=True, one="delete"
        ),
        Operation("write_if", "checked", ("path", "data", "expected"), "version", changes=True),
        Operation(
            "write_many_if",
            "checked",
            ("path", "data", "expected"),
            "version",
            changes=True,
            many=True,
            optional=True,
            one="write_if",
        ),
        Operation("versions", "versioned", ("path",), "versions"),
        Operation("read_version", "versioned", ("path", "version"), "secret of a version"),
        Operation("kept_versions", "versioned", ("path",), "count"),
        Operation("undelete", "versioned", ("path", "version"), "any", changes=True),
        Operation("destroy", "versioned", ("path", "version"), "any", changes=True),
        Operation("read_metadata", "versioned", ("path",), "labels"),
        Operation("write_metadata", "versioned", ("path", "labels"), "any", changes=True),
        # `strongroom.migrate.spi.MigrationHints`
        Operation("vet", "", ("path", "data"), "any", optional=True),
        Operation("vet_many", "", ("path", "data"), "any", many=True, optional=True, one="vet"),
        Operation("vet_labels", "", ("path", "labels"), "any", optional=True),
        Operation("cautions", "", ("path",), "cautions", optional=True),
        Operation("write_formed", "", ("path", "data", "form"), "version", changes=True, optional=True),
        Operation("walk_labels", "", ("prefix",), "labels of a path", optional=True, one="walk"),
    )
}
"""Every method that a store can have but `close`, by its name."""

_NO_CAPABILITY = frozenset({"honors_deadline", "disk_cache", "consecutive"})
"""Traits about the way in which a store is called, cached and merged into, not capabilities."""


def operations_of(store: object) -> frozenset[str]:
    """Return the names of the operations that a store, or a class of stores, has."""
    return frozenset({name for name in OPERATIONS if callable(getattr(store, name, None))})


def capabilities_of(store: object) -> frozenset[str]:
    """Return the names of the capabilities of a store or of a class of stores."""
    has = operations_of(store)
    lacks = {row.capability for row in OPERATIONS.values() if not row.optional and row.name not in has}
    traits = getattr(store, "traits", None)
    facts = set(Traits._fields) - _NO_CAPABILITY if isinstance(traits, Traits) else set()
    return frozenset((CAPABILITIES.keys() - lacks) | {name for name in facts if getattr(traits, name) is True})
