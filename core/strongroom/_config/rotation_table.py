"""Parsing of the tables of `[rotation]`: the rotator, its options, and the schedule. Pure."""

from __future__ import annotations

import re
from typing import Any

from strongroom._config import Rank, RotationConfig, Setting, StoreConfig, Window
from strongroom._config.chain_table import OptionReader
from strongroom._config.document import Table
from strongroom.errors import InvalidPathError
from strongroom.paths import check_path

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY = "|".join(_DAYS)
_WINDOW = re.compile(
    rf"(?:((?:{_DAY})(?:-(?:{_DAY}))?(?:,(?:{_DAY})(?:-(?:{_DAY}))?)*) )?(\d\d):(\d\d)-(\d\d):(\d\d)", re.ASCII
)
WINDOW_FORMAT = 'hours in UTC such as "02:00-05:00", or with days "Sat,Sun 22:00-04:00"'

LEAST_PERIOD = 60.0
"""The shortest `every`, in seconds."""


def read_rotation(path: str, tables: list[tuple[Table, Rank]], reader: OptionReader) -> RotationConfig:
    """Merge the tables of one secret's rotation; later ones override earlier ones key by key.

    Raises:
        ConfigurationError: the path, the schedule or a setting is malformed. Names the file, the table and the key.
    """
    last = tables[-1][0]
    try:
        check_path(path)
    except InvalidPathError as error:
        fault = f"is not the path of a secret: {error.reason}"
    else:
        fault = ""
    if fault:
        last.fail("", fault)
    settings: dict[str, Any] = {}
    options: dict[str, Setting] = {}
    for table, rank in tables:
        found = {
            "rotator": table.text("rotator"),
            "store": table.text("store"),
            "every": _period(table),
            "window": _window(table),
            "jitter": table.seconds("jitter"),
            "grace": table.seconds("grace"),
        }
        settings |= {name: value for name, value in found.items() if value is not None}
        options |= {key: reader.given(table, key, value, rank) for key, value in table.rest().items()}
    if (rotator := settings.pop("rotator", None)) is None:
        last.fail("rotator", 'is missing: it names a rotator, such as "postgres"')
    if "every" not in settings and ("window" in settings or settings.get("jitter")):
        last.fail("every", 'is missing: `window` and `jitter` need a period such as every = "30d"')
    store = StoreConfig(path, rotator, last.where().removesuffix(":"), options)
    return RotationConfig(path, store, **settings)


def _period(table: Table) -> float | None:
    every = table.seconds("every")
    if every is not None and every < LEAST_PERIOD:
        table.fail("every", "must be at least one minute")
    return every


def _window(table: Table) -> Window | None:
    text = table.text("window")
    if text is None:
        return None
    parsed = parse_window(text)
    if parsed is None:
        table.fail("window", f"must be {WINDOW_FORMAT}")
    return parsed


def parse_window(text: str) -> Window | None:
    """Return the window, or None if the text is not a window."""
    found = _WINDOW.fullmatch(text.strip().lower())
    if found is None:
        return None
    days, *numbers = found.groups()
    first_hour, first_minute, last_hour, last_minute = map(int, numbers)
    if max(first_minute, last_minute) > 59 or first_hour > 23 or last_hour > 24 or (last_hour == 24 and last_minute):
        return None
    start, end = (first_hour * 60 + first_minute) * 60, (last_hour * 60 + last_minute) * 60
    if start == end:
        return None
    return Window(start, end % 86_400, _weekdays(days) if days else frozenset(range(7)))


def _weekdays(text: str) -> frozenset[int]:
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        begin, end = _DAYS.index(first), _DAYS.index(last or first)
        found.update((begin + offset) % 7 for offset in range((end - begin) % 7 + 1))
    return frozenset(found)
