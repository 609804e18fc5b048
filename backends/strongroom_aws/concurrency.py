"""Several calls at a time, in bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from itertools import islice
from typing import TypeVar

from strongroom.errors import StoreError
from strongroom.secret import Value, Version
from strongroom.store import Items
from strongroom_aws.service import AT_ONCE

_T = TypeVar("_T")
_R = TypeVar("_R")


def at_once(operation: Callable[[_T], _R], items: Iterable[_T]) -> Iterator[tuple[_T, _R]]:
    """Each item with what the operation makes of it, in their order; `2 * AT_ONCE` items are taken ahead.

    The operation has the time of the call that takes the next result, and answers within it.
    """
    pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="aws")
    under_way: deque[tuple[_T, Future[_R]]] = deque()
    try:
        for item in items:
            under_way.append((item, pool.submit(copy_context().run, operation, item)))
            if len(under_way) >= 2 * AT_ONCE:
                first, future = under_way.popleft()
                yield first, future.result()
        for first, future in under_way:
            yield first, future.result()
    finally:
        pool.shutdown(cancel_futures=True)  # whoever stops taking results wants no more of them made


def in_groups(items: Iterable[_T], size: int) -> Iterator[list[_T]]:
    """The items in lists of `size`, each item once in its list; the last one may be shorter."""
    rest = iter(items)
    while group := list(islice(rest, size)):
        yield list(dict.fromkeys(group))


def write_each(
    write: Callable[[str, Mapping[str, Value]], Version], items: Items
) -> Iterator[tuple[str, Version | StoreError | None]]:
    """Each item's path with its new version or its own error."""

    def outcome_of(item: tuple[str, Mapping[str, Value]]) -> Version | StoreError:
        try:
            return write(*item)
        except StoreError as error:
            return error

    for (path, _), outcome in at_once(outcome_of, items):
        yield path, outcome
