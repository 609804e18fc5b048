"""A store that is opened at first use, and asked through a breaker, within its share of the time."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias, TypeVar

from strongroom.chain.breaker import Breaker
from strongroom.errors import (
    InvalidDataError,
    InvalidPathError,
    StoreError,
    StoreUnavailableError,
    StrongroomError,
    UnsupportedOperationError,
)
from strongroom.secret import Secret
from strongroom.store import SecretStore, remaining, time_limit
from strongroom.store.guard import GuardedStore, open_guarded

logger = logging.getLogger("strongroom.secrets_manager")

Opener: TypeAlias = Callable[[], SecretStore]

_R = TypeVar("_R")
_OUTAGES_IN_A_ROW = 32
"""After how many answers of a batch, all of them outages, the rest is not asked for: more than stores ask at a time."""
_TELLING = 0.5
"""After how many seconds silence says something of a store: with less, it was the caller that had no time."""


class Access:
    """The way to one store of a chain.

    Args:
        name: the store's name, for messages.
        opener: opens the store; called at first use, inside the deadline, and again after `reset`.
        timeout: how long one answer may take, in seconds.

    Attributes:
        breaker: whether an outage is known.
        front: the store, where it is open.
    """

    def __init__(self, name: str, opener: Opener, timeout: float) -> None:
        self._name = name
        self._opener = opener
        self._timeout = timeout
        self._closed = False
        self.reset()

    def reset(self) -> None:
        """Forgets the store without a word to it: in the child of a fork its connections are the parent's."""
        self._opening = threading.Lock()
        self.front: GuardedStore | None = None
        self.breaker = Breaker(self._timeout)
        self._outage: StoreUnavailableError | None = None

    def close(self) -> None:
        """Closes the store; every later call is refused."""
        self._closed = True
        front, self.front = self.front, None
        if front is not None:
            front.close()

    def ask(self, path: str | None, operation: Callable[[GuardedStore], _R], *, limit: float | None = None) -> _R:
        """The store's answer, within its share of the time, and not at all while it is known to be out."""
        if not self.breaker.admit():
            raise self.known_outage(path)
        limit = self._timeout if limit is None else limit
        given = min(limit, remaining())
        try:
            with time_limit(limit):
                answer = operation(self.open())
        except StoreUnavailableError as error:
            outage = error
            if error.path_only:
                self._answered()
                raise
        except (InvalidPathError, InvalidDataError, UnsupportedOperationError):
            raise  # most are refused before anything is sent, which does not say that an outage is over
        except StrongroomError:
            self._answered()
            raise
        else:
            self._answered()
            return answer
        outage = outage.copy(path=outage.path or path, store=outage.store or self._name)
        self._went_out(outage, given)
        raise outage

    def ask_each(self, paths: Sequence[str]) -> Iterator[tuple[str, Secret | StrongroomError]]:
        """The store's own answer to a read of each path, as one batch. Each answer has the whole `timeout`.

        When nothing but outages come, or the call's own time is over, the rest is not asked for.
        """
        if not paths:
            return
        waiting, outages, given = dict.fromkeys(paths), 0, min(self._timeout, remaining())
        enough = min(len(paths), _OUTAGES_IN_A_ROW)
        late = StoreUnavailableError(reason="the batch took all the time")
        failure: StrongroomError = late
        try:
            if not self.breaker.admit():
                raise self.known_outage(None)
            answers = self.open().read_many(paths)
            while waiting and outages < enough and remaining() > 0:
                given = max(given if outages else 0.0, min(self._timeout, remaining()))
                with time_limit(self._timeout):
                    path, answer = next(answers)
                del waiting[path]
                if isinstance(answer, StoreUnavailableError) and not answer.path_only:
                    failure, outages = answer, outages + 1
                else:
                    failure, outages = late, 0
                yield path, answer
        except StrongroomError as error:
            failure, outages = error, enough if isinstance(error, StoreUnavailableError) else 0
        if isinstance(failure, StoreUnavailableError) and (outages == enough or (outages and remaining() <= 0)):
            self._went_out(failure, given)
        else:
            self._answered()
        for path in waiting:
            yield path, failure.copy(path=path) if isinstance(failure, StoreError) else failure

    def known(self, path: str | None = None) -> GuardedStore:
        """The store, opened if it is not. One that is open is not asked anything, which says nothing of an outage."""
        return self.front or self.ask(path, lambda opened: opened)

    def known_outage(self, path: str | None) -> StoreUnavailableError:
        """Return the known outage as an error of this path."""
        outage = self._outage or StoreUnavailableError(store=self._name)
        return outage.copy(path=path or outage.path)

    def open(self) -> GuardedStore:
        """The store, opened by the first caller while the others wait for as long as they have."""
        front = self.front
        if front is None and not self._closed:
            if not self._opening.acquire(timeout=remaining()):
                raise StoreUnavailableError(None, "it is still being opened", store=self._name)
            try:
                front = self.front
                if front is None and not self._closed:
                    front = self.front = open_guarded(self._opener, self._name)
            finally:
                self._opening.release()
        if self._closed or front is None:
            # Whoever closed it while it was being opened found nothing to close.
            self.front = None
            if front is not None:
                front.close()
            raise StoreError(None, "the manager is closed", store=self._name, hint="Make a new one")
        return front

    def _went_out(self, outage: StoreUnavailableError, given: float) -> None:
        """Notes an outage of a store that had `given` seconds for its answer."""
        if remaining() <= 0 and given < min(self._timeout, _TELLING):
            return
        self._outage = outage.copy()
        if self.breaker.failed():
            logger.warning("Store %s is unavailable: %s", self._name, outage.reason or outage)

    def _answered(self) -> None:
        if self.breaker.succeeded():
            logger.info("Store %s is available again", self._name)
