"""The boundary of rotators: a rotation uses a plugin's rotator through these wrappers only.

Every answer is checked, every failure is an error that names the rotator, and a call that overruns is given up.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any

from strongroom._boundary import answers
from strongroom._boundary.watchdog import Boundary
from strongroom.errors import AuthenticationError, PermissionDeniedError, StrongroomError
from strongroom.rotate.spi import CredentialPair, Rotator, ServiceRotator
from strongroom.secret import SensitiveDict, Value
from strongroom.store import SecretStore, time_limit

STEP_LIMIT = 60.0
"""Seconds that one call of a rotator may take: half of a lease."""


class TransactionRotator(ABC):
    """A rotator as a transaction uses it."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The rotator's plugin."""

    @property
    @abstractmethod
    def is_overdue(self) -> bool:
        """A call that was given up still runs, and may still change the credential."""

    @abstractmethod
    def create(self, current: SensitiveDict) -> Mapping[str, Value]:
        """Return the keys that change."""

    @abstractmethod
    def apply(self, credentials: CredentialPair) -> None:
        """Make the service accept the new credential."""

    @abstractmethod
    def prove(self, credentials: CredentialPair, keep_lease: Callable[[], object] = lambda: None) -> None:
        """Return if the service accepts the new credential. A step that waits calls `keep_lease` meanwhile."""

    @abstractmethod
    def revoke(self, credentials: CredentialPair) -> tuple[str, ...]:
        """End the old credential, and return the keys that the secret no longer needs."""

    def ensure_accepted(self, credentials: CredentialPair) -> None:
        """Return if the service accepts the new credential; apply it if it does not."""
        try:
            self.prove(credentials)
        except StrongroomError:
            self.apply(credentials)
            self.prove(credentials)

    def reapply(self, credentials: CredentialPair) -> None:
        """Apply the new credential, also if the service accepts it, and prove it.

        So it follows a late change of a process that was killed. A rotator without the right to that, or
        a service that refuses a password for a second time, leaves it to the proof.
        """
        try:
            self.apply(credentials)
        except PermissionDeniedError:
            with suppress(StrongroomError):
                self.prove(credentials)
                return
            raise
        self.prove(credentials)

    def is_accepted(self, credentials: CredentialPair) -> bool:
        """Return False if the service refuses the new credential for sure."""
        try:
            self.prove(credentials)
        except AuthenticationError:
            return False
        except StrongroomError:
            return True
        return True


class GuardedRotator(TransactionRotator):
    """A rotator whose calls are contained.

    Raises:
        PluginError: the rotator needs a newer protocol.
    """

    def __init__(self, rotator: Rotator, name: str, path: str) -> None:
        self._name = name
        self._rotator = rotator
        self._path = path
        self._boundary = Boundary(rotator, name, "rotator")

    @property
    def name(self) -> str:
        """The rotator's plugin."""
        return self._name

    @property
    def is_overdue(self) -> bool:
        """A call that was given up still runs, and may still change the credential."""
        return self._boundary.is_overdue

    def create(self, current: SensitiveDict) -> Mapping[str, Value]:
        """Return the keys that change."""
        with time_limit(STEP_LIMIT):
            return self._boundary.call(self._path, lambda: answers.as_data(self._rotator.create(current), "create"))

    def apply(self, credentials: CredentialPair) -> None:
        """Make the service accept the new credential."""
        self._perform("apply", credentials, changes=True)

    def prove(self, credentials: CredentialPair, keep_lease: Callable[[], object] = lambda: None) -> None:
        """Return if the service accepts the new credential."""
        del keep_lease  # a call takes half of a lease at most
        self._perform("prove", credentials)

    def revoke(self, credentials: CredentialPair) -> tuple[str, ...]:
        """End the old credential, and return the keys that the secret no longer needs."""
        with time_limit(STEP_LIMIT):
            return self._boundary.call(
                self._path, lambda: answers.as_names(self._rotator.revoke(credentials), "revoke"), changes=True
            )

    def close(self) -> None:
        self._boundary.close()

    def _perform(self, method: str, credentials: CredentialPair, *, changes: bool = False) -> None:
        call = getattr(self._rotator, method)
        with time_limit(STEP_LIMIT):
            self._boundary.call(self._path, lambda: answers.as_nothing(call(credentials), method), changes=changes)


class GuardedServiceRotator:
    """A `ServiceRotator` whose calls are contained."""

    def __init__(self, rotator: ServiceRotator, name: str) -> None:
        self.name = name
        self.starts_once = rotator.starts_once
        self._rotator = rotator
        self._boundary = Boundary(rotator, name, "rotator")

    @property
    def is_overdue(self) -> bool:
        """A call that was given up still runs."""
        return self._boundary.is_overdue

    def start(self, store: SecretStore, path: str) -> None:
        """Start a rotation, or join the one in progress."""
        start: Callable[[SecretStore, str], object] = self._rotator.start  # a plugin may return anything
        self._boundary.call(path, lambda: answers.as_nothing(start(store, path), "start"), changes=True)

    def finished(self, store: SecretStore, path: str) -> bool:
        return self._boundary.call(path, lambda: _as_flag(self._rotator.finished(store, path)))

    def last_rotation(self, store: SecretStore, path: str) -> datetime | None:
        return self._boundary.call(path, lambda: _as_time(self._rotator.last_rotation(store, path)))

    def close(self) -> None:
        self._boundary.close()


def _as_flag(answer: Any) -> bool:
    if not isinstance(answer, bool):
        raise answers.unexpected("finished", answer, "bool")
    return answer


def _as_time(answer: Any) -> datetime | None:
    return None if answer is None else answers.as_time("last_rotation", answer, "a time")
