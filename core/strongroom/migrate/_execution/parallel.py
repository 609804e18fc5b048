"""Many calls of one store at a time, through its bulk operations or on a few threads, in bounded memory.

An item that fails because its store was unavailable is tried again before it counts as failed. `OutageWatch` tells such
an item from a store that is down.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from itertools import islice, takewhile
from threading import Event
from typing import Generic, NamedTuple, TypeVar

from strongroom._boundary.guard import GuardedStore
from strongroom._chain.connection import OUTAGES_IN_A_ROW
from strongroom.errors import (
    AuthenticationError,
    SecretNotFoundError,
    StoreError,
    StoreUnavailableError,
    StrongroomError,
)
from strongroom.secret import Secret, Value, Version
from strongroom.store.concurrency import map_concurrently, result_or_error

_BATCH = 256
"""How many items share the syncs of the journal."""

_BATCH_UNCHECKED = 64
"""The same for writes without check-and-set, so that little time passes between reading a target and replacing it. Also
used with labels, which are written after each batch."""

_BATCH_LOCAL = 1 << 14
"""The same for a file, which is rewritten once for each batch, in a time that grows with its size."""

OUTAGES = (StoreUnavailableError, AuthenticationError)
"""Errors that concern the store and not the secret: it is unavailable, or rejects our credentials."""

RETRY_DELAYS = (0.1, 0.4, 1.2)
"""Seconds before each retry of the items that failed for a transient reason."""

_MOST_RETRIED = 256
"""How many failed items of one batch are kept for a retry."""

_REJECTIONS_IN_A_ROW = 8
"""How many consecutive failures end the batch if the last one is rejected credentials, such as an expired token."""

_I = TypeVar("_I")
_K = TypeVar("_K")


class SecretWrite(NamedTuple):
    """A write of a whole secret.

    Attributes:
        expected: the current version, for check-and-set; None if there is no secret.
        form: the form to write, for a store that has forms; None leaves it to the store.
    """

    path: str
    data: Mapping[str, Value]
    expected: Version | None
    form: Mapping[str, str] | None = None


class Retries(Generic[_K]):
    """The items of a batch that failed for a transient reason, and the rounds in which they are tried again."""

    def __init__(self) -> None:
        self.failed: dict[_K, StrongroomError] = {}
        self._answered = True

    def keep(self, item: _K, outcome: object) -> bool:
        """Return True if the outcome is transient, in which case the item is kept for the next round."""
        if isinstance(outcome, StoreUnavailableError) and (item in self.failed or len(self.failed) < _MOST_RETRIED):
            self.failed[item] = outcome
            return True
        self.failed.pop(item, None)
        self._answered = True
        return False

    def rounds(self) -> Iterator[list[_K]]:
        """Wait, then yield the items to retry. End after a round in which the store answered for none of several."""
        for delay in RETRY_DELAYS:
            if not self.failed or (len(self.failed) > 1 and not self._answered):
                return
            self._answered = False
            time.sleep(delay)
            yield list(self.failed)


def read_each(
    front: GuardedStore, paths: Iterable[str], watch: OutageWatch
) -> Iterator[tuple[str, Secret | StoreError]]:
    """Yield each path with its secret or its error, in any order. Transient failures are retried, and come last.

    Raises:
        StoreUnavailableError, AuthenticationError: the store is down.
    """
    retries = Retries[str]()
    for path, outcome in _read_once(front, paths):
        watch.observe(outcome)
        if not retries.keep(path, outcome):
            yield path, outcome
    for again in retries.rounds():
        for path, outcome in _read_once(front, again):
            if not retries.keep(path, outcome):
                yield path, outcome
    for path, error in retries.failed.items():
        if isinstance(error, StoreError):
            yield path, error


def _read_once(front: GuardedStore, paths: Iterable[str]) -> Iterator[tuple[str, Secret | StoreError]]:
    if _is_batched(front, "read_many"):
        return front.read_many(paths)
    return map_concurrently(partial(result_or_error, front.read), paths)


def newest_readable(
    front: GuardedStore, path: str, shown: Secret | StoreError, written: Version | None
) -> Secret | StoreError:
    """Return the newest version that can be read of a secret, of which `Traits.consecutive` may show an older one.

    An outage or a denial ends the search as an absence does. A merge, which writes over the result, cannot allow that:
    see `_chain.writes`.

    Args:
        front: the store.
        path: the path of the secret.
        shown: the result of a read, or its error.
        written: the version that the run wrote, if it is known.
    """
    if not front.traits.consecutive or not isinstance(shown, Secret | SecretNotFoundError):
        return shown
    number = int(shown.version or 0) if isinstance(shown, Secret) else 0
    if isinstance(written, int):
        number = max(number, written - 1)
    elif number == 0:
        return shown
    while isinstance(later := result_or_error(front.read_version, path, number + 1), Secret):
        shown, number = later, number + 1
    return shown


def _is_batched(front: GuardedStore, method: str) -> bool:
    """Return True if threads do not help: the store is local, or has the bulk operation itself."""
    return "local" in front.capabilities or method in front.operations


def write_each(
    front: GuardedStore, writes: Iterable[SecretWrite]
) -> Generator[tuple[str, Version | StoreError | None], None, None]:
    """Yield each path with its new version or error, in any order. Uses check-and-set if the store has it."""
    if "checked" in front.capabilities:
        if _is_batched(front, "write_many_if"):
            yield from front.write_many_if(write[:3] for write in writes)
        else:
            for write, outcome in map_concurrently(lambda write: result_or_error(front.write_if, *write[:3]), writes):
                yield write.path, outcome
    elif "write_formed" not in front.operations and _is_batched(front, "write_many"):
        yield from front.write_many((write.path, write.data) for write in writes)
    else:
        for write, outcome in map_concurrently(partial(result_or_error, write_one, front), writes):
            yield write.path, outcome


def write_one(front: GuardedStore, write: SecretWrite) -> Version | None:
    """Write without check-and-set, and return the new version."""
    if write.form is None or "write_formed" not in front.operations:
        return front.write(write.path, write.data)
    return front.write_formed(write.path, write.data, write.form)


def delete_each(front: GuardedStore, paths: Iterable[str]) -> Iterator[tuple[str, StoreError | None]]:
    """Yield each path with None or its error, in any order. A secret that is already absent counts as deleted."""
    if _is_batched(front, "delete_many"):
        outcomes = front.delete_many(paths)
    else:
        outcomes = map_concurrently(partial(result_or_error, front.delete), paths)
    for path, failure in outcomes:
        yield path, None if isinstance(failure, SecretNotFoundError) else failure


def batch_size(target: GuardedStore, *, labels: bool) -> int:
    """Return how many items are written in one batch, with labels or without."""
    if labels:
        return _BATCH_UNCHECKED
    if target.traits.local and "write_many" in target.operations:
        return _BATCH_LOCAL
    return _BATCH if "checked" in target.capabilities else _BATCH_UNCHECKED


def groups(items: Sequence[_I], *, local: bool) -> Iterator[Sequence[_I]]:
    """Yield the items of an undo or a deletion in batches."""
    size = _BATCH_LOCAL if local else _BATCH
    return (items[start : start + size] for start in range(0, len(items), size))


def batches(items: Iterable[_I], size: int, *, ahead: bool) -> Generator[list[_I], None, None]:
    """Yield the items in lists of `size`.

    `ahead` takes the next list in a thread, while the caller works on one: a source is read while the target is
    written. A local store gains nothing by that, and its plugin may want to be called by one thread.
    """
    iterator = iter(items)
    if not ahead:
        while batch := list(islice(iterator, size)):
            yield batch
        return
    ended = Event()
    take = partial(copy_context().run, lambda: list(islice(takewhile(lambda _: not ended.is_set(), iterator), size)))
    with ThreadPoolExecutor(1, thread_name_prefix="strongroom migrate") as reader:
        try:
            taken = reader.submit(take)
            while batch := taken.result():
                taken = reader.submit(take)
                yield batch
        finally:
            ended.set()


class OutageWatch:
    """Tells a store that is down from single failures, so that a batch ends early."""

    def __init__(self) -> None:
        self._outages = 0

    def observe(self, outcome: object) -> None:
        """Count an outcome.

        Raises:
            StoreUnavailableError, AuthenticationError: it is one of many in a row.
        """
        if not isinstance(outcome, OUTAGES):
            self._outages = 0
            return
        self._outages += 1
        limit = _REJECTIONS_IN_A_ROW if isinstance(outcome, AuthenticationError) else OUTAGES_IN_A_ROW
        if self._outages >= limit:
            raise outcome.copy()
