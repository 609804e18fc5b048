"""Rotations that a service carries out, as a transaction in which create, promote and revoke do nothing.

`apply` starts the rotation, and `prove` waits until the service has finished it. A service such as a database engine
rotates again at each request. So that two schedulers make one request, the one that writes the record first makes it:
a state without values at the reserved path of a store with check-and-set, which is the store that the rotation names,
or the first of the chain that can be written.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from strongroom._boundary import answers
from strongroom._config import RotationConfig
from strongroom.errors import StoreUnavailableError, UnsupportedOperationError, shown
from strongroom.rotate.guard import TransactionRotator
from strongroom.rotate.ledger import Ledger
from strongroom.rotate.spi import CredentialPair, ServiceRotator
from strongroom.rotate.state import RotationState, RotationStep
from strongroom.secret import Secret, SensitiveDict, Value, Version
from strongroom.store import SecretStore

if TYPE_CHECKING:
    from strongroom._boundary.guard import GuardedStore
    from strongroom._chain.answer import WriteTarget
    from strongroom._chain.chain import Chain

_R = TypeVar("_R")

_LIMIT = 600.0
_PAUSE = 2.0
"""Seconds to wait for a rotation, and between two questions."""


class GuardedServiceRotator(TransactionRotator):
    """A rotator of a secret whose own store carries the rotation out.

    Attributes:
        starts_once: True if the service joins two requests for one due date.
    """

    def __init__(self, rotator: ServiceRotator, name: str, about: RotationConfig, chain: Chain) -> None:
        super().__init__(rotator, name, about.path)
        self.starts_once = rotator.starts_once
        self._rotator = rotator
        self._store = about.store
        self._chain = chain

    def last_rotation(self) -> datetime | None:
        """Return the time of the last rotation, if the service tells."""
        return self._at_store(lambda store: _as_time(self._rotator.last_rotation(store, self._path)))

    def is_finished(self, *, changes: str = "") -> bool:
        """Return True if the service is not rotating the secret.

        Args:
            changes: see `Chain.at_target`.
        """
        return self._at_store(lambda store: _as_flag(self._rotator.finished(store, self._path)), changes=changes)

    def create(self, current: SensitiveDict) -> Mapping[str, Value]:
        del current  # the service creates the new credential
        return {}

    def apply(self, credentials: CredentialPair) -> None:
        del credentials
        start: Callable[[SecretStore, str], object] = self._rotator.start  # a plugin may return anything
        self._at_store(
            lambda store: answers.as_nothing(start(store, self._path), "start"), changes="rotate", starts=True
        )

    def prove(self, credentials: CredentialPair, keep_lease: Callable[[], object] = lambda: None) -> None:
        """Wait until the service has finished.

        Raises:
            StoreUnavailableError: it does not finish.
        """
        del credentials
        end = time.monotonic() + _LIMIT
        while not self.is_finished(changes="rotate"):  # the secret changes at the end
            if time.monotonic() >= end:
                reason = f"its rotation has not finished after {_LIMIT:.0f} s"
                hint = "Look at the service's own log"
                raise StoreUnavailableError(self._path, reason, store=self._store, hint=hint)
            time.sleep(_PAUSE)
            keep_lease()

    def revoke(self, credentials: CredentialPair) -> tuple[str, ...]:
        del credentials  # the service ends the old one
        return ()

    def _at_store(self, operation: Callable[[SecretStore], _R], *, changes: str = "", starts: bool = False) -> _R:
        """Return the operation's result on the object of the store that serves the path."""

        def at_object(guarded: GuardedStore) -> _R:
            store = guarded.unwrapped(self._path)
            return self._watchdog.call(self._path, lambda: operation(store), changes=starts)

        return self._chain.at_target(self._path, self._store, at_object, changes=changes)


def _as_flag(answer: Any) -> bool:
    if not isinstance(answer, bool):
        raise answers.unexpected("finished", answer, "bool")
    return answer


def _as_time(answer: Any) -> datetime | None:
    return None if answer is None else answers.as_time("last_rotation", answer, "a time")


class ServiceLedger(Ledger):
    """The record of rotations that a service carries out. The service holds the secret.

    Only a schedule needs the record, and only if the service does not join two requests. Without it, the service alone
    knows of its rotations.

    Raises:
        UnsupportedOperationError: the rotations have to be recorded, and no store of the chain can do that.
    """

    def __init__(self, chain: Chain, about: RotationConfig, rotator: GuardedServiceRotator) -> None:
        super().__init__(chain, about.path, about.store)
        self._rotator = rotator
        self.is_recorded = about.every is not None and not rotator.starts_once
        self._record = _record(chain, about) if self.is_recorded else None

    def secret(self) -> Secret:
        return Secret(self.path, SensitiveDict())  # none of its keys is replaced by us

    def change(self, update: Callable[[Mapping[str, Value]], Mapping[str, Value] | None]) -> Version | None:
        del update
        return None

    def load(self) -> tuple[RotationState | None, Version | None]:
        """Return the state, brought up to date by the time of the last rotation in the service."""
        state, version = self._record.load() if self._record is not None else (None, None)
        last = self._rotator.last_rotation()
        if last is None:
            return state, version
        if state is None:
            state = RotationState(
                "", self._rotator.name, RotationStep.DONE, started=last, changed=last, last_success=last
            )
        elif state.last_success is None or last > state.last_success:
            # A process that has died had started the rotation, or somebody else has rotated.
            state = state.after(RotationStep.APPLIED, last) if state.unfinished else replace(state, last_success=last)
        return state, version

    def save(self, state: RotationState, secret: Mapping[str, Value], expected: Version | None) -> Version:
        return 0 if self._record is None else self._record.save(state, secret, expected)

    def _target(self, chain: Chain, store: str | None) -> WriteTarget:
        return chain.target(self.path, store)._replace(capabilities=frozenset())


def _record(chain: Chain, about: RotationConfig) -> Ledger:
    for store in dict.fromkeys((about.store, None)):
        with suppress(UnsupportedOperationError):
            return Ledger(chain, about.path, store)
    reason = "no store of the chain can record its rotations, so two schedulers could rotate it twice"
    hint = (
        "Add a store with check-and-set to the chain, such as Vault KV version 2; or leave `every` out, and run by "
        f"cron: strongroom rotate {shown(about.path)}"
    )
    raise UnsupportedOperationError(about.path, reason, store=about.store, hint=hint)
