"""Probes of stores: run together, timed, with every failure as a check. Nothing is raised."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future

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
from strongroom.store import Health, in_daemon, remaining, time_limit

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


def diagnose(store: str, probe: Callable[[], Health]) -> Health:
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
