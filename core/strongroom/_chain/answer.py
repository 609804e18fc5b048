"""Answers to a read: of one link, its reading or error judged by the requested value; of the chain, the resolution."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from copy import copy
from datetime import datetime
from enum import Enum
from typing import Final, Literal, NamedTuple, Self, TypeAlias, cast

from strongroom.errors import (
    Answer,
    Attempt,
    AuthenticationError,
    PermissionDeniedError,
    SecretNotFoundError,
    StoreError,
    StoreUnavailableError,
    StrongroomError,
    UnsupportedOperationError,
)
from strongroom.events import EventKind
from strongroom.secret import (
    AgedAbsence,
    AgedSecret,
    Secret,
    SensitiveDict,
    Value,
    Version,
    age_of,
    protect,
)

KINDS = {
    Answer.FOUND: EventKind.READ,
    Answer.NOT_FOUND: EventKind.MISS,
    Answer.KEY_MISSING: EventKind.MISS,
    Answer.DENIED: EventKind.DENIED,
    Answer.UNAVAILABLE: EventKind.UNAVAILABLE,
    Answer.FAILED: EventKind.FAILED,
}
"""The event of each answer. A store that was not queried has none."""

_USE_RUN = "It belongs to the application that reads it, or to a command that `strongroom run` starts"

_OR_SET_PATHS = ", or name the paths of this link with `paths` in its chain entry"
"""Added to the hint of a denied read: another link may be meant for the path."""


DEFAULT_STORE = "default"
"""The store that a `Resolution` names if a default of `[secrets]` answered."""


# --- of a link --------------------------------------------------------------------------------------------------------


class Missing(Enum):
    """Type of `MISSING`."""

    MISSING = "missing"


MISSING: Final = Missing.MISSING
"""Marks a value that a secret does not have. Null is a value."""

Extract: TypeAlias = Callable[[SensitiveDict], "Value | Missing"]
"""Secret's data -> the requested value, or `MISSING`."""


Issue: TypeAlias = bool | Literal["lasting"]
"""Whether a read may issue a credential: `lasting` allows those that outlast the process, see `Traits.lasting`."""

Place: TypeAlias = "tuple[str, str | None]"
"""Path and key; None is the whole secret."""


class Reading(NamedTuple):
    """A secret's data as a link has it, and where the data comes from. `age` and `ttl` are in seconds.

    `data` may be that of a `Secret` that others hold too, so nobody changes it: see `value_of`.

    `outage` is set if the data is stale: the error for which the store could not be queried. A key that a stale reading
    lacks is unknown, not missing. `on_disk` is True if the data comes from the disk cache. `ends` is that of `Secret`.
    """

    data: SensitiveDict
    version: Version | None = None
    created: datetime | None = None
    age: float = 0.0
    cached: bool = False
    outage: StoreUnavailableError | None = None
    ttl: float | None = None
    on_disk: bool = False
    ends: datetime | None = None

    @property
    def stale(self) -> bool:
        """It is past its time to live, and served because the store is unavailable."""
        return self.outage is not None

    @classmethod
    def of(cls, secret: Secret) -> Self:
        """Return the reading of a secret that has just been read, or that comes from the disk cache."""
        data, cached = cast("SensitiveDict", secret.data), isinstance(secret, AgedSecret)  # `Secret` made it redacting
        age, ttl, ends = age_of(secret), secret.ttl, secret.ends
        return cls(data, secret.version, secret.created, age, cached, ttl=ttl, on_disk=cached, ends=ends)


Result: TypeAlias = "tuple[Attempt, Reading | StrongroomError]"
"""One link's attempt, with the reading that has the requested value, or with the error."""


class ReadRequest(NamedTuple):
    """The arguments of a read that all links share: see `Chain.resolve`.

    `wanted` names the value in messages. A request that `insists` waits for the store: all later links have confirmed
    the absence.
    """

    extract: Extract
    wanted: str = ""
    fresh: bool = False
    allow_dynamic: Issue = True
    insists: bool = False

    @classmethod
    def of(
        cls,
        key: str | None,
        extract: Extract | None = None,
        wanted: str = "",
        *,
        fresh: bool = False,
        allow_dynamic: Issue = True,
    ) -> Self:
        """Return the request for what `extract` returns; by default for the key, or for the whole secret."""
        if extract is None:
            extract = (lambda data: data) if key is None else (lambda data: data.get(key, MISSING))
        return cls(extract, wanted or ("" if key is None else f"key {key!r}"), fresh, allow_dynamic)


def value_of(request: ReadRequest, reading: Reading) -> Value:
    """Return the requested value of a reading that has it.

    A mapping or a list is a copy, since a plugin may return one `Secret` twice, and readers that wait for each other
    share it. Data that the cache in memory has unsealed belongs to this call.
    """
    value = request.extract(reading.data)
    if isinstance(value, SensitiveDict) and reading.cached and not reading.on_disk:
        return value
    return None if isinstance(value, Missing) else protect(value)


def answer_of(error: StrongroomError) -> Answer:
    """Return the answer that an error of a read is."""
    if isinstance(error, SecretNotFoundError):
        return Answer.NOT_FOUND
    if isinstance(error, StoreUnavailableError):
        return Answer.UNAVAILABLE
    if isinstance(error, PermissionDeniedError | AuthenticationError):
        return Answer.DENIED
    return Answer.FAILED


