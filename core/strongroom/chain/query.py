"""Query one link of the chain: run the read, judge its answer, note it, and tell whether the chain continues."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Container, Iterator, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Final, NamedTuple, Self, TypeAlias

from strongroom import events
from strongroom.chain.link import Link
from strongroom.chain.reading import Reading
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
from strongroom.events import Event, EventKind, hit_counter
from strongroom.secret import AgedAbsence, Secret, SensitiveDict, Value, protect

if TYPE_CHECKING:
    from strongroom.store.boundary.guard import GuardedStore


class Missing(Enum):
    """Type of `MISSING`."""

    MISSING = "missing"


MISSING: Final = Missing.MISSING
"""Marks a value that a secret does not have. Null is a value."""

Extract: TypeAlias = Callable[[SensitiveDict], "Value | Missing"]
"""Secret's data -> the requested value, or `MISSING`."""

Result: TypeAlias = "tuple[Attempt, Reading | StrongroomError]"
"""One link's attempt, with the reading that has the requested value, or with the error."""

logger = logging.getLogger("strongroom.secrets_manager")

_MOST_WARNINGS = 1000
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


class Request(NamedTuple):
    """The arguments of a read that all links share: see `Chain.resolve`. `wanted` names the value in messages."""

    extract: Extract
    wanted: str = ""
    fresh: bool = False
    allow_dynamic: bool = True

    @classmethod
    def of(
        cls,
        key: str | None,
        extract: Extract | None = None,
        wanted: str = "",
        *,
        fresh: bool = False,
        allow_dynamic: bool = True,
    ) -> Self:
        """Return the request for what `extract` returns; by default for the key, or for the whole secret."""
        if extract is None:
            extract = (lambda data: data) if key is None else (lambda data: data.get(key, MISSING))
        return cls(extract, wanted or ("" if key is None else f"key {key!r}"), fresh, allow_dynamic)


def query(link: Link, path: str, key: str | None, request: Request) -> Result:
    """Read from one link and judge the answer."""
    started = time.monotonic()
    if not request.allow_dynamic and creates(link, path):
        return _not_queried(link, path)
    try:
        reading = link.read(path, key, fresh=request.fresh)
        if _missing_key_expired(link, reading, request):
            reading = link.read(path, key, fresh=True)
    except StrongroomError as error:
        return _failed(error, link, started)
    return _judged(link, path, reading, request, started)


def query_cached(link: Link, path: str, key: str | None, request: Request) -> Result | None:
    """Return the result of `query` if the link has the value in memory, and current; else None."""
    started = time.monotonic()
    reading = link.cached(path, key)
    if reading is None or request.extract(reading.data) is MISSING:
        return None
    return _judged(link, path, reading, request, started)


def _missing_key_expired(link: Link, reading: Reading, request: Request) -> bool:
    """Return True if the cached secret lacks the value and is older than `missing_ttl`: query the store again."""
    expired = reading.cached and not reading.stale and reading.age >= link.missing_ttl
    return expired and request.extract(reading.data) is MISSING


def query_many(link: Link, paths: Sequence[str], request: Request) -> Iterator[tuple[str, Result]]:
    """Yield the result of `query` for each path, read as one batch."""
    started = time.monotonic()
    if not request.allow_dynamic:
        dynamic = dict.fromkeys(path for path in paths if creates(link, path))
        yield from ((path, _not_queried(link, path)) for path in dynamic)
        paths = [path for path in paths if path not in dynamic]
    for path, answer in link.read_many(paths, fresh=request.fresh).items():
        if isinstance(answer, StrongroomError):
            yield path, _failed(answer, link, started)
        else:
            yield path, _judged(link, path, answer, request, started)


def query_version(
    link: Link, path: str, operation: Callable[[GuardedStore], Secret | None]
) -> tuple[Attempt, Secret | StrongroomError | None]:
    """Read one version of a secret from one link, past its cache."""
    started = time.monotonic()
    try:
        secret = link.writer.at_store(path, operation)
    except StrongroomError as error:
        return _failed(error, link, started)
    if secret is None:
        return Attempt(link.name, Answer.NOT_FOUND, "it has no such version", time.monotonic() - started), secret
    return Attempt(link.name, Answer.FOUND, f"found, version {secret.version}", time.monotonic() - started), secret


def value_of(request: Request, reading: Reading) -> Value:
    """Return the requested value of a reading that has it."""
    value = request.extract(reading.data)
    if isinstance(value, SensitiveDict):
        return value  # the reading's data is this call's own
    return None if isinstance(value, Missing) else protect(value)


def creates(link: Link, path: str) -> bool:
    """Return True if a read of this link would create a credential; False if it cannot be opened: a read says why."""
    try:
        return link.creates(path)
    except StrongroomError:
        return False


