"""A plan as a JSON document, and strictly back again.

Version 1 had two forms, which are read: first a key had its `change`, and the header of a run's plan did not count the
writes; then a key had a `state` with other words.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from enum import StrEnum
from typing import Any, NamedTuple, TypeVar

from strongroom.errors import ConfigurationError, NewerFormatError, newer_format, shown
from strongroom.formats.strict_json import repeated_name
from strongroom.migrate._plans.plan import (
    KeyChange,
    OnConflict,
    Plan,
    PlannedItem,
    PlannedKey,
    PlannedMapping,
    PlannedState,
)

FORMAT = "strongroom-migration-plan"
FORMAT_VERSION = 2

_E = TypeVar("_E", bound=StrEnum)
_T = TypeVar("_T")

_ITEM = tuple(field.name for field in fields(PlannedItem))
_KEY = ("name", "change", "size")
_KEY_OF_1 = ("name", "state", "size")
_STATES_OF_1 = {
    "differs": KeyChange.CHANGED,
    "only at the source": KeyChange.ADDED,
    "same": KeyChange.SAME,
    "only at the target": KeyChange.REMOVED,
}
_MAPPING = PlannedMapping._fields
_PLAN = ("format", "version", *(field.name for field in fields(Plan)))


class PlanHeader(NamedTuple):
    """The first line of a stored plan.

    Attributes:
        id: the plan's name.
        sources: the names of its sources.
        target: the name of its target.
        writes: the number of secrets that a run writes.
    """

    id: str
    sources: tuple[str, ...]
    target: str
    writes: int


def dump_plan(plan: Plan) -> str:
    """Return the plan as JSON text. It holds no value and no digest of one.

    Each item is on one line, so that a diff of two plans shows the changed secrets.
    """
    encode = json.JSONEncoder(ensure_ascii=False).encode  # `json.dumps` would make an encoder for each item
    lines = ",\n  ".join(encode(_item(item)) for item in plan.items)
    start = json.dumps(_head(plan), ensure_ascii=False, indent=1).removesuffix("\n}")
    return f'{start},\n "items": [\n  {lines}\n ]\n}}\n' if lines else f'{start},\n "items": []\n}}\n'


def parse_plan(text: str | bytes, where: str = "The plan") -> Plan:
    """Return the plan that `dump_plan` wrote.

    Args:
        text: the document.
        where: its name in errors, such as the file's name.

    Raises:
        ConfigurationError: it is not a plan, has a later format, or was edited into an invalid one.
    """
    reader = _PlanReader(where)
    try:
        # Build each item as soon as it is parsed: as dictionaries, all items take several times the memory.
        document = json.loads(text, object_pairs_hook=reader.build)
    except (ValueError, RecursionError):
        document = None
    head = _checked_head(document, where)
    plan = reader.plan(head, head.get("items"))
    reader.check_once(plan)  # a person may have edited it
    return plan


def plan_lines(plan: Plan, version: int = FORMAT_VERSION) -> Iterator[bytes]:
    """Yield the plan as JSON lines, a header and one for each item, for a run to store and read in bounded memory."""
    parts = plan_fields(plan, version)
    yield f"{json.dumps({**next(parts), 'items': len(plan.items), 'writes': len(plan.pending)})}\n".encode()
    for item in parts:
        yield f"{json.dumps(item)}\n".encode()


def plan_digest(plan: Plan, version: int = FORMAT_VERSION) -> bytes:
    """Return the SHA-256 of the lines of a plan in this version; for version 1 in its second form.

    The format of its file, such as its line breaks, does not matter.
    """
    digest = hashlib.sha256()
    for line in plan_lines(plan, version):
        digest.update(line)
    return digest.digest()


def plan_fields(plan: Plan, version: int = FORMAT_VERSION) -> Iterator[dict[str, Any]]:
    """Yield the fields of the plan itself, without its items, and then those of each item, as JSON has them."""
    yield {**_head(plan), "version": version}
    for item in map(_item, plan.items):
        yield item if version > 1 else {**item, "keys": list(map(_key_of_1, item["keys"]))}


def parse_header(line: bytes, where: str) -> PlanHeader | None:
    """Return the header that is the first of `plan_lines`; None in the first form of version 1, which had no `writes`.

    Raises:
        ConfigurationError: it is not that of a plan, or has a later format.
    """
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        found = None
    head = _checked_head(found, where)
    if head["version"] == 1 and "writes" not in head:
        return None
    table = _Object(head, where, (*_PLAN, "writes"))
    return PlanHeader(table.get("id", str), table.each("sources", str), table.get("target", str), table.size("writes"))


def parse_lines(lines: Iterable[bytes], where: str) -> Plan:
    """Return the plan that `plan_lines` wrote.

    Raises:
        ConfigurationError: it is not a plan, is incomplete, or has a later format.
    """
    reader = _PlanReader(where)
    found: object = None
    items: list[object] = []
    try:
        for line in lines:
            if found is None:
                found = json.loads(line, object_pairs_hook=reader.build)
            else:
                items.append(json.loads(line, object_pairs_hook=reader.build))
    except (ValueError, RecursionError):
        found = None
    head = _checked_head(found, where)
    if head.get("items") != len(items):
        raise ConfigurationError(f"{where}: it is incomplete")
    return reader.plan({name: value for name, value in head.items() if name != "writes"}, items)


def _checked_head(document: object, where: str) -> dict[str, Any]:
    """Return the head of a plan, whose format and version this release reads. Its other fields are not checked.

    Raises:
        ConfigurationError: it is not a plan, or has a later format.
    """
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ConfigurationError(f"{where}: it is not a migration plan")
    version = document.get("version")
    if type(version) is not int or version < 1:
        raise ConfigurationError(f"{where}: version is invalid")
    if version > FORMAT_VERSION:
        raise NewerFormatError(f"{where}: {newer_format(version, FORMAT_VERSION)}")
    return document


class _PlanReader:
    """Builds a plan from parsed JSON. A fault of an item is raised by `plan`, after the version was checked."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._count = 0
        self._fault: ConfigurationError | None = None
        self._shared: dict[object, Any] = {}

    def build(self, pairs: list[tuple[str, Any]]) -> object:
        """Return the key or item of these fields, or any other object as a mapping."""
        value = dict(pairs)
        if len(value) < len(pairs):
            item = f", item {self._count + 1}" if value.keys() <= {*_ITEM, *_KEY} else ""
            self._fault = self._fault or ConfigurationError(f"{self._where}{item}: {repeated_name(pairs)}")
            return value
        try:
            for names in (_KEY, _KEY_OF_1):
                if value.keys() == set(names):
                    return self._share(_key(_Object(value, f"{self._where}, item {self._count + 1}", names)))
            if value.keys() == set(_ITEM):
                self._count += 1
                return self._item(_Object(value, f"{self._where}, item {self._count}", _ITEM))
        except ConfigurationError as error:
            self._fault = self._fault or error
        return value

    def plan(self, head: dict[str, Any], items: object) -> Plan:
        """Return the plan of a head whose version was checked, and of items that `build` returned."""
        if self._fault is not None:
            raise self._fault
        table = _Object(head, self._where, _PLAN)
        if not isinstance(items, list):
            raise table.fault("items")
        if not (identifier := table.get("id", str)).isalnum() or not identifier.isascii():
            raise table.fault("id")  # it becomes the name of a file
        sources = table.each("sources", str)
        for number, item in enumerate(items, start=1):
            if not isinstance(item, PlannedItem) or item.source not in sources:
                raise ConfigurationError(f"{self._where}, item {number}: it is not an item of this plan")
        policy, mapping = table.one_of("on_conflict", OnConflict), self._mapping(table)
        return Plan(
            identifier,
            sources,
            table.get("target", str),
            policy,
            tuple(items),
            mapping,
            table.get("backup", bool),
            table.each("encrypt_to", str),
        )

    def check_once(self, plan: Plan) -> None:
        """Raise if two items have the same source path or the same target path."""
        paths: set[str] = set()
        source_paths: dict[str, set[str]] = {name: set() for name in plan.sources}
        for number, item in enumerate(plan.items, start=1):
            if not plan.covers(item):
                continue
            for known, path in ((paths, item.path), (source_paths[item.source], item.source_path)):
                if path in known:
                    raise ConfigurationError(f"{self._where}, item {number}: {shown(path)} is also in an earlier item")
                known.add(path)

    def _mapping(self, head: _Object) -> PlannedMapping | None:
        if head.value["mapping"] is None:
            return None
        table = _Object(head.get("mapping", dict), f"{self._where}, mapping", _MAPPING)
        return PlannedMapping(table.get("file", str), table.get("digest", str))

    def _item(self, table: _Object) -> PlannedItem:
        source_path, path = table.get("source_path", str), table.get("path", str)
        return PlannedItem(
            source=self._share(table.get("source", str)),
            source_path=source_path,
            path=source_path if path == source_path else path,
            state=table.one_of("state", PlannedState),
            reason=self._share(table.get("reason", str)),
            keys=self._share(table.each("keys", PlannedKey)),
            source_version=table.version("source_version"),
            target_version=table.version("target_version"),
            cautions=self._share(table.each("cautions", str)),
            labels=self._share(table.each("labels", str)),
        )

    def _share(self, value: _T) -> _T:
        """Return the first of equal values, so that a large plan holds each once."""
        shared: _T = self._shared.setdefault(value, value)
        return shared


