"""Diagnosis of a chain: the explanation of a read, and the health of the stores."""

from __future__ import annotations

import hmac
import json
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from strongroom._chain.answer import ReadRequest, Result, value_of
from strongroom._chain.connection import SHARE
from strongroom._chain.resolver import LinkResult, doubted
from strongroom.encoding import to_json, to_json_text
from strongroom.errors import (
    Answer,
    Attempt,
    AuthenticationError,
    Check,
    CheckState,
    ConfigurationError,
    PermissionDeniedError,
    PluginError,
    StoreError,
    StoreUnavailableError,
    StrongroomError,
)
from strongroom.secret import Value, Version
from strongroom.store import Health, in_daemon, remaining, time_limit
from strongroom.store.deadline import fail_fast

if TYPE_CHECKING:
    from strongroom._chain.answer import Resolution
    from strongroom._chain.link import Link

_GRACE = 0.5
"""For how many seconds past the deadline an answer is still taken: a store that keeps to it answers at its very end."""

_FAILS: dict[type[StrongroomError], str] = {
    AuthenticationError: "authenticated",
    PermissionDeniedError: "permitted",
    StoreUnavailableError: "reachable",
    ConfigurationError: "configured",
    PluginError: "installed",
}
"""The check that fails with an error of this class."""

_OTHERWISE = "answers"
_ORIGINS = "`strongroom config show` prints each option with its origin"


# --- explanations -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LinkAnswer:
    """The answer of one link.

    Attributes:
        attempt: the link, its answer in words, and the duration.
        version: the store's name for its version, or None.
        created: when that version was written, if the store tells.
        found: whether it has the requested value.
        value: the value. Not in the `repr`.
        disk_age: seconds since the store gave the answer that its disk cache has; None if it has none.
    """

    attempt: Attempt
    version: Version | None = None
    created: datetime | None = None
    found: bool = False
    value: Value = field(default=None, repr=False)
    disk_age: float | None = None


@dataclass(frozen=True)
class Explanation:
    """The result of a read, with its reasons.

    Attributes:
        answers: the answer of every link that covers the path, in the order of the chain.
        passed_over: the links whose `paths` do not cover the path.
        served: the served answer: one of `answers`, or the default of `[secrets]`; None after a failure.
        error: the failure, if no value is served.
    """

    answers: tuple[LinkAnswer, ...]
    passed_over: tuple[str, ...] = ()
    served: LinkAnswer | None = None
    error: StrongroomError | None = None

    def equals_served(self, answer: LinkAnswer) -> bool | None:
        """Return whether this link's value equals the served one as text; None if one of the two is missing.

        The comparison takes constant time.
        """
        if self.served is None or not answer.found:
            return None
        value, served = answer.value, self.served.value
        if isinstance(value, Mapping) and isinstance(served, Mapping):
            # A list, so that all values are compared even after a difference.
            return value.keys() == served.keys() and not [key for key in value if not _same(value[key], served[key])]
        return _same(value, served)


def query_each(
    links: Sequence[Link], path: str, key: str | None, request: ReadRequest, timeout: float
) -> tuple[list[LinkResult], list[float | None]]:
    """Query every link that covers the path, each within its own `timeout`.

    A link is refused during a known outage only if a read would be. No link waits for a store to become available.

    Args:
        links: the links of the chain.
        path: the path.
        key: the requested key, if any.
        request: the request of all links.
        timeout: for how many seconds of an outage a read of the chain insists.

    Returns:
        Each link with its result, and the ages of what their disk caches had before.
    """
    results: list[LinkResult] = []
    covering = [link for link in links if link.covers(path)]
    ages = [link.disk_age(path) for link in covering]
    refused: list[int] = []
    with fail_fast():
        for index, link in enumerate(covering):
            link.admit(path)
            if link.connection.is_refused(path):
                refused.append(index)
            results.append((link, _query(link, path, key, request)))
        for index in reversed(refused):
            link = covering[index]
            if doubted(_of_read(results)) == index and link.connection.breaker_for(path).lasted < timeout:
                link.connection.breaker_for(path).hasten()  # a read asks it once more
                results[index] = link, _query(link, path, key, request)
    return results, ages


def _of_read(results: Sequence[LinkResult]) -> Sequence[LinkResult]:
    """Return the results of the links that a read would query."""
    for number, (link, result) in enumerate(results, 1):
        if link.ends_chain(result[0].answer):
            return results[:number]
    return results


def _query(link: Link, path: str, key: str | None, request: ReadRequest) -> Result:
    with time_limit(link.policy.timeout / SHARE):
        return link.query(path, key, request)


