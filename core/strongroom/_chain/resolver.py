"""Resolver: from the results of the links to the resolution of a read, or the error.

Each result is noted on the way: in the debug log, in the counts of cached reads, and as an event.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC
from typing import TYPE_CHECKING, TypeAlias

from strongroom import events
from strongroom._chain.answer import (
    DEFAULT_STORE,
    KINDS,
    MISSING,
    Missing,
    Read,
    Reading,
    ReadRequest,
    Resolution,
    Result,
    value_of,
)
from strongroom.encoding import as_text, from_json
from strongroom.errors import (
    Answer,
    Attempt,
    InvalidDataError,
    PermissionDeniedError,
    SecretNotFoundError,
    StoreError,
    StrongroomError,
    shown,
)
from strongroom.events import Event, EventKind, hit_counter
from strongroom.paths import hint_at_key
from strongroom.secret import SensitiveDict, SensitiveStr, Value, observed, protect

if TYPE_CHECKING:
    from strongroom._chain.link import Link
    from strongroom._config import Composition

logger = logging.getLogger("strongroom.secrets_manager")

_DOUBTS = frozenset({Answer.UNAVAILABLE, Answer.DENIED})
"""Answers that leave open whether the secret exists."""

_ABSENCES = frozenset({Answer.NOT_FOUND, Answer.KEY_MISSING})

LinkResult: TypeAlias = "tuple[Link, Result]"

_MOST_WARNINGS = 1000

COMPOSED_STORE = "composed"
"""The store that a `Resolution` names if the value was composed of other secrets."""

_INDEX = re.compile(r"0|[1-9][0-9]{0,8}")


class Resolver:
    """Notes what links have answered, and returns the resolution that follows from it, or raises the error.

    Args:
        defaults: (path, key) -> the value that answers if every link confirms its absence.
        composed: (path, key) -> the other secrets that the value is composed of if every link confirms its absence.
        sources: the files that define the chain, in words: the last sentence of an absence's hint.
        locate: returns the path and key of an environment variable, for a read of its name; None for other names.
    """

    def __init__(
        self,
        defaults: Mapping[tuple[str, str], Value],
        composed: Mapping[tuple[str, str], Composition],
        sources: str,
        locate: Callable[[str], tuple[str, str] | None],
    ) -> None:
        self._defaults = {place: protect(value) for place, value in defaults.items()}
        self._composed = composed
        self._sources = sources
        self._locate = locate
        self._warned: set[tuple[str, str, str]] = set()

    def note(
        self, path: str, key: str | None, results: Sequence[tuple[Link, tuple[Attempt, object]]], *, step: str = ""
    ) -> None:
        """Note each link's result, before a value is returned: see the module. `step` is that of the events."""
        for link, result in results:
            attempt, found = result
            self._log(path, key, link, attempt)
            cached = isinstance(found, Reading) and found.cached and not found.stale
            if cached:
                hit_counter(link.name).count += 1
            if events.auditors if cached else events.is_listening():
                event = _event_of(path, key, link, result, step)
                if event is not None:
                    (events.emit_to_auditors if cached else events.emit)(event)

    def conclude(
        self, path: str, key: str | None, request: ReadRequest, results: Sequence[LinkResult], read: Read
    ) -> Resolution:
        """Return the resolution, or raise the error. An absence is that of the value's composition, if it has one.

        Args:
            path: the path.
            key: the requested key, if any.
            request: the request of all links.
            results: the links that were queried, in their order, with their results.
            read: reads a part of a composition.
        """
        composition = None if key is None else self._composed.get((path, key))
        try:
            return self._conclude(path, key, request, results)
        except SecretNotFoundError:
            if key is None or composition is None:
                raise
        return compose(path, key, composition, read)  # outside the `except`: an error of a part has no context

    def _conclude(self, path: str, key: str | None, request: ReadRequest, results: Sequence[LinkResult]) -> Resolution:
        """Return the resolution that follows from the links' results, or raise the error."""
        attempts: list[Attempt] = []
        failure: StrongroomError | None = None
        for link, (attempt, found) in results:
            attempts.append(attempt)
            if not isinstance(found, StrongroomError):
                return _resolution(path, key, value_of(request, found), found, attempts)
            if link.ends_chain(attempt.answer):
                # A missing key ends the read as an absence only if no link before was in doubt.
                if failure is None or attempt.answer is not Answer.KEY_MISSING:
                    failure = found
                break
            if attempt.answer in _DOUBTS:
                failure = failure or found
        failure = failure or _not_found(path, attempts)
        if key is not None and (path, key) in self._defaults and isinstance(failure, SecretNotFoundError):
            default = protect(self._defaults[path, key])  # not the chain's own object
            attempts.append(Attempt(DEFAULT_STORE, Answer.FOUND, "the default of [secrets]"))
            logger.debug("%s: no store has the key %s: the default of [secrets]", path, key)
            return _resolution(path, key, default, Reading(SensitiveDict({key: default})), attempts)
        if isinstance(failure, SecretNotFoundError | PermissionDeniedError):
            failure = self._advised(path, failure)
        raise failure.copy(attempts=tuple(attempts)) if isinstance(failure, StoreError) else failure.copy()

    def _advised(self, path: str, failure: SecretNotFoundError | PermissionDeniedError) -> StoreError:
        """Return the failure of a read with its hint completed: the path of a variable, and the files of the chain."""
        place = self._locate(path)
        located = "" if place is None else f"{shown(path)} is {shown('#'.join(place))}"
        absent = isinstance(failure, SecretNotFoundError)
        joined, sources = (hint_at_key(path, "get_secret"), self._sources) if absent else ("", "")
        if not (located or joined or sources):
            return failure
        return failure.copy(hint=". ".join(filter(None, (located, joined, failure.hint, sources))))

    def _log(self, path: str, key: str | None, link: Link, attempt: Attempt) -> None:
        if logger.isEnabledFor(logging.DEBUG):
            answer = attempt.reason if attempt.answer is Answer.FOUND else f"{attempt.answer}: {attempt.reason}"
            logger.debug("%s: store %s: %s (%.1f ms)", path, link.name, answer, attempt.seconds * 1000)
        # Only the read of a database's URL asks for a part of a secret without naming a key.
        place = path, key or "url"
        if place in self._defaults or place in self._composed:
            return
        if attempt.answer is Answer.KEY_MISSING and not link.ends_chain(attempt.answer):
            warning = (link.name, path, attempt.reason)
            if warning not in self._warned and len(self._warned) < _MOST_WARNINGS:
                self._warned.add(warning)
                logger.warning("Store %s has %s, but %s", link.name, path, attempt.reason)


