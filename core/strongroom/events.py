"""Events of the stores, rotations and migrations of this process, for metrics, traces and alerts.

::

    end = listen(lambda event: print(event.kind, event.store, event.seconds))
    ...
    end()

A cached read is counted without an event: it takes little more than a call. Only an audit log, which registers with
`audit`, gets an event for each of them. No event has a value.
"""

import logging
from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import NamedTuple, TypeAlias, TypeVar

logger = logging.getLogger("strongroom.events")


class EventKind(StrEnum):
    """Kind of an event."""

    READ = "read"
    """A store was queried, and has the secret."""
    HIT = "hit"
    """A cache answered. Only an audit log gets this event: see `cache_hits`."""
    MISS = "miss"
    """A store has confirmed that it does not have the secret or the key, now or within `missing_ttl`."""
    STALE = "stale"
    """A cached secret was served past its time to live, since its store is unavailable."""
    DENIED = "denied"
    """A store denied a read."""
    UNAVAILABLE = "unavailable"
    """A store could not answer a read, and nothing stale was there."""
    FAILED = "failed"
    """A read failed in another way."""
    OUTAGE = "outage"
    """An outage of a store begins."""
    RECOVERY = "recovery"
    """An outage of a store is over."""
    WRITE = "write"
    """A store was asked to change a secret. An audit log gets this event before the change too, as `started`."""
    ROTATION = "rotation"
    """A rotation finished a step."""
    MIGRATION = "migration"
    """A migration finished a step of one secret."""
    USE = "use"
    """A worker's request carried a secret that the worker does not have, or was refused. An audit log gets this event
    before the request too, as `started`."""


class Use(NamedTuple):
    """A request that carried a secret.

    Attributes:
        rule: the name of the rule; empty for a request that was refused without one.
        host: the host to which it was sent, with its port unless that is 443.
        method: its method.
        path: its path, without query.
        status: the status of the answer, or of the refusal; 0 without an answer.
        reason: why it was refused, or why its answer was, in one sentence; otherwise empty.
    """

    rule: str
    host: str
    method: str
    path: str
    status: int = 0
    reason: str = ""


class Event(NamedTuple):
    """One event.

    Attributes:
        kind: what happened.
        store: the name of the store, empty for a use; of a migration's step, the store that the step writes or checks.
        path: the path of the secret, for a listener that asked for paths; otherwise empty.
        link: the position of the store in the chain, from 1; None for a step of a migration, which uses no
            chain.
        seconds: the duration of a read, a write or a step, as its caller saw it; for a recovery, that of the outage.
            None for the beginning of an outage, and for the beginnings that only an audit log gets.
        age: the seconds since the store had answered, if its cache answers now; otherwise None.
        step: the step of a rotation or a migration, such as `promote` or `apply`; the name of a change, such as `write`
            or `delete`; `version` for a read of one version.
        outcome: `done`, or `failed`, or the state of a secret of a migration; empty for a read. Of a use, the status of
            the answer as text, `failed` without an answer, or `refused`.
        error: the name of the class of the error, if there was one.
        key: the requested key, for a listener that asked for paths; empty for a whole secret.
        use: the request of a use; otherwise None.
    """

    kind: EventKind
    store: str
    path: str = ""
    link: int | None = None
    seconds: float | None = None
    age: float | None = None
    step: str = ""
    outcome: str = ""
    error: str = ""
    key: str = ""
    use: Use | None = None


Listener: TypeAlias = Callable[[Event], object]
_L = TypeVar("_L")


class HitCounter:
    """Number of reads that the caches of all links of one name answered."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0


class Listeners(dict[object, _L]):
    """Functions that are called in the order in which they were added. Each operation is atomic, so that none locks."""

    def add(self, listener: _L) -> Callable[[], None]:
        """Call a function from now on. Return the function that ends this."""
        token = object()
        self[token] = listener

        def end() -> None:
            self.pop(token, None)

        return end

    def each(self) -> Iterable[_L]:
        """Return each function once, however often it was added."""
        return {id(listener): listener for listener in list(self.values())}.values()


_listeners: Listeners[tuple[Listener, bool]] = Listeners()
_hits: dict[str, HitCounter] = {}

auditors: Listeners[Listener] = Listeners()
"""The audit logs."""


def audit(auditor: Listener) -> Callable[[], None]:
    """Call `auditor` before each listener, with cached reads and beginnings of changes too. Return what ends this.

    Its exceptions are raised to the caller of the read or the change, which gets no value.
    """
    return auditors.add(auditor)


def emit_to_auditors(event: Event) -> None:
    """Call the audit logs alone: with a cached read, or before a change."""
    for auditor in auditors.each():
        auditor(event)


def listen(listener: Listener, *, paths: bool = False) -> Callable[[], None]:
    """Call `listener` with each event, in the thread in which it happens. Return the function that ends this.

    Args:
        listener: must be quick. Its exceptions are logged without their messages, which may hold a value.
        paths: events have the path of the secret.
    """
    return _listeners.add((listener, paths))


def is_listening() -> bool:
    """Return True if an event would reach a listener: otherwise none is made."""
    return bool(_listeners or auditors)


def emit(event: Event) -> None:
    """Call each audit log, then each listener, with the event."""
    emit_to_auditors(event)
    if not _listeners:
        return
    without_path = event._replace(path="", key="")
    for listener, paths in _listeners.each():
        try:
            listener(event if paths else without_path)
        except Exception as error:  # noqa: BLE001  # a read does not fail because of a metric
            logger.error("A listener raised %s for an event %s", type(error).__name__, event.kind)  # noqa: TRY400


def cache_hits() -> dict[str, int]:
    """Return the number of reads that caches answered since the start of the process, by the name of the store."""
    return {store: counter.count for store, counter in list(_hits.items())}


def hit_counter(store: str) -> HitCounter:
    """Return the counter of the caches of a store."""
    return _hits.get(store) or _hits.setdefault(store, HitCounter())