def explained(
    links: Sequence[Link],
    request: ReadRequest,
    results: Sequence[LinkResult],
    ages: Sequence[float | None],
    conclusion: Resolution | StrongroomError,
) -> Explanation:
    """Return the explanation of a read that ended with this resolution or error."""
    answers = tuple(_answer(request, result, age) for (_, result), age in zip(results, ages, strict=True))
    queried = {link.name for link, _ in results}
    passed_over = tuple(link.name for link in links if link.name not in queried)
    if isinstance(conclusion, StrongroomError):
        attempts = conclusion.attempts if isinstance(conclusion, StoreError) else ()
        creates = bool(attempts) and attempts[-1].answer is Answer.NOT_ASKED
        return Explanation(answers, passed_over, error=None if creates else conclusion)
    last = conclusion.attempts[-1]
    served = next((answer for answer in answers if answer.attempt is last), None)
    return Explanation(answers, passed_over, served or LinkAnswer(last, found=True, value=conclusion.value))


def _answer(request: ReadRequest, result: Result, age: float | None) -> LinkAnswer:
    attempt, found = result
    if isinstance(found, StrongroomError):
        return LinkAnswer(attempt, disk_age=age)
    value = value_of(request, found)
    return LinkAnswer(attempt, found.version, found.created, found=True, value=value, disk_age=age)


def _same(one: Value, other: Value) -> bool:
    """Return True if an application reads the same: equal text, or two lists or mappings of equal items."""
    if (_is_list(one) and _is_list(other)) or (isinstance(one, Mapping) and isinstance(other, Mapping)):
        one, other = (json.dumps(to_json(value), sort_keys=True) for value in (one, other))
    return hmac.compare_digest(_bytes(one), _bytes(other))


def _is_list(value: Value) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _bytes(value: Value) -> bytes:
    if isinstance(value, bytes):
        return bytes(value)
    if value is None:
        return b"\0null"  # no text that a person would store
    return (value if isinstance(value, str) else to_json_text(value)).encode("utf-8", "surrogatepass")


# --- health -----------------------------------------------------------------------------------------------------------


def health_of(store: str, probe: Callable[[], Health]) -> Health:
    """Return a store's health, with the duration of the probe.

    If the store is unhealthy, the result has an error, and a failed check with the reason.

    Args:
        store: its name, for messages.
        probe: opens the store if need be, and probes it. A `StrongroomError` that it raises is the result.
    """
    started = time.monotonic()
    try:
        health = probe()
    except StrongroomError as error:
        # A copy has no frames: the error is kept, and frames may hold values.
        health = Health(ok=False, error=error.copy(), checks=error.checks)
    seconds = time.monotonic() - started
    return _whole(health._replace(seconds=seconds), store)


def probe_all(probes: Mapping[str, Callable[[], Health]], limit: float) -> dict[str, Health]:
    """Return each store's health by its name. All are probed at the same time.

    A store that does not answer within `limit` seconds is unavailable.
    """
    started = time.monotonic()
    with time_limit(limit):
        answers = {name: in_daemon(probe, f"health of {name}") for name, probe in probes.items()}
        return {name: _awaited(name, answer, started) for name, answer in answers.items()}


def _awaited(name: str, answer: Future[Health], started: float) -> Health:
    try:
        return answer.result(remaining() + _GRACE)
    except TimeoutError:
        outage = StoreUnavailableError(None, "it did not answer in time", store=name)
        return _whole(Health(ok=False, error=outage, seconds=time.monotonic() - started), name)


def _whole(health: Health, store: str) -> Health:
    """Return the health with `ok`, `error` and `checks` made consistent."""
    failures = [check for check in health.checks if check.state is CheckState.FAILED]
    if health.ok and not failures and health.error is None:
        return health
    first = failures[0] if failures else Check("", CheckState.FAILED)
    error = health.error or StoreUnavailableError(
        None, health.detail or first.detail, store=store, hint=first.hint or None
    )
    checks = health.checks if failures else (*health.checks, _failed(error, health.checks))
    return health._replace(ok=False, error=error, checks=checks, detail=health.detail or str(error))


def _failed(error: StrongroomError, others: tuple[Check, ...]) -> Check:
    name = next((_FAILS[kind] for kind in type(error).__mro__ if kind in _FAILS), _OTHERWISE)
    if any(check.name == name for check in others):
        name = _OTHERWISE
    if isinstance(error, StoreError):
        return Check(name, CheckState.FAILED, error.reason or error.summary, error.hint)
    hint = _ORIGINS if isinstance(error, ConfigurationError) else ""  # what these are about is in their message
    return Check(name, CheckState.FAILED, str(error), hint)
