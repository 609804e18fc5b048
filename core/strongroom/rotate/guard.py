"""The guard around rotators: a rotation uses a plugin's rotator through these wrappers only.

Every answer is checked, every failure is an error that names the rotator, and a call that overruns is given up.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TypeVar

from strongroom._boundary import answers
from strongroom._boundary.watchdog import Watchdog
from strongroom.errors import AuthenticationError, PermissionDeniedError, StrongroomError
from strongroom.rotate.spi import CredentialPair, RestoringRotator, Rotator, ServiceRotator
from strongroom.secret import SensitiveDict, Value, protect_data
from strongroom.store import time_limit

_R = TypeVar("_R")

STEP_LIMIT = 60.0
"""Seconds that one call of a rotator may take: half of a lease."""


class TransactionRotator(ABC):
    """A rotator as a transaction uses it, behind its guard.

    Raises:
        PluginError: the rotator needs a newer protocol.
    """

    def __init__(self, plugin: Rotator | ServiceRotator, name: str, path: str) -> None:
        self.name = name
        self._path = path
        self._watchdog = Watchdog(plugin, name, "rotator")
        self.reads: tuple[str, ...] = ()
        """The paths of the other secrets that the rotator reads."""

    @property
    def is_overdue(self) -> bool:
        """A call that was given up still runs, and may still change the credential."""
        return self._watchdog.is_overdue

    def close(self) -> None:
        """Close the rotator."""
        self._watchdog.close()

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

    def restored(self, stored: SensitiveDict, old: SensitiveDict) -> SensitiveDict:
        """Return the secret that an undo stores: the old one, unless the rotator keeps parts of the new one."""
        del stored
        return old

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
    """A rotator of a credential that Strongroom generates."""

    def __init__(self, rotator: Rotator, name: str, path: str) -> None:
        super().__init__(rotator, name, path)
        self._rotator = rotator
        self.reads = self._watchdog.call(path, lambda: answers.as_names(getattr(rotator, "reads", ()), "reads"))

    def create(self, current: SensitiveDict) -> Mapping[str, Value]:
        return self._call("create", answers.as_data, current, known=(current,))

    def apply(self, credentials: CredentialPair) -> None:
        credentials, known = _recorded(credentials)
        self._call("apply", answers.as_nothing, credentials, known=known, changes=True)

    def prove(self, credentials: CredentialPair, keep_lease: Callable[[], object] = lambda: None) -> None:
        del keep_lease  # a call takes half of a lease at most
        credentials, known = _recorded(credentials)
        self._call("prove", answers.as_nothing, credentials, known=known)

    def revoke(self, credentials: CredentialPair) -> tuple[str, ...]:
        credentials, known = _recorded(credentials)
        return self._call("revoke", answers.as_names, credentials, known=known, changes=True)

    def restored(self, stored: SensitiveDict, old: SensitiveDict) -> SensitiveDict:
        if not isinstance(self._rotator, RestoringRotator):
            return old
        return protect_data(self._call("restored", answers.as_data, stored, old, known=(stored, old)))

    def _call(
        self,
        method: str,
        check: Callable[[object, str], _R],
        *given: object,
        known: Sequence[SensitiveDict],
        changes: bool = False,
    ) -> _R:
        """Return the checked answer of a method. No error shows a value of `known`."""

        def call() -> _R:
            return check(getattr(self._rotator, method)(*given), method)

        with time_limit(STEP_LIMIT):
            return self._watchdog.call(self._path, call, changes=changes, known=known)


def _recorded(credentials: CredentialPair) -> tuple[CredentialPair, list[SensitiveDict]]:
    """Return the credentials, and a list of the secrets that a rotator knows, which grows as it reads others."""
    known = [credentials.old, credentials.new]

    def read(path: str) -> SensitiveDict:
        known.append(secret := credentials.read(path))
        return secret

    return replace(credentials, read=read), known