def not_queried(path: str, store: str) -> Result:
    """Return the result of a read that would issue a new credential, and is not allowed to."""
    reason = "a read would issue a new credential"
    error = UnsupportedOperationError(path, reason, store=store, hint=_USE_RUN)
    return Attempt(store, Answer.NOT_ASKED, reason), error


def judged(
    path: str, store: str, reading: Reading, request: ReadRequest, started: float, *, offline: bool = False
) -> Result:
    """Return the result of a read that began then, and brought this reading.

    A key that a stale reading lacks is unknown in an outage, and missing if the store is offline on purpose.
    """
    if reading.outage is not None and not offline and request.extract(reading.data) is MISSING:
        return failed(reading.outage, store, started)  # the store may have the key by now
    age = reading.age if reading.cached or reading.stale else None
    if request.extract(reading.data) is not MISSING:
        return Attempt(store, Answer.FOUND, _provenance(reading), time.monotonic() - started, age), reading
    reason = f"it has no {request.wanted}"
    return Attempt(store, Answer.KEY_MISSING, reason, time.monotonic() - started, age), SecretNotFoundError(path)


def failed(error: StrongroomError, store: str, started: float) -> tuple[Attempt, StrongroomError]:
    """Return the result of a read that began then, and ended with this error."""
    if isinstance(error, PermissionDeniedError) and error.hint == PermissionDeniedError.default_hint:
        error = error.copy(hint=error.hint + _OR_SET_PATHS)
    reason = (error.reason or error.summary.lower()) if isinstance(error, StoreError) else str(error)
    age = error.age if isinstance(error, AgedAbsence) else None
    return Attempt(store, answer_of(error), reason, time.monotonic() - started, age), error


def _provenance(reading: Reading) -> str:
    parts = ["found"]
    if reading.version is not None:
        parts.append(f"version {reading.version}")
    if reading.cached:
        cache = "disk cache" if reading.on_disk else "cached"
        parts.append(f"{'stale' if reading.stale else cache}, {reading.age:.0f} s old")
    return ", ".join(parts)


# --- of the chain -----------------------------------------------------------------------------------------------------


class Resolution:
    """A value and its provenance.

    Attributes:
        path: the requested path.
        key: the requested key, or None for the whole secret.
        value: the stored value, in redacted types. Not in the `repr`.
        store: the name of the store that has it.
        version: the store's name for its version, or None.
        age: seconds since the store answered.
        cached: True if it comes from the link's cache.
        stale: True if it comes from the cache past its time to live, because the store is unavailable.
        ttl: for how many seconds from now on it is valid, or None if it does not expire.
        ends: when the credential stops working, in UTC, or None if it does not, or the store does not tell.
        attempts: the answers of the links before, and of this one.
    """

    # Not a dataclass, whose methods each process would compile, and not a tuple, whose values a log in JSON would have.
    __slots__ = ("age", "attempts", "cached", "ends", "key", "path", "stale", "store", "ttl", "value", "version")

    def __init__(
        self,
        path: str,
        key: str | None,
        value: Value,
        store: str,
        *,
        version: Version | None,
        age: float,
        cached: bool,
        stale: bool,
        attempts: tuple[Attempt, ...],
        ttl: float | None = None,
        ends: datetime | None = None,
    ) -> None:
        self.path = path
        self.key = key
        self.value = value
        self.store = store
        self.version = version
        self.age = age
        self.cached = cached
        self.stale = stale
        self.attempts = attempts
        self.ttl = ttl
        self.ends = ends

    def copy(self) -> Self:
        """Return a resolution that shares nothing mutable with this one."""
        return self.with_value(self.value)

    def with_value(self, value: Value) -> Self:
        """Return a copy that has a copy of this value instead."""
        found = copy(self)
        found.value = protect(value)
        if self.key is None and isinstance(found.value, SensitiveDict):
            found.value.of_store(self.path, self.store)
        return found

    def __repr__(self) -> str:
        shown = (f"{name}={getattr(self, name)!r}" for name in self.__slots__ if name != "value")
        return f"Resolution({', '.join(shown)})"


class WriteTarget(NamedTuple):
    """The store that a write would go to.

    Attributes:
        store: the store's name.
        capabilities: the names of its capabilities beyond reading, such as `versioned` or `recoverable`.
        link: its position in the chain, from 1; None for a store outside of a chain.
    """

    store: str
    capabilities: frozenset[str]
    link: int | None = None


class SecretBatch(dict[str, SensitiveDict]):
    """The secrets by path, with the error of every other path in `errors`.

    Attributes:
        errors: by path. `SecretNotFoundError` is a confirmed absence; an outage or a denial has its own class.
    """

    def __init__(self, outcomes: Mapping[str, Resolution | StrongroomError]) -> None:
        super().__init__(
            (path, outcome.value)
            for path, outcome in outcomes.items()
            if isinstance(outcome, Resolution) and isinstance(outcome.value, SensitiveDict)
        )
        self.errors = {path: outcome for path, outcome in outcomes.items() if isinstance(outcome, StrongroomError)}

    def __repr__(self) -> str:
        return f"SecretBatch({len(self)} secrets, {len(self.errors)} errors)"

    def raise_first_error(self) -> None:
        """Raise the error of the first path that has one."""
        for error in self.errors.values():
            raise error


Read: TypeAlias = Callable[[str, str], Resolution]
"""Path and key -> the resolution."""
