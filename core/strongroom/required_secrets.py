"""The required secrets: the rows of `[secrets]`, each with the answer of the chain.

::

    config = discovery.load()
    with SecretsManager.from_config(config) as secrets:
        missing = [row.variable for row in required_secrets.resolve(config.secrets, secrets.resolve) if not row.met]
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from strongroom._chain.answer import DEFAULT_STORE, Resolution, answer_of
from strongroom._config import SecretConfig
from strongroom.errors import (
    Answer,
    Attempt,
    MissingFileError,
    SecretNotFoundError,
    StoreError,
    StrongroomError,
)
from strongroom.secret import protect

Resolve: TypeAlias = Callable[[str, str], Resolution]
"""Path and key -> the resolution: `SecretsManager.resolve`."""


class RequirementState(StrEnum):
    """State of a row."""

    FOUND = "found"
    DEFAULT = "default"
    """Every store confirms the absence, and the row has a default."""
    ABSENT = "absent"
    """Every store confirms the absence, and the row is not required."""
    MISSING = "missing"
    """Every store confirms the absence, and the row is required."""
    UNAVAILABLE = "unavailable"
    """A store that may have it did not answer. That fails every row: an outage is not an absence."""
    DENIED = "denied"
    """A store that may have it denied access, which is not an absence either."""
    FAILED = "failed"
    DYNAMIC = "dynamic"
    """A store issues it on every read, and the read did not allow that."""


_MET = frozenset({RequirementState.FOUND, RequirementState.DEFAULT, RequirementState.ABSENT, RequirementState.DYNAMIC})
_TRANSIENT = frozenset({RequirementState.MISSING, RequirementState.UNAVAILABLE, RequirementState.DENIED})

_UNANSWERED = {Answer.UNAVAILABLE: RequirementState.UNAVAILABLE, Answer.DENIED: RequirementState.DENIED}

_FIRST_PAUSE = 0.5
_LAST_PAUSE = 5.0
"""Seconds between two rounds of a wait. The pause doubles up to the last value."""


@dataclass(frozen=True)
class Requirement:
    """One row of `[secrets]`, with the answer of the chain.

    Attributes:
        variable: the name of the environment variable.
        secret: the path and key of its value, and whether it is required.
        state: the state of the row.
        resolution: the value with its provenance, if there is one.
        error: the reason, if there is no value.
    """

    variable: str
    secret: SecretConfig
    state: RequirementState
    resolution: Resolution | None = None
    error: StrongroomError | None = None

    @property
    def met(self) -> bool:
        """True if there is a value, or a confirmed absence of a value that is not required."""
        return self.state in _MET

    @property
    def is_transient(self) -> bool:
        """True if the row is not met but can be later: a secret is written, a store answers, a policy is granted.

        The same holds if a file that a store's option names is missing: another process may write it.
        """
        return self.state in _TRANSIENT or isinstance(self.error, MissingFileError)

    @property
    def reference(self) -> str:
        """The path and key, as `PATH#KEY`."""
        return f"{self.secret.path}#{self.secret.key}"

    @property
    def reasons(self) -> tuple[str, ...]:
        """The reasons for a missing value: the answer of each store, or the error; empty if there is a value."""
        if self.error is None:
            return ()
        attempts = self.error.attempts if isinstance(self.error, StoreError) else ()
        return tuple(map(str, attempts)) or (str(self.error),)


def resolve(secrets: Mapping[str, SecretConfig], read: Resolve) -> tuple[Requirement, ...]:
    """Return every row in its order, read one after another. A failed row does not stop the others.

    Args:
        secrets: the rows, as `Config.secrets` has them.
        read: reads one key. A `StrongroomError` that it raises becomes the row's error.
    """
    return tuple(_resolved(variable, secret, read) for variable, secret in secrets.items())


def _resolved(variable: str, secret: SecretConfig, read: Resolve) -> Requirement:
    try:
        found = read_row(variable, secret, read)
        if secret.type is not None:
            from strongroom._manager.conversion import convert, declared_type

            convert(found.value, declared_type(secret.type), secret.path, secret.key, found.store)
    except StrongroomError as error:
        # A copy has no frames: the error is kept, and frames may hold values.
        return Requirement(variable, secret, _state(error, secret), error=error.copy())
    state = RequirementState.DEFAULT if found.store == DEFAULT_STORE else RequirementState.FOUND
    return Requirement(variable, secret, state, found)


def read_row(variable: str, secret: SecretConfig, read: Resolve) -> Resolution:
    """Return the value of one row: that of its key, or with `extract` a part of that.

    Raises:
        SecretNotFoundError: also if the value has no such part, and the row no default.
        InvalidDataError: also if a value with `extract` is not JSON.
        StrongroomError: the error of `read`.
    """
    if secret.extract is None:
        return read(secret.path, secret.key)
    from strongroom._chain.resolver import extracted

    try:
        return extracted(read(secret.path, secret.key), secret.extract, variable)
    except SecretNotFoundError:
        if secret.default is None:
            raise
    return Resolution(
        secret.path,
        secret.key,
        protect(secret.default),
        DEFAULT_STORE,
        version=None,
        age=0.0,
        cached=False,
        stale=False,
        attempts=(Attempt(DEFAULT_STORE, Answer.FOUND, "the default of [secrets]"),),
    )


class Rounds:
    """The pauses of a wait for the required secrets.

    Args:
        limit: the seconds that the wait may last. With zero, the rows are resolved once.
        now: the time of a monotonic clock, in seconds.
    """

    def __init__(self, limit: float, now: float) -> None:
        self._end = now + limit
        self._pause = _FIRST_PAUSE

    def pause(self, now: float, *, transient: bool) -> float | None:
        """Return the seconds until the next round, or None after the last. The last one starts when the time is over.

        Args:
            now: the time of the same clock.
            transient: a retry can help.
        """
        left = self._end - now
        if left <= 0 or not transient:
            return None
        pause, self._pause = min(self._pause, left), min(self._pause * 2, _LAST_PAUSE)
        return pause


def _state(error: StrongroomError, secret: SecretConfig) -> RequirementState:
    answer = answer_of(error)
    if answer is Answer.NOT_FOUND:
        return RequirementState.MISSING if secret.required else RequirementState.ABSENT
    if answer in _UNANSWERED:
        return _UNANSWERED[answer]
    if isinstance(error, StoreError) and error.attempts and error.attempts[-1].answer is Answer.NOT_ASKED:
        return RequirementState.DYNAMIC
    return RequirementState.FAILED
