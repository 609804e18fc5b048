"""Concurrent calls in bounded memory, for both services."""

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
from strongroom_aws.service import MAX_CONCURRENT

_T = TypeVar("_T")
_R = TypeVar("_R")


def map_concurrently(operation: Callable[[_T], _R], items: Iterable[_T]) -> Iterator[tuple[_T, _R]]:
    """Yield each item with the operation's result, in order, with `MAX_CONCURRENT` calls in flight.

    `2 * MAX_CONCURRENT` items are taken ahead. The operation must finish within the deadline of the caller.
    """
    pool = ThreadPoolExecutor(MAX_CONCURRENT, thread_name_prefix="aws")
    in_flight: deque[tuple[_T, Future[_R]]] = deque()
    try:
        for item in items:
            in_flight.append((item, pool.submit(copy_context().run, operation, item)))
            if len(in_flight) >= 2 * MAX_CONCURRENT:
                first, future = in_flight.popleft()
                yield first, future.result()
        for first, future in in_flight:
            yield first, future.result()
    finally:
        pool.shutdown(cancel_futures=True)  # a consumer that stops early needs no more results


def in_groups(items: Iterable[_T], size: int) -> Iterator[list[_T]]:
    """Yield the items in lists of `size` without duplicates in a list; the last list may be shorter."""
    rest = iter(items)
    while group := list(islice(rest, size)):
        yield list(dict.fromkeys(group))


def write_each(
    write: Callable[[str, Mapping[str, Value]], Version], items: Items
) -> Iterator[tuple[str, Version | StoreError | None]]:
    """Write each item; yield its path with its new version or its own error."""

    def outcome_of(item: tuple[str, Mapping[str, Value]]) -> Version | StoreError:
        try:
            return write(*item)
        except StoreError as error:
            return error

    for (path, _), outcome in map_concurrently(outcome_of, items):
        yield path, outcome
