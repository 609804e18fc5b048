"""What asking one link of the chain comes to: found, not there, unknown; and whether the chain goes on after it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, NamedTuple, Self, TypeAlias

from strongroom.chain.link import Link, Reading
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
from strongroom.secret import SensitiveDict, Value


class Missing(Enum):
    """The type of `MISSING`."""

    MISSING = "missing"


MISSING: Final = Missing.MISSING
"""A secret does not have what was wanted of it. Null is a value."""

Take: TypeAlias = Callable[[SensitiveDict], "Value | Missing"]
"""What is wanted of a secret: its value, or `MISSING`."""


class Wanted(NamedTuple):
    """What a read wants of each link, in words too, and how it asks for it: as `Chain.resolve` has it."""

    take: Take
    words: str = ""
    fresh: bool = False
    allow_dynamic: bool = True
    blocking: bool = True

    @classmethod
    def of(
        cls,
        key: str | None,
        take: Take | None = None,
        words: str = "",
        *,
        fresh: bool = False,
        allow_dynamic: bool = True,
        blocking: bool = True,
    ) -> Self:
        """What `take` takes; else the key, or the whole secret where that is None."""
        if take is None:
            take = (lambda data: data) if key is None else (lambda data: data.get(key, MISSING))
        return cls(take, words or ("" if key is None else f"key {key!r}"), fresh, allow_dynamic, blocking)


_FOR_WHOM = "It is made for who uses it: an application that reads it, or a command that `strongroom run` starts"


_LEAVE_OUT = ", or name the paths of this link with `paths` in its chain entry"
"""What helps a read besides, whose path another link may be for; a write goes to one store."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What asking one link came to: a reading with the value in it, or an error, and whether the chain ends here."""

    attempt: Attempt
    ends: bool
    error: StrongroomError | None = None
    reading: Reading | None = None
    value: Value = field(default=None, repr=False)


def ask(link: Link, path: str, key: str | None, wanted: Wanted) -> Outcome:
    """What a read of one link comes to. It raises what is none of `strongroom.errors`, and `link.WouldBlockError`."""
    started = time.monotonic()
    if not wanted.allow_dynamic and makes(link, path, blocking=wanted.blocking):
        return _not_asked(link, path)
    try:
        reading = link.read(path, key, fresh=wanted.fresh, blocking=wanted.blocking)
        if _may_have_it_by_now(link, reading, wanted):
            reading = link.read(path, key, fresh=True, blocking=wanted.blocking)
        answer: Reading | StrongroomError = reading
    except StrongroomError as error:
        answer = error
    return _outcome(link, path, answer, wanted, started)


def _may_have_it_by_now(link: Link, reading: Reading, wanted: Wanted) -> bool:
    """Whether what is wanted was missing so long ago that it counts no more. Of a single key the cache knows."""
    long_ago = reading.cached and not reading.stale and reading.age >= link.missing_ttl
    return long_ago and wanted.take(reading.data) is MISSING


def ask_many(link: Link, paths: Sequence[str], wanted: Wanted) -> Iterator[tuple[str, Outcome]]:
    """`ask` for many paths, as one batch."""
    started = time.monotonic()
    if not wanted.allow_dynamic:
        made = [path for path in paths if makes(link, path)]
        yield from ((path, _not_asked(link, path)) for path in made)
        paths = [path for path in paths if path not in set(made)]
    for path, answer in link.read_many(paths, fresh=wanted.fresh).items():
        yield path, _outcome(link, path, answer, wanted, started)


def makes(link: Link, path: str, *, blocking: bool = True) -> bool:
    """Whether a read of this link would make a secret; no, where it does not open: a read says why."""
    try:
        return link.makes(path, blocking=blocking)
    except StrongroomError:
        return False


def _not_asked(link: Link, path: str) -> Outcome:
    reason = "a read would make a new secret"
    error = UnsupportedOperationError(path, reason, store=link.name, hint=_FOR_WHOM)
    return Outcome(Attempt(link.name, Answer.NOT_ASKED, reason), ends=True, error=error)


def _outcome(link: Link, path: str, answer: Reading | StrongroomError, wanted: Wanted, started: float) -> Outcome:
    if isinstance(answer, StrongroomError):
        return _failed(answer, link, started)
    reading = answer
    value = wanted.take(reading.data)
    if value is MISSING and reading.outage is not None:
        return _failed(reading.outage, link, started)  # it may be there by now
    seconds = time.monotonic() - started
    if value is MISSING:
        fails = link.policy.on_missing_key == "fail"
        attempt = Attempt(link.name, Answer.KEY_MISSING, f"it has no {wanted.words}", seconds)
        return Outcome(attempt, ends=fails, error=SecretNotFoundError(path) if fails else None)
    return Outcome(
        Attempt(link.name, Answer.FOUND, _provenance(reading), seconds), ends=True, reading=reading, value=value
    )


def _failed(error: StrongroomError, link: Link, started: float) -> Outcome:
    answer, goes_on = _judged(error, link)
    if isinstance(error, PermissionDeniedError) and error.hint == PermissionDeniedError.default_hint:
        error = error.copy(hint=error.hint + _LEAVE_OUT)
    attempt = Attempt(link.name, answer, _reason(error), time.monotonic() - started)
    return Outcome(attempt, ends=not goes_on, error=error)


def _judged(error: StrongroomError, link: Link) -> tuple[Answer, bool]:
    """What a link's error means, and whether the next link is asked. All that is not named here ends the read."""
    if isinstance(error, SecretNotFoundError):
        return Answer.NOT_FOUND, True
    if isinstance(error, StoreUnavailableError):
        return Answer.UNAVAILABLE, link.policy.on_unavailable == "next"
    if isinstance(error, PermissionDeniedError | AuthenticationError):
        return Answer.DENIED, link.policy.on_denied == "next"
    return Answer.FAILED, False


def _reason(error: StrongroomError) -> str:
    if not isinstance(error, StoreError):
        return str(error)
    return error.reason or error.summary.lower()


def words(attempt: Attempt) -> str:
    """What a link answered, for the log."""
    return attempt.reason if attempt.answer is Answer.FOUND else f"{attempt.answer}: {attempt.reason}"


def _provenance(reading: Reading) -> str:
    parts = ["found"]
    if reading.version is not None:
        parts.append(f"version {reading.version}")
    if reading.cached:
        parts.append(f"{'stale' if reading.stale else 'cached'}, {reading.age:.0f} s old")
    return ", ".join(parts)
