"""Strict JSON: repeated names, NaN and numbers that a float would round are errors, which never quote the text.

Python's own reader keeps the last of two equal names and rounds 12345678901234567890.5 without notice. Both would
change a stored value.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

from strongroom.errors import InvalidDataError
from strongroom.secret import MAX_DEPTH, SensitiveDict, Value

MAX_MARKS = 1_000_000
"""The most commas and colons of a document: a parsed field takes about a microsecond."""

MAX_OBJECTS = 100_000
"""The most objects of a document. Each takes about ten microseconds."""

MAX_INTEGER = 2**53
"""The largest integer below which a 64-bit float denotes each integer."""

TOO_DEEP = "it is nested too deeply"
TOO_PRECISE = "a number would be rounded. Write it as text"

_LEVELS = 2 * MAX_DEPTH
"""The most levels of a document: encoding wraps a level of a value once more if it looks like encoded bytes."""


class InexactNumber:
    """Stands for a number that no float denotes. It is not a value, so every check of data refuses it."""


def exact_float(digits: str) -> float:
    """Return the float that these digits denote.

    Raises:
        ValueError: they are not a number, or the float nearest to it is another number. Never quotes them.
    """
    from decimal import Decimal

    try:
        number = float(digits)
        if math.isfinite(number) and Decimal(repr(number)) == Decimal(digits):
            return number
    except (ValueError, ArithmeticError):
        pass
    digits, number = "", 0.0
    raise ValueError(TOO_PRECISE)


def float_or_mark(digits: str) -> float | InexactNumber:
    """Return the float that these digits denote, or the mark that there is none; for a decoder's `parse_float`."""
    try:
        return exact_float(digits)
    except ValueError:
        return InexactNumber()


def inexact_key(tree: object) -> str | None:
    """Return the name nearest to a number that no float denotes: empty if it has none, None if all are exact."""
    rest: list[tuple[str, object]] = [("", tree)]
    while rest:
        name, value = rest.pop()
        if isinstance(value, InexactNumber):
            return name
        if isinstance(value, dict):
            rest.extend(value.items())
        elif isinstance(value, list):
            rest.extend((name, item) for item in value)
    return None


def has_large_integer(value: Value) -> bool:
    """Return True if the value has an integer above `MAX_INTEGER` in magnitude, at any level."""
    if isinstance(value, bool | float | str | bytes) or value is None:
        return False
    if isinstance(value, int):
        return abs(value) > MAX_INTEGER
    items: Iterable[Value] = value.values() if isinstance(value, Mapping) else value
    return any(map(has_large_integer, items))


def read_json(text: str) -> Any:  # any of JSON's types
    """Parse JSON strictly.

    Raises:
        InvalidDataError: it is not JSON, repeats a name, or has a number such as NaN or one that a float would round.
            Never quotes the text.
    """
    faults: list[str] = []
    if fault := excess(text):
        del text
        raise InvalidDataError(None, fault)

    def refuse(constant: str) -> NoReturn:
        faults.append(f"{constant} is not JSON")
        raise ValueError

    def paired(pairs: list[tuple[str, Any]]) -> SensitiveDict:
        found = SensitiveDict(pairs)
        if len(found) < len(pairs):
            faults.append(repeated_name(pairs))
            raise ValueError
        return found

    tree: Any = None
    try:
        tree = json.loads(text, object_pairs_hook=paired, parse_constant=refuse, parse_float=float_or_mark)
        if is_too_deep(tree):
            faults.append(TOO_DEEP)
        elif (key := inexact_key(tree)) is not None:
            faults.append(f"key {key!r}: {TOO_PRECISE}" if key else TOO_PRECISE)
        else:
            return tree
    except json.JSONDecodeError as error:
        faults.append(f"line {error.lineno}, column {error.colno}: it is not JSON")
    except ValueError:
        faults.append("a number has too many digits")
    except RecursionError:
        faults.append(TOO_DEEP)
    # Outside the `except`: the parser's error holds the whole text.
    del text, tree
    raise InvalidDataError(None, faults[0])


def repeated_name(pairs: Iterable[tuple[str, Any]]) -> str:
    """Return the fault of an object that repeats a name, such as `the name 'a' appears twice`."""
    repeated, _ = Counter(name for name, _ in pairs).most_common(1)[0]
    return f"the name {repeated!r} appears twice"


def excess(text: str) -> str:
    """Return why the document would take too long to parse, or the empty string."""
    if text.count(",") + text.count(":") > MAX_MARKS:
        return f"too many fields: more than {MAX_MARKS:,} commas and colons"
    return f"too many objects: more than {MAX_OBJECTS:,} braces" if text.count("{") > MAX_OBJECTS else ""


def is_too_deep(tree: object) -> bool:
    """Return True if the tree has more levels than a secret can have; checked without recursion."""
    level = [tree]
    for _ in range(_LEVELS + 3):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer if isinstance(outer, list) else ())
        ]
        if not level:
            return False
    return True
