"""Base of a store that issues short-lived credentials, such as tokens: it keeps one for each path and process."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import RLock
from typing import Any, Generic, NamedTuple, TypeVar

from strongroom.errors import ConfigurationError, SecretNotFoundError, StoreUnavailableError
from strongroom.paths import check_option
from strongroom.secret import Secret, SensitiveDict, Value
from strongroom.store.deadline import boot_time, fail_fast, remaining, time_limit, utc_after

__all__ = ["Issued", "IssuingStore", "read_rows", "read_texts"]

logger = logging.getLogger("strongroom.store")

_SERVED = 2 / 3
_RETRY = 1 / 4
"""Parts of a life: the part in which a credential serves reads, and the part of the rest between two attempts."""

_R = TypeVar("_R")


class Issued(NamedTuple):
    """A new credential.

    Attributes:
        data: the keys and values of the secret.
        life: the seconds for which it works, from the call of `issue` on.
    """

    data: Mapping[str, Value]
    life: float


class _Kept(NamedTuple):
    """A credential in use, with times of the store's clock."""

    data: SensitiveDict
    serves_until: float
    ends: float


@dataclass(eq=False)
class _Slot:
    """The credential of one path. One thread at a time issues a new one, for all."""

    lock: RLock = field(default_factory=RLock)
    kept: _Kept | None = field(default=None, repr=False)


class IssuingStore(ABC, Generic[_R]):
    """A `DynamicStore` whose credentials end by themselves and are replaced when two thirds of their life are over.

    While one thread asks for a new credential, and while none can be issued, the old one serves reads until its end.

    Args:
        rows: path -> what `issue` takes.
        clock: seconds that never go back, and go on while the machine sleeps.
    """

    def __init__(self, rows: Mapping[str, _R], *, clock: Callable[[], float] = boot_time) -> None:
        self._rows = dict(rows)
        self._clock = clock
        self._slots = {path: _Slot() for path in self._rows}

    @abstractmethod
    def issue(self, path: str, row: _R) -> Issued:
        """Return a new credential within `remaining()`, or raise one of the errors of `SecretStore.read`."""

    def makes(self, path: str) -> bool:
        """Return True if the path has a row."""
        return path in self._rows

    def read(self, path: str) -> Secret:
        """Return the credential in use, or a new one.

        `Secret.ttl` ends when a read would ask for a new one, and `Secret.ends` is the end of the credential itself.

        Raises:
            SecretNotFoundError: the path has no row.
            StoreError: the service issued none, and the last one has ended.
        """
        slot = self._slots.get(path)
        if slot is None:
            raise SecretNotFoundError(path, "it is not among the `paths` of the store")
        kept, at = slot.kept, self._clock()
        if kept is None or at >= kept.serves_until:
            # While another thread issues a new credential, one that still works serves the other readers.
            if slot.lock.acquire(timeout=0 if kept is not None and at < kept.ends else remaining()):
                try:
                    kept = self._current(path, slot)
                finally:
                    slot.lock.release()
            elif kept is None or at >= kept.ends:
                raise StoreUnavailableError(path, "the request for a credential that is under way takes too long")
        at = self._clock()
        return Secret(path, kept.data, ttl=max(0.0, kept.serves_until - at), ends=utc_after(kept.ends - at))

    def _current(self, path: str, slot: _Slot) -> _Kept:
        """Return the credential that another thread has put into the slot meanwhile, or a new one."""
        kept, began = slot.kept, self._clock()
        if kept is not None and began < kept.serves_until:
            return kept
        works = kept is not None and began < kept.ends
        try:
            with time_limit(remaining() / 2 if works else remaining()), fail_fast(works):
                issued = self.issue(path, self._rows[path])
        except StoreUnavailableError as error:
            at = self._clock()
            if kept is None or at >= kept.ends:
                raise
            left, reason = kept.ends - at, error.reason or error.summary
            kept = kept._replace(serves_until=at + left * _RETRY)
            logger.warning("The credential at %s could not be replaced: %s. It ends in %.0f s", path, reason, left)
        else:
            kept = _Kept(SensitiveDict(issued.data), began + issued.life * _SERVED, began + issued.life)
        slot.kept = kept
        return kept

    def close(self) -> None:
        """Forget the credentials. They end by themselves."""
        self._slots = {path: _Slot() for path in self._rows}


def read_rows(
    paths: Mapping[str, Any], required: tuple[str, ...], optional: tuple[str, ...] = ()
) -> dict[str, dict[str, Any]]:
    """Return the tables of an option `paths`, which have these keys.

    Raises:
        ConfigurationError: the option is empty, a path is invalid, or a table has other keys than these.
    """
    if not paths:
        raise ConfigurationError("paths: it names no path")
    rows: dict[str, dict[str, Any]] = {}
    for path, row in paths.items():
        where = f"paths: {path!r}"
        if not isinstance(row, Mapping):
            raise ConfigurationError(f"{where} must be a table with {', '.join(required)}")
        if unknown := sorted(row.keys() - {*required, *optional}):
            raise ConfigurationError(
                f"{where}: there is no '{unknown[0]}'. Its keys are {', '.join(required + optional)}"
            )
        if missing := [key for key in required if not row.get(key)]:
            raise ConfigurationError(f"{where}: it lacks '{missing[0]}'")
        rows[check_option(where, path)] = dict(row)
    return rows


def read_texts(paths: Mapping[str, Any], means: str) -> dict[str, str]:
    """Return the texts of an option `paths`, each of which is `means`, such as `a scope`.

    Raises:
        ConfigurationError: the option is empty, a path is invalid, or a value is not text.
    """
    if not paths:
        raise ConfigurationError("paths: it names no path")
    if wrong := [path for path, text in paths.items() if not (isinstance(text, str) and text.strip())]:
        raise ConfigurationError(f"paths: {wrong[0]!r} must be {means}")
    return {check_option(f"paths: {path!r}", path): text for path, text in paths.items()}
