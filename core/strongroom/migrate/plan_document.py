"""A plan as a JSON document, and strictly back again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, TypeVar

from strongroom.difference import Change
from strongroom.errors import ConfigurationError
from strongroom.migrate.items import Item, OnConflict, Plan, PlannedKey, State

FORMAT = "strongroom-migration-plan"
FORMAT_VERSION = 1

_E = TypeVar("_E", bound=StrEnum)

_PLAN = ("format", "version", "id", "sources", "target", "on_conflict", "items")
_ITEM = (
    "source",
    "source_path",
    "path",
    "state",
    "reason",
    "keys",
    "source_version",
    "target_version",
    "cautions",
)
_KEY = ("name", "change", "size")


def dump_plan(plan: Plan) -> str:
    """The plan as JSON text. It holds no value and no digest.

    Each item is on a line of its own, so that a review shows what changed between two plans.
    """
    head = {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "id": plan.id,
        "sources": list(plan.sources),
        "target": plan.target,
        "on_conflict": plan.on_conflict.value,
    }
    lines = ",\n  ".join(json.dumps(_item(item), ensure_ascii=False) for item in plan.items)
    start = json.dumps(head, ensure_ascii=False, indent=1).removesuffix("\n}")
    return f'{start},\n "items": [\n  {lines}\n ]\n}}\n' if lines else f'{start},\n "items": []\n}}\n'


def parse_plan(text: str | bytes, where: str = "The plan") -> Plan:
    """The plan that `dump_plan` wrote.

    Args:
        text: the document.
        where: what it is called in errors, such as the file's name.

    Raises:
        ConfigurationError: it is none, is of a later format, or has been changed into something that is none.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        document = None
    table = _Table(document, where, None)
    if table.value.get("format") != FORMAT:
        raise ConfigurationError(f"{where}: it is no plan of a migration")
    if table.value.get("version") != FORMAT_VERSION:
        raise ConfigurationError(
            f"{where}: it is of format version {table.value.get('version')!r}, this release reads {FORMAT_VERSION}"
        )
    table.only(_PLAN)
    items = table.value["items"]
    if not isinstance(items, list):
        raise table.fault("items")
    identifier = table.text("id")
    if not identifier.isalnum() or not identifier.isascii():
        raise table.fault("id")  # it becomes the name of a file
    plan = Plan(
        identifier,
        table.texts("sources"),
        table.text("target"),
        table.one_of("on_conflict", OnConflict),
        tuple(_read_item(item, f"{where}, item {number}") for number, item in enumerate(items, start=1)),
    )
    for number, item in enumerate(plan.items, start=1):
        if item.source not in plan.sources:
            raise ConfigurationError(f"{where}, item {number}: its source is none of the plan's")
    return plan


class _Table:
    """A JSON object that is read strictly."""

    def __init__(self, value: object, where: str, names: tuple[str, ...] | None) -> None:
        if not isinstance(value, dict):
            raise ConfigurationError(f"{where}: it is no plan of a migration, or not JSON")
        self.value: Mapping[str, Any] = value
        self._where = where
        if names is not None:
            self.only(names)

    def only(self, names: tuple[str, ...]) -> None:
        if set(self.value) != set(names):
            odd = ", ".join(sorted(map(repr, set(self.value) ^ set(names))))
            raise ConfigurationError(f"{self._where}: it lacks, or has and should not, {odd}")

    def fault(self, name: str) -> ConfigurationError:
        return ConfigurationError(f"{self._where}: {name} is not what a plan has there")

    def text(self, name: str) -> str:
        value = self.value[name]
        if not isinstance(value, str):
            raise self.fault(name)
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        value = self.value[name]
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.fault(name)
        return tuple(value)

    def number(self, name: str) -> int:
        value = self.value[name]
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise self.fault(name)
        return value

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


def _item(item: Item) -> dict[str, object]:
    keys = [{"name": key.name, "change": key.change.value, "size": key.size} for key in item.keys]
    return {name: keys if name == "keys" else getattr(item, name) for name in _ITEM}


def _read_item(value: object, where: str) -> Item:
    table = _Table(value, where, _ITEM)
    keys = table.value["keys"]
    if not isinstance(keys, list):
        raise table.fault("keys")
    read = [_Table(key, where, _KEY) for key in keys]
    return Item(
        source=table.text("source"),
        source_path=table.text("source_path"),
        path=table.text("path"),
        state=table.one_of("state", State),
        reason=table.text("reason"),
        keys=tuple(PlannedKey(key.text("name"), key.one_of("change", Change), key.number("size")) for key in read),
        source_version=table.version("source_version"),
        target_version=table.version("target_version"),
        cautions=table.texts("cautions"),
    )
