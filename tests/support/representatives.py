"""Rows of a parametrized test that the default run takes, as representatives of the rows that take long together."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest


def some(rows: Iterable[Any], stays: Callable[[Any], bool]) -> list[Any]:
    """Return the rows as parameters. Those that do not stay in the default run have the mark `long`."""
    return [
        row if stays(row) else pytest.param(*(row if type(row) is tuple else (row,)), marks=pytest.mark.long)
        for row in rows
    ]
