"""The transaction: performs the steps of one rotation, each under the lease and the version of its state.

`RotationState.next_action` decides the next step. This module performs it: it calls the rotator, writes the secret and
the state, and undoes the rotation if a step before `promote` is complete fails.
"""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import NoReturn

from strongroom._chain.history import now_utc
from strongroom._credentials.database_address import changed_url
from strongroom.errors import (
    ConfigurationError,
    ConflictError,
    InvalidDataError,
    PermissionDeniedError,
    StrongroomError,
    UnsupportedOperationError,
    shown,
)
from strongroom.rotate import reports
from strongroom.rotate.guard import TransactionRotator
from strongroom.rotate.ledger import Ledger
from strongroom.rotate.spi import CredentialPair
from strongroom.rotate.state import (
    KEY,
    LEASE,
    RotationAction,
    RotationState,
    RotationStep,
    copied_keys,
    is_promoted,
    is_unchanged,
)
from strongroom.secret import Secret, SensitiveDict, Value, Version, changed_keys, check_data, protect_data

_AFTER = {
    RotationAction.APPLY: RotationStep.APPLIED,
    RotationAction.PROVE: RotationStep.PROVED,
    RotationAction.PROMOTE: RotationStep.PROMOTED,
    RotationAction.REVOKE: RotationStep.DONE,
}