class _Object:
    """Strict access to a JSON object."""

    def __init__(self, value: Mapping[str, Any], where: str, names: tuple[str, ...]) -> None:
        self.value = value
        self._where = where
        if value.keys() != set(names):
            fields = ", ".join(sorted(map(repr, value.keys() ^ set(names))))
            raise ConfigurationError(f"{where}: missing or unknown fields: {fields}")

    def fault(self, name: str) -> ConfigurationError:
        return ConfigurationError(f"{self._where}: {name} is invalid")

    def get(self, name: str, kind: type[_T]) -> _T:
        value = self.value[name]
        if type(value) is not kind:  # True is an int too
            raise self.fault(name)
        return value

    def each(self, name: str, kind: type[_T]) -> tuple[_T, ...]:
        items = self.get(name, list)
        if not all(isinstance(item, kind) for item in items):
            raise self.fault(name)
        return tuple(items)

    def size(self, name: str) -> int:
        if (number := self.get(name, int)) < 0:
            raise self.fault(name)
        return number

    def version(self, name: str) -> int | str | None:
        value = self.value[name]
        if isinstance(value, bool) or not isinstance(value, int | str | None):
            raise self.fault(name)
        return value

    def one_of(self, name: str, kind: type[_E]) -> _E:
        try:
            return kind(self.value[name])
        except ValueError:
            raise self.fault(name) from None


def _key(table: _Object) -> PlannedKey:
    if "state" not in table.value:
        change = table.one_of("change", KeyChange)
    elif (known := _STATES_OF_1.get(table.get("state", str))) is not None:
        change = known
    else:
        raise table.fault("state")
    return PlannedKey(table.get("name", str), change, table.size("size"))


def _head(plan: Plan) -> dict[str, object]:
    return {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "id": plan.id,
        "sources": list(plan.sources),
        "target": plan.target,
        "on_conflict": plan.on_conflict.value,
        "mapping": None if plan.mapping is None else plan.mapping._asdict(),
        "backup": plan.backup,
        "encrypt_to": list(plan.encrypt_to),
    }


def _item(item: PlannedItem) -> dict[str, Any]:
    keys = [{"name": key.name, "change": key.change.value, "size": key.size} for key in item.keys]
    return {name: keys if name == "keys" else getattr(item, name) for name in _ITEM}


def _key_of_1(key: Mapping[str, Any]) -> dict[str, object]:
    """Return a key as the last form of version 1 wrote it."""
    state = next(state for state, change in _STATES_OF_1.items() if change == key["change"])
    return {"name": key["name"], "state": state, "size": key["size"]}
