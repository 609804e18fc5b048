"""What the application needs: the rows of `[secrets]`, and what the chain answers for each.

::

    config = discovery.load()
    with SecretsManager.from_config(config) as secrets:
        missing = [row.variable for row in requirements.resolve(config.secrets, secrets.resolve) if not row.met]
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from strongroom.chain.chain import DEFAULT_STORE, Resolution
from strongroom.config import SecretConfig
from strongroom.errors import (
    Answer,
    AuthenticationError,
    MissingFileError,
    PermissionDeniedError,
    SecretNotFoundError,
    StoreError,
    StoreUnavailableError,
    StrongroomError,
)

Resolve: TypeAlias = Callable[[str, str], Resolution]
"""Path and key -> what the chain has there: `SecretsManager.resolve`."""


class State(StrEnum):
    """What a row came to."""

    FOUND = "found"
    DEFAULT = "default"
    """Every store says that there is none, and the row has a default."""
    ABSENT = "absent"
    """Every store says that there is none, and the row is not required."""
    MISSING = "missing"
    """Every store says that there is none, and the row is required."""
    UNAVAILABLE = "unavailable"
    """A store that may have it did not answer. No row may do without: an outage is not an absence."""
    DENIED = "denied"
    """A store that may have it refused, which is not an absence either."""
    FAILED = "failed"
    DYNAMIC = "dynamic"
    """A store makes it when it is read, and it was only looked for."""


_MET = frozenset({State.FOUND, State.DEFAULT, State.ABSENT, State.DYNAMIC})
_MENDED_BY_TIME = frozenset({State.MISSING, State.UNAVAILABLE, State.DENIED})


@dataclass(frozen=True)
class Requirement:
    """One row of `[secrets]`, and what the chain answered.

    Attributes:
        variable: the name of the environment variable.
        secret: where its value is, and whether it must be there.
        state: what came of it.
        resolution: the value and where it came from, where there is one.
        error: why there is none.
    """

    variable: str
    secret: SecretConfig
    state: State
    resolution: Resolution | None = None
    error: StrongroomError | None = None

    @property
    def met(self) -> bool:
        """The application has what it needs: a value, or the certainty that there is none and need be none."""
        return self.state in _MET

    @property
    def may_come(self) -> bool:
        """It is not met, and may be at a later time: a secret is written, a store answers, a policy is granted.

        So may a file that a store's option refers to, which is written beside the application.
        """
        return self.state in _MENDED_BY_TIME or isinstance(self.error, MissingFileError)

    @property
    def reference(self) -> str:
        """Where the value is, as `PATH#KEY`."""
        return f"{self.secret.path}#{self.secret.key}"

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why there is no value, in words: each store's answer, where stores were asked. Else nothing."""
        if self.error is None:
            return ()
        attempts = self.error.attempts if isinstance(self.error, StoreError) else ()
        return tuple(map(str, attempts)) or (str(self.error),)


def resolve(secrets: Mapping[str, SecretConfig], ask: Resolve) -> tuple[Requirement, ...]:
    """Every row in its order, asked one after another. What is wrong with one keeps no other from being asked.

    Args:
        secrets: the rows, as `Config.secrets` has them.
        ask: reads one key; what it raises from `StrongroomError` becomes the row's own error.
    """
    return tuple(_resolved(variable, secret, ask) for variable, secret in secrets.items())


def _resolved(variable: str, secret: SecretConfig, ask: Resolve) -> Requirement:
    try:
        found = ask(secret.path, secret.key)
    except StrongroomError as error:
        # Without the frames that it came through: it is kept, and they hold whatever they held.
        return Requirement(variable, secret, _state(error, secret), error=error.copy())
    state = State.DEFAULT if found.store == DEFAULT_STORE else State.FOUND
    return Requirement(variable, secret, state, found)


def _state(error: StrongroomError, secret: SecretConfig) -> State:
    if isinstance(error, SecretNotFoundError):
        return State.MISSING if secret.required else State.ABSENT
    if isinstance(error, StoreUnavailableError):
        return State.UNAVAILABLE
    if isinstance(error, AuthenticationError | PermissionDeniedError):
        return State.DENIED
    if isinstance(error, StoreError) and error.attempts and error.attempts[-1].answer is Answer.NOT_ASKED:
        return State.DYNAMIC
    return State.FAILED
