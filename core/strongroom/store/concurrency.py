"""Concurrent calls of a batch. A separate module: few stores need it, and it loads the thread pool."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

from strongroom.errors import StoreError
from strongroom.secret import Secret, Value, Version
from strongroom.store.protocols import Items

MAX_CONCURRENT = 8
"""Calls of a batch in flight at a time."""

_R = TypeVar("_R")
_T = TypeVar("_T")


def map_concurrently(operation: Callable[[_T], _R], items: Iterable[_T]) -> Iterator[tuple[_T, _R]]:
    """Yield each item with the operation's result, in order, with `MAX_CONCURRENT` calls in flight.

    `2 * MAX_CONCURRENT` items are taken ahead. The operation must finish within the deadline of the caller.
    """
    pool = ThreadPoolExecutor(MAX_CONCURRENT, thread_name_prefix="strongroom batch")
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


def read_each(read: Callable[[str], Secret], paths: Iterable[str]) -> Iterator[tuple[str, Secret | StoreError]]:
    """Read each path; yield it with its secret or its own error."""

    def outcome_of(path: str) -> Secret | StoreError:
        try:
            return read(path)
        except StoreError as error:
            return error

    return map_concurrently(outcome_of, paths)


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