def doubted(results: Sequence[LinkResult]) -> int | None:
    """Return the index of a link that was unavailable, if all links after it have confirmed the absence; else None.

    The read waits for this link: nobody else can answer.
    """
    last = len(results) - 1
    for index in range(last, -1, -1):
        answer = results[index][1][0].answer
        if answer not in _ABSENCES:
            return index if answer is Answer.UNAVAILABLE and index < last else None
    return None


def _resolution(path: str, key: str | None, value: Value, reading: Reading, attempts: Sequence[Attempt]) -> Resolution:
    """Return the resolution of the last attempt."""
    if key is None and isinstance(value, SensitiveDict):
        value.of_store(path, attempts[-1].store)
    return Resolution(
        path=path,
        key=key,
        value=value,
        store=attempts[-1].store,
        version=reading.version,
        age=reading.age,
        cached=reading.cached,
        stale=reading.stale,
        attempts=tuple(attempts),
        ttl=reading.ttl,
        ends=None if reading.ends is None else reading.ends.astimezone(UTC),
    )


def _not_found(path: str, attempts: Sequence[Attempt]) -> SecretNotFoundError:
    if attempts:
        return SecretNotFoundError(path, "no store of the chain has it")
    return SecretNotFoundError(path, "no link of the chain covers this path", hint="Check `paths` in the chain")


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


# --- a part of a JSON document ----------------------------------------------------------------------------------------


def extracted(found: Resolution, pointer: str, row: str) -> Resolution:
    """Return the resolution with the part of its value at a JSON pointer (RFC 6901). Text is read as JSON.

    Args:
        found: the resolution of one key.
        pointer: such as `/database/password`.
        row: the name of the row, for messages.

    Raises:
        SecretNotFoundError: the document has nothing there.
        InvalidDataError: the value is text that is not JSON.
    """
    part = _at(_document(found, row), pointer)
    if part is MISSING:
        reason = f"{row}: key {found.key!r} has nothing at {pointer!r}"
        raise SecretNotFoundError(found.path, reason, store=found.store)
    observed(found.path, {found.key or "": part})  # the part of a text is another value than the text, for redaction
    return found.with_value(part)


def _document(found: Resolution, row: str) -> Value:
    if not isinstance(found.value, str):
        return found.value
    from strongroom.formats.strict_json import read_json

    try:
        return from_json(read_json(found.value))
    except StrongroomError as error:
        fault = error.reason if isinstance(error, InvalidDataError) else "it is not JSON"
    raise InvalidDataError(found.path, f"{row}: key {found.key!r}: {fault}", store=found.store)


def _at(value: Value, pointer: str) -> Value | Missing:
    for escaped in pointer.split("/")[1:]:
        name = escaped.replace("~1", "/").replace("~0", "~")  # in this order: ~01 is the name ~1
        if isinstance(value, Mapping) and name in value:
            value = value[name]
        elif isinstance(value, list) and _INDEX.fullmatch(name) and int(name) < len(value):
            value = value[int(name)]
        else:
            return MISSING
    return value


# --- text that is composed of other secrets ---------------------------------------------------------------------------


def compose(path: str, key: str, composition: Composition, read: Read) -> Resolution:
    """Return the value that is composed of other secrets, as old and as stale as the oldest of them.

    Raises:
        SecretNotFoundError, StoreError: a part could not be read. The error names the part.
        InvalidDataError: a part has no text.
    """
    from urllib.parse import quote  # few reads compose a value

    parts: list[Resolution] = []
    text: list[str] = []
    for literal, row in composition.parts:
        text.append(literal)
        if row is not None:
            found = read(row.path, row.key)
            parts.append(found if row.extract is None else extracted(found, row.extract, row.variable))
            part = as_text(parts[-1].value, row.path, row.key)
            text.append(quote(part, safe="") if composition.is_url else part.reveal())
    names = ", ".join(dict.fromkeys(f"{part.path}#{part.key}" for part in parts))
    return Resolution(
        path=path,
        key=key,
        value=SensitiveStr("".join(text)),
        store=COMPOSED_STORE,
        version=None,
        age=max(part.age for part in parts),
        cached=all(part.cached for part in parts),
        stale=any(part.stale for part in parts),
        attempts=(Attempt(COMPOSED_STORE, Answer.FOUND, f"composed of {names}"),),
        ttl=min((part.ttl for part in parts if part.ttl is not None), default=None),
        ends=min((part.ends for part in parts if part.ends is not None), default=None),
    )
