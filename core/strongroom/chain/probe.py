"""How stores are: asked, timed, and every failure a check of its own. Nothing is raised."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import replace

from strongroom.errors import (
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
from strongroom.store import Health, in_daemon, remaining

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
_ORIGINS = "`strongroom config show` prints each option with where it came from"


def diagnose(store: str, ask: Callable[[], Health]) -> Health:
    """How a store is, and how long it took to say so.

    What comes back is whole: it has an error where the store is not well, and a failed check that says why.

    Args:
        store: its name, for messages.
        ask: opens it if need be, and asks it. What it raises of `strongroom.errors` is the answer.
    """
    started = time.monotonic()
    try:
        health: object = ask()
    except StrongroomError as error:
        # Without the frames that it came through: it is kept, and they hold whatever they held.
        health = Health(ok=False, error=error.copy(), checks=error.checks)
    seconds = time.monotonic() - started
    if not isinstance(health, Health):
        health = _bug(f"its probe answered {type(health).__name__}, which is no Health", store)
    elif not all(map(_is_check, health.checks)):
        health = _bug("its probe answered a Health whose checks are none", store)
    return _whole(replace(health, seconds=seconds), store)


def probe_all(questions: Mapping[str, Callable[[], Health]]) -> dict[str, Health]:
    """The health of each store by its name, all asked at the same time: none waits for another's time limit.

    One that does not answer within `remaining()`, whatever it was told, is unavailable and no longer waited for.
    """
    started = time.monotonic()
    asked = {name: in_daemon(ask, f"health of {name}") for name, ask in questions.items()}
    return {name: _awaited(name, answer, started) for name, answer in asked.items()}


def _is_check(value: object) -> bool:
    state = value.state if isinstance(value, Check) else None
    return isinstance(state, CheckState)


def _bug(reason: str, store: str) -> Health:
    """For an answer that is not what it is declared to be: its author's type checker may not have been asked."""
    return Health(ok=False, error=StoreError(None, reason, store=store, hint="This is a bug in the store's plugin"))


def _awaited(name: str, answer: Future[Health], started: float) -> Health:
    try:
        return answer.result(remaining() + _GRACE)
    except TimeoutError:
        outage = StoreUnavailableError(None, "it did not answer in time", store=name)
    return _whole(Health(ok=False, error=outage, seconds=time.monotonic() - started), name)


def _whole(health: Health, store: str) -> Health:
    """The same, where what a store said of itself agrees with its own checks."""
    failures = [check for check in health.checks if check.state is CheckState.FAILED]
    if health.ok and not failures and health.error is None:
        return health
    first = failures[0] if failures else Check("", CheckState.FAILED)
    error = health.error or StoreUnavailableError(
        None, health.detail or first.detail, store=store, hint=first.hint or None
    )
    checks = health.checks if failures else (*health.checks, _failed(error, health.checks))
    return replace(health, ok=False, error=error, checks=checks, detail=health.detail or str(error))


def _failed(error: StrongroomError, others: tuple[Check, ...]) -> Check:
    name = next((_FAILS[kind] for kind in type(error).__mro__ if kind in _FAILS), _OTHERWISE)
    if any(check.name == name for check in others):
        name = _OTHERWISE
    if isinstance(error, StoreError):
        return Check(name, CheckState.FAILED, error.reason or error.summary, error.hint)
    hint = _ORIGINS if isinstance(error, ConfigurationError) else ""  # what these are about is in their message
    return Check(name, CheckState.FAILED, str(error), hint)