def new_owner() -> str:
    """Return a name for this transaction: host, process, and a random part."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"


class Transaction:
    """One process's work on the rotation of one secret.

    Args:
        grace: for how long the old credential stays valid after the new one is stored.
        read: returns another secret of the chain.
    """

    def __init__(
        self,
        ledger: Ledger,
        rotator: TransactionRotator,
        *,
        grace: timedelta = timedelta(0),
        read: Callable[[str], SensitiveDict],
        clock: Callable[[], datetime] = now_utc,
    ) -> None:
        self._ledger = ledger
        self._rotator = rotator
        self._plugin = rotator.name
        self._grace = grace
        self._read = read
        self._clock = clock
        self._owner = new_owner()
        self._path = ledger.path
        self._state: RotationState | None = None
        self._is_new = False  # this process began the rotation, so that its `apply` is the first one
        self._version: Version | None = None
        self._secret: Mapping[str, Value] = SensitiveDict()

    # --- entry points -------------------------------------------------------------------------------------------------

    def rotate(
        self, wanted: Callable[[RotationState | None, Secret], bool] = lambda _, __: True
    ) -> RotationState | None:
        """Rotate the secret, perhaps after the undo that another process has left, or finish its rotation.

        Args:
            wanted: returns whether a new rotation is due, from the last state and the secret. The state that it sees is
                the one that the first write is checked against.

        Returns:
            The last state; the old one, or None, if no rotation was due.

        Raises:
            RotationError, UnfinishedRotationError: a step failed.
            ConflictError: another process is at work, or the old credential's grace time is not over.
        """
        state = self._load()
        if state is not None and state.unfinished:
            began = state.step
            state = self._advance(self._take(state, take_over=False))
            if began is not RotationStep.PROMOTED and state.step is not RotationStep.UNDONE:
                return state
            if state.unfinished:
                end = state.grace_end(self._grace).isoformat(timespec="seconds")
                hint = f"To revoke it now, run: strongroom rotate resume --now {shown(self._path)}"
                raise ConflictError(self._path, f"the grace time of the last rotation ends {end}", hint=hint)
        secret = self._ledger.secret()
        if not wanted(state, secret):
            return state
        return self._advance(self._create(state, secret, self._made))

    def resume(self, *, take_over: bool = False, revoke_now: bool = False) -> RotationState:
        """Finish the rotation, or its undo, that another process has left.

        Args:
            take_over: do not wait until the lease of its owner has ended.
            revoke_now: do not wait until the grace time is over.

        Raises:
            UnsupportedOperationError: no rotation is under way.
        """
        state = self._unfinished(self._load())
        if revoke_now:
            self._grace = timedelta(0)
        return self._advance(self._take(state, take_over=take_over))

    def undo(self, *, take_over: bool = False) -> RotationState:
        """Undo the rotation that is under way, or the last one if it is done: the old credential alone works again.

        The undo of a done rotation that another process has left is finished.

        Raises:
            UnsupportedOperationError: no rotation can be undone, or the store has lost the credential from before it.
            RotationError: the service refuses the old credential of a rotation that is done. The new one still works.
        """
        loaded = self._load()
        if loaded is not None and loaded.of_service:
            reason = f"the rotator {loaded.rotator!r} leaves the rotation to the service, which finishes it"
            raise UnsupportedOperationError(self._path, reason, hint=reports.SEE_STATUS)
        if loaded is not None and loaded.step is RotationStep.DONE:
            self._check_rotator(loaded)
            secret = self._ledger.secret()
            return self._advance(self._create(loaded, secret, partial(self._former, loaded), back=True))
        state = self._take(self._unfinished(loaded), take_over=take_over)
        if state.step is not RotationStep.UNDOING and not state.back:
            state = self._begin_undo(state)
        return self._advance(state)

    # --- steps --------------------------------------------------------------------------------------------------------

    def _made(self, secret: Secret) -> Mapping[str, Value]:
        """Return the keys that change, from the rotator."""
        began = time.monotonic()
        try:
            made = self._rotator.create(protect_data(secret.data))
            if not made and secret.version is None:  # a service replaces it
                return made
            if not made or KEY in made:
                raise InvalidDataError(self._path, "the rotator changes no key, or a reserved one", store=self._plugin)
            made = check_data(self._path, made)
            return made | changed_url(secret.data, made, self._path)
        except StrongroomError as error:
            self._record("create", began, error, begun=False)
            raise

    def _former(self, done: RotationState, secret: Secret) -> Mapping[str, Value]:
        """Return the keys that a rotation has changed, with their values from before it."""
        former = protect_data(self._ledger.former(done.from_version).data)
        former = self._rotator.restored(protect_data(secret.data), former)
        found = {key: former[key] for key in done.keys if key in former}
        if found.keys().isdisjoint(changed_keys(found, secret.data)):
            reason = "the secret has the values from before the last rotation already"
            if not found:
                reason = f"there is no value from before the last rotation, which has added {', '.join(done.keys)}"
            raise UnsupportedOperationError(self._path, reason, store=self._ledger.store)
        return found

    def _create(
        self,
        before: RotationState | None,
        secret: Secret,
        make: Callable[[Secret], Mapping[str, Value]],
        *,
        back: bool = False,
    ) -> RotationState:
        """Store what `make` returns as the pending value. Nothing outside the store changes."""
        began = time.monotonic()
        for path in self._rotator.reads:  # without one of them, `apply` could be neither done nor undone
            self._read(path)
        new = make(secret)
        if (copies := copied_keys(secret.data, new)) is not None:
            key, copy = copies
            reason = f"the key {copy!r} holds the value of {key!r} too, and would be out of date"
            hint = f"Remove {copy!r} from the secret, or use a rotator that changes both"
            raise InvalidDataError(self._path, reason, store=self._ledger.store, hint=hint)
        now = self._clock()
        state = RotationState(
            id=secrets.token_hex(8),
            rotator=self._plugin,
            step=RotationStep.CREATED,
            started=now,
            changed=now,
            last_success=before.last if before else None,
            failures=before.failures if before else 0,
            from_version=secret.version,
            back=back,
            new=new,
            old=SensitiveDict((key, secret.data[key]) for key in new if key in secret.data),
        )
        self._secret = secret.data
        self._is_new = True
        try:
            state = self._save(state)
        except ConflictError:
            raise self._busy("another process has just begun to rotate it") from None
        self._record("create", began)
        return state

    def _advance(self, state: RotationState) -> RotationState:
        """Perform one action after the other until the rotation has ended or waits for its grace time."""
        try:
            while True:
                action = state.next_action(self._clock(), self._grace)
                if action in {RotationAction.NONE, RotationAction.WAIT}:
                    return state
                state = self._refreshed(state)
                state = self._finish_undo(state) if action is RotationAction.UNDO else self._step(state, action)
        except StrongroomError:
            raise
        except BaseException:  # an interrupt: the next process need not wait for the lease
            self._release()
            raise

    def _refreshed(self, state: RotationState) -> RotationState:
        """Return the state under a lease that lasts for one call. One that was suspended asks the store."""
        if state.lease_until is None or self._clock() > state.lease_until - LEASE / 2:
            return self._save(state.owned(self._owner, self._clock()))
        return state

    def _keep_lease(self) -> None:
        """Extend the lease during a step that waits."""
        if self._state is not None:
            self._refreshed(self._state)

    def _step(self, state: RotationState, action: RotationAction) -> RotationState:
        perform: Mapping[RotationAction, Callable[[RotationState], None]] = {
            RotationAction.APPLY: lambda state: self._rotator.apply(self._credentials(state)),
            RotationAction.PROVE: lambda state: self._rotator.prove(self._credentials(state), self._keep_lease),
            RotationAction.PROMOTE: self._promote,
            RotationAction.REVOKE: self._revoke,
        }
        began = time.monotonic()
        try:
            perform[action](state)
        except StrongroomError as error:
            failure = error.copy()
        else:
            repair = action in {RotationAction.APPLY, RotationAction.REVOKE} and not state.of_service
            done = self._save(state.after(_AFTER[action], self._clock()), repair=repair)
            self._record(action, began)
            return done
        self._record(action, began, failure)
        return self._fail(state, action, failure)

    def _promote(self, state: RotationState) -> None:
        """Store the new credential. Keys that somebody has changed meanwhile, and that do not rotate, are kept."""

        def promoted(data: Mapping[str, Value]) -> Mapping[str, Value] | None:
            if is_promoted(data, state.new):
                return None
            if not is_unchanged(data, state.old, state.new):
                reason = f"somebody has changed {', '.join(sorted(state.new))} during the rotation"
                raise ConflictError(self._path, reason, store=self._ledger.store)
            return state.replaced(data)

        self._ledger.change(promoted)

    def _revoke(self, state: RotationState) -> None:
        """End the old credential, after one more proof that the new one works."""
        credentials = self._credentials(state)
        self._rotator.ensure_accepted(credentials)
        dropped = set(self._rotator.revoke(credentials))

        def trimmed(data: Mapping[str, Value]) -> Mapping[str, Value] | None:
            return {key: data[key] for key in data if key not in dropped} if dropped & data.keys() else None

        if dropped:
            self._ledger.change(trimmed)

    def _begin_undo(self, state: RotationState) -> RotationState:
        """Record that the rotation is undone. A promotion that was sent, and has not arrived, fails from now on."""
        try:
            if state.step is RotationStep.PROVED:
                self._ledger.change(lambda data: None if is_promoted(data, state.new) else data)
            self._secret = self._ledger.secret().data
        except StrongroomError as error:
            self._release()
            raise reports.unfinished(self._path, RotationAction.UNDO, error, "undo") from None
        return self._save(state.after(RotationStep.UNDOING, self._clock()), command="undo")

    def _finish_undo(self, state: RotationState) -> RotationState:
        """Make the credential work that is stored, or that was before the promotion; then end the new one.

        Each is done even if it seems to be done already, so that it follows a late change of a process that was killed.
        """
        began = time.monotonic()
        try:
            stored = self._ledger.secret().data
            promoted = is_promoted(stored, state.new)
            target = self._restored(state, stored) if promoted else protect_data(stored)
            credentials = CredentialPair(self._path, old=state.replaced(stored), new=target, read=self._read)
            self._rotator.reapply(credentials)
            if promoted:
                self._ledger.change(lambda data: self._restored(state, data) if is_promoted(data, state.new) else None)
            try:
                self._rotator.revoke(credentials)
            except PermissionDeniedError:
                # A rotator without the right to apply the new credential has not applied it, and cannot revoke it.
                other = CredentialPair(self._path, old=target, new=credentials.old, read=self._read)
                if self._rotator.is_accepted(other):
                    raise
        except StrongroomError as error:
            self._record(RotationAction.UNDO, began, error)
            self._release()
            raise reports.unfinished(self._path, RotationAction.UNDO, error, "undo") from None
        undone = self._save(self._undone(state))
        self._record(RotationAction.UNDO, began)
        return undone

    def _undone(self, state: RotationState) -> RotationState:
        """Return the state after a failed attempt, or after the undo of a rotation that has succeeded."""
        failures = 0 if state.promoted is not None and not state.back else state.failures + 1
        return replace(state.after(RotationStep.UNDONE, self._clock()), failures=failures)

    def _fail(self, state: RotationState, action: RotationAction, error: StrongroomError) -> NoReturn:
        """Undo the rotation, and raise the error that tells so.

        A failed revocation is resumed instead. So is an `apply` that was given up and still runs: it could follow the
        undo, and leave a service that accepts the new credential alone. Of a rotation that a service carries out,
        nothing has to be undone; nor after a first `apply` that raises ConfigurationError, which has changed nothing.
        The undo of a done rotation stays unfinished then, since a second one would find nothing to undo.
        """
        if state.of_service:
            with suppress(StrongroomError):  # the first error says more, and the lease ends by itself
                self._save(self._undone(state))
            raise error
        did_nothing = action is RotationAction.APPLY and self._is_new and isinstance(error, ConfigurationError)
        is_overdue = action is RotationAction.APPLY and self._rotator.is_overdue
        if action is RotationAction.REVOKE or is_overdue or (did_nothing and state.back):
            self._release()
            raise reports.unfinished(self._path, action, error, "resume")
        if did_nothing:
            self._save(self._undone(state))
        else:
            self._finish_undo(self._begin_undo(state))
        raise reports.undone(self._path, action, error, back=state.back)

    # --- lease and state ----------------------------------------------------------------------------------------------

    def _load(self) -> RotationState | None:
        self._state, self._version = self._ledger.load()
        return self._state

    def _unfinished(self, state: RotationState | None) -> RotationState:
        if state is None or not state.unfinished:
            hint = "Run strongroom rotate status to see the last one"
            raise UnsupportedOperationError(self._path, "no rotation is under way", store=self._ledger.store, hint=hint)
        return state

    def _take(self, state: RotationState, *, take_over: bool) -> RotationState:
        """Write a lease of this process into the state."""
        began = time.monotonic()
        self._check_rotator(state)
        now = self._clock()
        if not take_over and not state.is_free(now, self._owner):
            raise self._busy(f"{state.owner} is rotating it")
        self._secret = self._ledger.secret().data
        if state.next_action(now, self._grace) is RotationAction.WAIT:
            return state
        try:
            state = self._save(state.owned(self._owner, now))
        except ConflictError:
            raise self._busy("another process has just taken it over") from None
        self._record("resume", began)
        return state

    def _check_rotator(self, state: RotationState) -> None:
        if state.rotator != self._plugin:
            reason = f"{state.rotator!r} made the last rotation, and {self._plugin!r} is configured"
            raise ConflictError(self._path, reason, hint="Configure that rotator until it is done or undone")

    def _busy(self, reason: str) -> ConflictError:
        state, _ = self._ledger.load()
        return reports.busy(self._path, reason, self._ledger.store, state)

    def _save(self, state: RotationState, *, repair: bool = False, command: str = "resume") -> RotationState:
        """Write the state over the version that this process knows, with a new lease.

        Args:
            state: the state.
            repair: the process has just changed a credential in the service.
            command: the next command for the error message, if the store fails.

        Raises:
            ConflictError: another process has taken the rotation over.
            UnfinishedRotationError: the store failed in the middle of a rotation.
        """
        waiting = not state.unfinished or state.next_action(self._clock(), self._grace) is RotationAction.WAIT
        state = state.released() if waiting else state.owned(self._owner, self._clock())
        try:
            self._version = self._ledger.save(state, self._other_secret(state), self._version)
        except ConflictError:
            if repair:
                self._repair(state)
            raise ConflictError(
                self._path,
                "another process has taken the rotation over",
                store=self._ledger.store,
                hint=reports.SEE_STATUS,
            ) from None
        except StrongroomError as error:
            if self._state is None or not self._state.unfinished or state.of_service:  # no credential has changed
                raise
            raise reports.unfinished(self._path, f"after {self._state.step}", error, command) from None
        self._state = state
        return state

    def _repair(self, mine: RotationState) -> None:
        """Apply the stored credential once more.

        This process was suspended in `apply` or `revoke` for longer than its lease, and another one has ended the
        rotation. So it may just have changed a credential that is in use again. If a later rotation is under way, that
        one proves its credential before it revokes another.
        """
        theirs, _ = self._ledger.load()
        if theirs is None or (theirs.unfinished and theirs.step is not RotationStep.UNDOING):
            return
        stored = self._ledger.secret().data
        credentials = CredentialPair(self._path, old=mine.replaced(stored), new=protect_data(stored), read=self._read)
        began = time.monotonic()
        try:
            self._rotator.apply(credentials)
        except StrongroomError as error:
            self._record("repair", began, error)
            raise
        self._record("repair", began)

    def _release(self) -> None:
        """Give the lease up, so that the next process need not wait. If that fails, the lease ends by itself.

        It is kept while a call of the rotator runs that was given up: another process could be undone by it.
        """
        state = self._state
        if self._rotator.is_overdue:
            return
        if state is not None and state.unfinished and state.owner == self._owner:
            with suppress(StrongroomError):
                self._version = self._ledger.save(state.released(), self._other_secret(state), self._version)
                self._state = state.released()

    def _other_secret(self, state: RotationState) -> SensitiveDict:
        """Return the secret that a refused connection should try: the new one, or the old one if the new one is stored.

        While a rotation is undone, the service may accept either.
        """
        undoing_promoted = state.step is RotationStep.UNDOING and is_promoted(self._secret, state.new)
        return self._restored(state, self._secret) if undoing_promoted else state.replaced(self._secret)

    # --- parts --------------------------------------------------------------------------------------------------------

    def _credentials(self, state: RotationState) -> CredentialPair:
        """Return the credentials of a forward step, over the other keys of the secret as they are now."""
        self._secret = self._ledger.secret().data
        old, new = state.restored(self._secret), state.replaced(self._secret)
        return CredentialPair(self._path, old=old, new=new, read=self._read)

    def _restored(self, state: RotationState, secret: Mapping[str, Value]) -> SensitiveDict:
        return self._rotator.restored(protect_data(secret), state.restored(secret))

    def _record(self, step: str, began: float, error: StrongroomError | None = None, *, begun: bool = True) -> None:
        """Record a step that began then. The rotation has an ID once it has begun."""
        reports.record(
            step,
            self._path,
            store=self._ledger.store,
            link=self._ledger.link,
            seconds=time.monotonic() - began,
            error=error,
            rotation_id=self._state.id if begun and self._state else "",
            rotator=self._plugin,
            owner=self._owner,
        )