def ends_chain(answer: Answer, link: Link) -> bool:
    """Return True if no later link is queried after this answer, by the link's policy."""
    match answer:
        case Answer.NOT_FOUND:
            return False
        case Answer.KEY_MISSING:
            return link.policy.on_missing_key != "next"
        case Answer.UNAVAILABLE:
            return link.policy.on_unavailable != "next"
        case Answer.DENIED:
            return link.policy.on_denied != "next"
        case _:
            return True


class ReadLog:
    """Notes each result of a query: in the debug log, in the count of cached reads, and as an event.

    Args:
        replaced: path and key of each value with a default or a composition. A store need not have it.
    """

    def __init__(self, replaced: Container[tuple[str, str | None]] = ()) -> None:
        self._replaced = replaced
        self._warned: set[tuple[str, str, str]] = set()

    def note(self, path: str, key: str | None, link: Link, result: tuple[Attempt, object], *, step: str = "") -> None:
        """Note the result of the link; `step` is that of its event."""
        attempt, found = result
        self._log(path, key, link, attempt)
        cached = isinstance(found, Reading) and found.cached and not found.stale
        if cached:
            hit_counter(link.name).count += 1
        if events.auditors if cached else events.is_listening():
            event = _event_of(path, key, link, result, step)
            if event is not None:
                (events.emit_to_auditors if cached else events.emit)(event)

    def log_default(self, path: str, key: str) -> None:
        """Log that the default of `[secrets]` was returned."""
        logger.debug("%s: no store has the key %s: the default of [secrets]", path, key)

    def _log(self, path: str, key: str | None, link: Link, attempt: Attempt) -> None:
        answer = attempt.reason if attempt.answer is Answer.FOUND else f"{attempt.answer}: {attempt.reason}"
        logger.debug("%s: store %s: %s (%.1f ms)", path, link.name, answer, attempt.seconds * 1000)
        if (path, key) in self._replaced:
            return
        if attempt.answer is Answer.KEY_MISSING and not ends_chain(attempt.answer, link):
            warning = (link.name, path, attempt.reason)
            if warning not in self._warned and len(self._warned) < _MOST_WARNINGS:
                self._warned.add(warning)
                logger.warning("Store %s has %s, but %s", link.name, path, attempt.reason)


def _event_of(path: str, key: str | None, link: Link, result: tuple[Attempt, object], step: str) -> Event | None:
    """Return the event of a link's result; None if its store was not queried."""
    attempt, found = result
    kind, error = KINDS.get(attempt.answer), ""
    if isinstance(found, SecretNotFoundError):
        error = SecretNotFoundError.__name__  # also of the absence that a cache has
    elif isinstance(found, StrongroomError):
        error = type(found).__name__
    elif isinstance(found, Reading) and (found.cached or found.stale):
        kind = EventKind.STALE if found.stale else EventKind.HIT
    if kind is None:
        return None
    seconds, age = attempt.seconds, attempt.age
    return Event(kind, link.name, path, link.position, seconds, age, step, error=error, key=key or "")


def answer_of(error: StrongroomError) -> Answer:
    """Return the answer that an error of a read is."""
    if isinstance(error, SecretNotFoundError):
        return Answer.NOT_FOUND
    if isinstance(error, StoreUnavailableError):
        return Answer.UNAVAILABLE
    if isinstance(error, PermissionDeniedError | AuthenticationError):
        return Answer.DENIED
    return Answer.FAILED


def _not_queried(link: Link, path: str) -> Result:
    reason = "a read would make a new secret"
    error = UnsupportedOperationError(path, reason, store=link.name, hint=_USE_RUN)
    return Attempt(link.name, Answer.NOT_ASKED, reason), error


def _judged(link: Link, path: str, reading: Reading, request: Request, started: float) -> Result:
    if reading.outage is not None and request.extract(reading.data) is MISSING:
        return _failed(reading.outage, link, started)  # the store may have the key by now
    age = reading.age if reading.cached or reading.stale else None
    if request.extract(reading.data) is not MISSING:
        return Attempt(link.name, Answer.FOUND, _provenance(reading), time.monotonic() - started, age), reading
    reason = f"it has no {request.wanted}"
    return Attempt(link.name, Answer.KEY_MISSING, reason, time.monotonic() - started, age), SecretNotFoundError(path)


def _failed(error: StrongroomError, link: Link, started: float) -> tuple[Attempt, StrongroomError]:
    if isinstance(error, PermissionDeniedError) and error.hint == PermissionDeniedError.default_hint:
        error = error.copy(hint=error.hint + _OR_SET_PATHS)
    reason = (error.reason or error.summary.lower()) if isinstance(error, StoreError) else str(error)
    age = error.age if isinstance(error, AgedAbsence) else None
    return Attempt(link.name, answer_of(error), reason, time.monotonic() - started, age), error


def _provenance(reading: Reading) -> str:
    parts = ["found"]
    if reading.version is not None:
        parts.append(f"version {reading.version}")
    if reading.cached:
        cache = "disk cache" if reading.on_disk else "cached"
        parts.append(f"{'stale' if reading.stale else cache}, {reading.age:.0f} s old")
    return ", ".join(parts)
