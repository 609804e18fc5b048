"""Parsing of the tables of `[rotation]`: the rotator, its options, and the schedule. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

from strongroom.config import OptionValue, Rank, RotationConfig, StoreConfig, Window
from strongroom.config.chain_table import OptionReader
from strongroom.config.document import Table
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
    settings = _Settings()
    for table, rank in tables:
        settings.read(table, rank, reader)
    if settings.rotator is None:
        last.fail("rotator", 'is missing: it names a rotator, such as "postgres"')
    if settings.every is None and (settings.window or settings.jitter):
        last.fail("every", 'is missing: `window` and `jitter` need a period such as every = "30d"')
    return RotationConfig(
        path=path,
        rotator=StoreConfig(path, settings.rotator, last.where().removesuffix(":"), settings.options),
        store=settings.store,
        every=settings.every,
        window=settings.window,
        jitter=settings.jitter,
        grace=settings.grace,
        found_file=reader.found_file,
    )


class _Settings:
    """The settings of one rotation, from the tables read so far."""

    rotator: str | None = None
    store: str | None = None
    every: float | None = None
    window: Window | None = None
    jitter: float = 0.0
    grace: float = 0.0
    options: Mapping[str, OptionValue] = {}

    def read(self, table: Table, rank: Rank, reader: OptionReader) -> None:
        """Override the settings by those of one more table."""
        self.rotator = table.text("rotator") or self.rotator
        self.store = table.text("store") or self.store
        self.every = _period(table) or self.every
        self.window = _window(table) or self.window
        self.jitter = _or(table.seconds("jitter"), self.jitter)
        self.grace = _or(table.seconds("grace"), self.grace)
        given = {key: reader.given(table, key, value, rank) for key, value in table.rest().items()}
        self.options = {**self.options, **given}


def _or(value: float | None, default: float) -> float:
    return default if value is None else value


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
