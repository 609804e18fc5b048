"""Many calls of one store at a time: by its own bulk operations, else in a few threads. In bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple, TypeVar

from strongroom.errors import AuthenticationError, StoreError, StoreUnavailableError
from strongroom.secret import Secret, Value, Version
from strongroom.store.guard import GuardedStore

_THREADS = 8
OUTAGES = (StoreUnavailableError, AuthenticationError)
"""What says nothing of a secret: the store does not answer, or does not know us any more."""

_OUTAGES_IN_A_ROW = 32
"""After how many answers that are all outages a store is out as a whole: more than are under way at a time."""

_I = TypeVar("_I")
_R = TypeVar("_R")


class Write(NamedTuple):
    """What is to be written: whole, and where the store has check-and-set, after that version; None is after none.

    Where the store has forms, it is written in this one; None leaves it to the store.
    """

    path: str
    data: Mapping[str, Value]
    expected: Version | None
    form: Mapping[str, str] | None = None


def read_each(front: GuardedStore, paths: Iterable[str]) -> Iterator[tuple[str, Secret | StoreError]]:
    """Each path with its secret or its own error, in any order."""
    if front.local or "bulk" in front.capabilities:
        return front.read_many(paths)
    return in_threads(lambda path: (path, _outcome(lambda: front.read(path))), paths)


def write_each(front: GuardedStore, writes: Iterable[Write]) -> Iterator[tuple[str, Version | StoreError | None]]:
    """Each path with its new version or its own error, in any order; under check-and-set where the store has it."""
    if front.checked:
        if front.local or front.bulk_checked:
            return front.write_many_if(write[:3] for write in writes)
        return in_threads(lambda w: (w.path, _outcome(lambda: front.write_if(w.path, w.data, w.expected))), writes)
    if not front.formed and (front.local or "bulk" in front.capabilities):
        return front.write_many((write.path, write.data) for write in writes)
    return in_threads(lambda w: (w.path, _outcome(lambda: write_one(front, w))), writes)


def write_one(front: GuardedStore, write: Write) -> Version | None:
    """The new version of a write, without check-and-set."""
    if write.form is None or not front.formed:
        return front.write(write.path, write.data)
    return front.write_formed(write.path, write.data, write.form)


def _outcome(operation: Callable[[], _R]) -> _R | StoreError:
    try:
        return operation()
    except StoreError as error:
        return error


def in_threads(function: Callable[[_I], _R], items: Iterable[_I]) -> Iterator[_R]:
    """The function's results, in the order of the items, of which few are taken ahead."""
    waiting: deque[Future[_R]] = deque()
    pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="strongroom migrate")
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= 2 * _THREADS:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


class OutageWatch:
    """Tells the outage of a store from that of a secret: a batch is not carried on against a store that is out."""

    def __init__(self) -> None:
        self._outages = 0

    def saw(self, outcome: object) -> None:
        """Takes note of an answer.

        Raises:
            StoreUnavailableError, AuthenticationError: it is one of many in a row.
        """
        if not isinstance(outcome, OUTAGES):
            self._outages = 0
            return
        self._outages += 1
        if self._outages >= _OUTAGES_IN_A_ROW:
            raise outcome.again()
