"""The log of reads: in the debug log, in the counts of cached reads, and as events."""

from __future__ import annotations

import logging
from collections.abc import Container
from typing import TYPE_CHECKING

from strongroom import events
from strongroom._chain.answer import KINDS, Reading
from strongroom.errors import Answer, Attempt, SecretNotFoundError, StrongroomError
from strongroom.events import Event, EventKind, hit_counter

if TYPE_CHECKING:
    from strongroom._chain.link import Link

logger = logging.getLogger("strongroom.secrets_manager")

_MOST_WARNINGS = 1000


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
        if attempt.answer is Answer.KEY_MISSING and not link.ends_chain(attempt.answer):
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
