"""Parsing of `[secrets]`: the required secrets, by the name of a variable. Pure."""

from __future__ import annotations

import re
import string
from collections.abc import Iterator, Mapping
from datetime import date, datetime
from typing import Annotated, Any

from strongroom._config import ComposedPart, Composition, Generation, SecretConfig
from strongroom._config.document import Table
from strongroom._config.setting_types import Limit, Parser, Text, at_least, kind
from strongroom.errors import InvalidDataError
from strongroom.paths import check_key, check_path, parse_reference
from strongroom.secret import Value, check_data

TYPES = (
    "str", "bytes", "int", "float", "bool", "list", "dict", "list[str]", "list[int]", "dict[str, str]", "Path",
    "Decimal", "datetime", "date", "timedelta", "UUID",
)  # fmt: skip
"""The names that `type` may have: `conversion.declared_type` returns the types."""

GENERATORS = ("password", "token", "hex")
"""The kinds of generated values: letters and digits, URL-safe text, hexadecimal digits."""

_LONGEST = 4096
"""The largest `length` of a generated value: characters of a password, random bytes of the others."""


def _date(value: object) -> date | None:
    """Return a date, or None for other values."""
    if isinstance(value, str):
        try:
            return date.fromisoformat(value)
        except ValueError:
            return None
    return value if isinstance(value, date) and not isinstance(value, datetime) else None


_POINTER = re.compile(r"(?:/(?:[^/~]|~[01])*)+")
"""A JSON pointer to a part of a document: https://www.rfc-editor.org/rfc/rfc6901"""

_ROW: Mapping[str, Any] = {
    "at": Text,
    "required": bool,
    "as_path": bool,
    "type": Annotated[str, Limit(TYPES.__contains__, f"one of {', '.join(TYPES)}", TYPES)],
    "description": Text,
    "expires": Annotated[date, Parser(_date, "a date such as 2027-01-31")],
    "extract": Annotated[
        str, Limit(lambda text: _POINTER.fullmatch(text) is not None, 'a JSON pointer such as "/database/password"')
    ],
}
_KINDS = f"one of {', '.join(GENERATORS)}, or a table with `kind` and `length`"
_KIND: Any = Annotated[str, Limit(GENERATORS.__contains__, _KINDS, GENERATORS)]
_LENGTH: Any = Annotated[int, at_least(16), Limit(lambda length: length <= _LONGEST, f"at most {_LONGEST:,}")]


def read_secrets(table: Table) -> dict[str, SecretConfig]:
    """Return the rows by variable.

    Raises:
        ConfigurationError: a row is malformed, or names an unknown variable, or is composed of itself.
    """
    rows: dict[str, SecretConfig] = {}
    templates: dict[str, tuple[Table, str]] = {}
    for variable, value in table.rest().items():
        if isinstance(value, Mapping):
            row = table.table(variable)
            if (template := row.text("compose")) is not None:
                templates[variable] = row, template
            rows[variable] = _row(row, table, variable)
        elif isinstance(value, str):
            rows[variable] = SecretConfig(*_place(value, table, variable), origin=table.where(variable))
        else:
            table.fail(variable, f'must be "PATH#KEY" or a table with `at`, not {kind(value)}')
    _check_cycles({name: (row, _variables(row, template, rows)) for name, (row, template) in templates.items()})
    for variable, (row, template) in templates.items():
        rows[variable] = rows[variable]._replace(compose=_composition(row, template, rows))
    return rows


def _row(row: Table, table: Table, variable: str) -> SecretConfig:
    given, default = row.values(_ROW), _default(row)
    if "at" not in given:
        row.fail("at", 'is missing: it names the secret as "PATH#KEY"')
    if given.get("required") and default is not None:
        row.fail("required", "must not be true beside `default`, which replaces a missing secret")
    if default is not None and "compose" in row:
        row.fail("compose", "must not stand beside `default`: both replace a missing secret")
    for other in ("compose", "generate"):
        if "extract" in given and other in row:
            row.fail(other, "must not stand beside `extract`, which reads a part of another value")
    path, key = _place(given.pop("at"), table, variable)
    found = SecretConfig(
        **{"required": default is None, **given},
        path=path,
        key=key,
        default=default,
        generate=_generation(row),
        origin=row.where(),
    )
    row.close()
    return found


def _default(row: Table) -> Value:
    value = row.take("default")
    if value is None:
        return None
    try:
        return check_data("default", {"default": value})["default"]  # type: ignore[dict-item]  # it checks the type
    except InvalidDataError:
        fault = f"must be a string, number, boolean, list or table, not {kind(value)}"
    return row.fail("default", fault)


def _generation(row: Table) -> Generation | None:
    if not isinstance(row.take("generate"), Mapping):
        named = row.values({"generate": _KIND})
        return Generation(named["generate"], 32) if named else None
    table = row.table("generate")
    given = table.values({"kind": _KIND, "length": _LENGTH})
    table.close()
    if "kind" not in given:
        row.fail("generate", f"must be {_KINDS}")
    return Generation(given["kind"], given.get("length", 32))


def _parts(row: Table, template: str) -> Iterator[tuple[str, str | None]]:
    """Yield each literal text of a template, with the variable after it."""
    fault = "must be text with {VARIABLE} for values of other rows; a brace itself is {{ or }}"
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError:
        parts = [("", "", "", None)]
    for text, variable, form, conversion in parts:
        if form or conversion or variable == "":
            row.fail("compose", fault)
        yield text, variable


def _variables(row: Table, template: str, rows: Mapping[str, SecretConfig]) -> list[str]:
    found = [variable for _, variable in _parts(row, template) if variable is not None]
    for variable in found:
        if variable not in rows:
            row.fail("compose", f"{{{variable}}} is not in [secrets]")
        if rows[variable].as_path:
            row.fail("compose", f"{{{variable}}} is the path of a file (as_path), which other processes do not have")
    if not found:
        row.fail("compose", "names no other row: write it as {VARIABLE}, or use `default`")
    return found


def _composition(row: Table, template: str, rows: Mapping[str, SecretConfig]) -> Composition:
    parts = tuple(
        (text, None if variable is None else _part(variable, rows[variable]))
        for text, variable in _parts(row, template)
    )
    return Composition(parts, is_url="://" in template.partition("{")[0])


def _part(variable: str, row: SecretConfig) -> ComposedPart:
    return ComposedPart(variable, row.path, row.key, row.extract)


def _check_cycles(composed: Mapping[str, tuple[Table, list[str]]]) -> None:
    """Refuse a row that is composed of itself, directly or through others."""
    for variable, (row, _) in composed.items():
        seen: set[str] = set()
        waiting = [variable]
        while waiting:
            for other in composed[waiting.pop()][1]:
                if other == variable:
                    row.fail("compose", "is composed of itself")
                if other in composed and other not in seen:
                    seen.add(other)
                    waiting.append(other)


def _place(reference: str, table: Table, variable: str) -> tuple[str, str]:
    return table.parsed(variable, _path_and_key, str(reference), 'must be "PATH#KEY": ')


def _path_and_key(reference: str) -> tuple[str, str]:
    """Parse `PATH#KEY`, or `PATH/KEY` without a `#`."""
    path, key = parse_reference(reference)
    if key is None:
        path, _, key = path.rpartition("/")
        check_key(key, check_path(path))
    return path, key
