"""Rotation of the secrets of a manager: `SecretsManager.rotations`.

::

    with SecretsManager() as secrets:
        secrets.rotations.rotate("database/app")
        for status in secrets.rotations.status():
            print(status.path, status.state, status.due)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from operator import methodcaller
from typing import TYPE_CHECKING

from strongroom import _plugins as plugins
from strongroom._boundary.watchdog import Watchdog, open_plugin
from strongroom._chain.history import now_utc
from strongroom._chain.threads import off_loop_to_the_end, off_loop_untimed
from strongroom._config import Config, RotationConfig
from strongroom._config.document import listed
from strongroom._config.trust import not_trusted
from strongroom.errors import (
    ConfigurationError,
    SecretNotFoundError,
    UnsupportedOperationError,
    shown,
)
from strongroom.paths import check_path
from strongroom.rotate import schedule
from strongroom.rotate.guard import GuardedRotator, TransactionRotator
from strongroom.rotate.ledger import Ledger
from strongroom.rotate.service import GuardedServiceRotator, ServiceLedger
from strongroom.rotate.spi import Rotator, ServiceRotator
from strongroom.rotate.state import RotationAction, RotationState, RotationStep
from strongroom.rotate.transaction import Transaction
from strongroom.secret import Secret, SensitiveDict, Value, Version, changed_keys

if TYPE_CHECKING:
    from strongroom._chain.chain import Chain
    from strongroom._chain.threads import Threads

LAST_LABEL = "rotated-at"
DUE_LABEL = "rotate-by"
"""Labels of a rotated secret: its last rotation, and the next one if it has a schedule."""


@dataclass(frozen=True)
class RotationStatus:
    """How far the rotation of a secret is.

    Attributes:
        path: the secret's path.
        store: the store that holds it.
        rotator: the plugin that rotates it.
        state: `absent` without a secret, `never`, or the last complete step: created, applied, proved, promoted, done,
            undoing, undone.
        unfinished: True if the rotation has to be resumed or undone, or waits for its grace time.
        last_success: the last rotation that was promoted, also if it was undone later; for a secret that was never
            rotated, when it was written, if the store knows.
        due: when it is due; None without a schedule.
        overdue: True if that is past.
        owner: the process that works on it; empty if none does.
        lease_until: until when, by the clock of that process.
        grace_end: when the old credential is revoked, if the rotation waits for that.
        failures: failed attempts since the last success.
        changed: when the last step was complete.
        only_revoked: of the status that a call returns: it only revoked the old credential, after its grace time or
            before. The rotation was promoted earlier.
    """

    path: str
    store: str
    rotator: str
    state: str
    unfinished: bool = False
    last_success: datetime | None = None
    due: datetime | None = None
    overdue: bool = False
    owner: str = ""
    lease_until: datetime | None = None
    grace_end: datetime | None = None
    failures: int = 0
    changed: datetime | None = None
    only_revoked: bool = False


@dataclass(frozen=True)
class RotatedVersion:
    """A version of a secret in which its credential changed.

    Attributes:
        version: the store's name for the version.
        created: when it was written, if the store knows.
        keys: the keys whose values changed, without the values.
    """

    version: Version
    created: datetime | None
    keys: tuple[str, ...]


class Rotations:
    """The rotations that the tables `[rotation."PATH"]` of the configuration describe.

    Every method that takes a path raises `ConfigurationError` if that path has no such table.
    """

    def __init__(
        self,
        chain: Chain,
        threads: Threads,
        config: Config,
        *,
        clock: Callable[[], datetime] = now_utc,
    ) -> None:
        self._chain = chain
        self._threads = threads
        self._config = config
        self._clock = clock

    def __repr__(self) -> str:
        return f"Rotations({', '.join(self.paths)})"

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths that have a rotation, in the order of the configuration."""
        return tuple(self._config.rotations)

    # --- rotate, resume, undo -----------------------------------------------------------------------------------------

    def rotate(self, path: str) -> RotationStatus:
        """Rotate the secret now, or finish the rotation that another process has left.

        An undo that was left is finished first, and then the secret is rotated. At every moment at least one stored
        credential works. If a step before the promotion fails, the rotation is undone.

        Raises:
            RotationError: a step failed, and the rotation was undone.
            UnfinishedRotationError: a step failed, and the rotation has to be resumed or undone.
            ConflictError: another process is at work, or the grace time of the last rotation is not over.
            UnsupportedOperationError: the store cannot be written, or has no check-and-set. Nothing was changed.
            SecretNotFoundError: the secret does not exist.
        """
        with self._transaction(path) as (about, ledger, transaction):
            return self._ended(about, ledger, transaction.rotate())

    def rotate_if_due(self, path: str) -> RotationStatus | None:
        """`rotate`, if the secret is due by its schedule. Of several processes that call it at once, one rotates.

        A rotation that another process has left is finished, and a failed one is repeated after a pause that grows.

        Returns:
            The status after a rotation, or after the end of one; None if there was nothing to do.

        Raises:
            UnsupportedOperationError: a service rotates the secret, and no store can record that one process starts it.
        """
        with self._transaction(path) as (about, ledger, transaction):
            if about.every is None and not ledger.is_recorded:  # nothing is due, and nobody has left anything
                return None
            state, _ = ledger.load()
            now = self._clock()
            if state is not None and state.unfinished:
                waits = state.next_action(now, timedelta(seconds=about.grace)) is RotationAction.WAIT
                if waits or not state.is_free(now):
                    return None

            def wanted(state: RotationState | None, secret: Secret) -> bool:
                last = _last(state, secret)
                if last is None and not ledger.is_recorded:
                    raise _unknown_age(about)
                return not schedule.is_paused(state, now) and schedule.is_due(about, last, now)

            after = transaction.rotate(wanted)
            return None if after == state else self._ended(about, ledger, after, state)

    def resume(self, path: str, *, take_over: bool = False, now: bool = False) -> RotationStatus:
        """Finish the rotation, or its undo, that another process has left.

        Args:
            path: the secret's path.
            take_over: do not wait until the lease of its owner has ended, since that process is known to be gone.
            now: revoke the old credential now, although its grace time is not over.

        Raises:
            UnsupportedOperationError: no rotation is under way.
            ConflictError: another process is at work.
            RotationError, UnfinishedRotationError: see `rotate`.
        """
        with self._transaction(path) as (about, ledger, transaction):
            before, _ = ledger.load()
            return self._ended(about, ledger, transaction.resume(take_over=take_over, revoke_now=now), before)

    def undo(self, path: str, *, take_over: bool = False) -> RotationStatus:
        """Undo the rotation that is under way, also one that waits for its grace time, or the last one if it is done.

        Afterwards the old credential works and is stored, and the new one does not work. After a rotation that is done,
        the old credential comes from the version of the secret before it, and is applied and proved like a new one. The
        next scheduled rotation is due one interval after the one that was undone.

        Raises:
            UnsupportedOperationError: no rotation can be undone, or the store has no version from before it.
            ConflictError: another process is at work.
            RotationError: the service refuses the old credential of a rotation that is done. The new one still works.
            UnfinishedRotationError: the service or the store failed. Undo can be repeated.
        """
        with self._transaction(path) as (about, ledger, transaction):
            return self._ended(about, ledger, transaction.undo(take_over=take_over))

    # --- status and history -------------------------------------------------------------------------------------------

    def status(self, paths: Iterable[str] | None = None) -> list[RotationStatus]:
        """Return the status of these paths, or of every path that has a rotation. Nothing is changed.

        Raises:
            StoreError: a store could not be read.
        """
        return [self._status_of(path) for path in (self.paths if paths is None else paths)]

    def history(self, path: str) -> list[RotatedVersion]:
        """Return the versions of the secret that changed its values, oldest first, from the store's own versions.

        The oldest version that the store still has is left out: its changes are not known.

        Raises:
            UnsupportedOperationError: the store keeps no versions.
        """
        store = self._about(path).store
        found: list[RotatedVersion] = []
        before: Mapping[str, Value] | None = None
        for info in self._chain.at_target(path, store, lambda guarded: guarded.versions(path)):
            if info.deleted or info.destroyed:
                continue
            secret = self._chain.at_target(path, store, methodcaller("read_version", path, info.version))
            if before is not None and (keys := changed_keys(before, secret.data)):
                found.append(RotatedVersion(info.version, info.created, keys))
            before = secret.data
        return found

    # --- off the event loop -------------------------------------------------------------------------------------------

    arotate = off_loop_to_the_end(rotate)
    arotate_if_due = off_loop_to_the_end(rotate_if_due)
    aresume = off_loop_to_the_end(resume)
    aundo = off_loop_to_the_end(undo)
    astatus = off_loop_untimed(status)
    ahistory = off_loop_untimed(history)

    # --- parts --------------------------------------------------------------------------------------------------------

    def _about(self, path: str) -> RotationConfig:
        about = self._config.rotations.get(check_path(path))
        if about is None:
            known = f"known: {listed(self.paths)}" if self.paths else "none is configured"
            raise ConfigurationError(f'No rotation of {shown(path)}: add [rotation."{shown(path)}"]; {known}')
        if self._config.untrusted:  # ./.env too: an option of the rotator can name a variable of it
            raise not_trusted(self._config.untrusted, f"a rotation of {shown(path)} sends credentials")
        return about

    @contextmanager
    def _opened(self, path: str) -> Iterator[tuple[RotationConfig, TransactionRotator]]:
        about = self._about(path)
        opened, plugin = _open_plugin(self._config, path), about.rotator.plugin
        rotator: TransactionRotator
        if isinstance(opened, ServiceRotator):
            rotator = GuardedServiceRotator(opened, plugin, about, self._chain)
        else:
            rotator = GuardedRotator(opened, plugin, path)
        try:
            yield about, rotator
        finally:
            rotator.close()

    @contextmanager
    def _transaction(self, path: str) -> Iterator[tuple[RotationConfig, Ledger, Transaction]]:
        with self._opened(path) as (about, rotator):
            if isinstance(rotator, GuardedServiceRotator):
                ledger: Ledger = ServiceLedger(self._chain, about, rotator)
            else:
                ledger = Ledger(self._chain, path, about.store)
            grace = timedelta(seconds=about.grace)
            yield about, ledger, Transaction(ledger, rotator, grace=grace, read=self._read, clock=self._clock)

    def _read(self, path: str) -> SensitiveDict:
        data = self._chain.resolve(path, fresh=True).value
        assert isinstance(data, SensitiveDict)  # noqa: S101  # a whole secret
        return data

    def _status_of(self, path: str) -> RotationStatus:
        about = self._about(path)
        try:
            ledger = Ledger(self._chain, path, about.store)
            state, _ = ledger.load()
            found = self._status(about, ledger, state)
        except UnsupportedOperationError:
            if (at_service := self._status_at_service(about)) is not None:
                return at_service
            raise
        if found.state == "absent" or (state is not None and state.of_service):
            return self._status_at_service(about) or found
        return found

    def _status(self, about: RotationConfig, ledger: Ledger, state: RotationState | None) -> RotationStatus:
        last, absent = state.last if state is not None else None, False
        if last is None:
            try:
                last = ledger.secret().created
            except SecretNotFoundError:
                absent = True
        due = None if absent else self._due(about, last)
        found = RotationStatus(
            about.path,
            ledger.store,
            about.rotator.plugin,
            "absent" if absent else "never" if state is None else state.step.value,
            last_success=last,
            due=due,
            overdue=due is not None and due < self._clock(),
        )
        if state is None:
            return found
        return replace(
            found,
            unfinished=state.unfinished,
            owner=state.owner,
            lease_until=state.lease_until,
            grace_end=state.grace_end(timedelta(seconds=about.grace)) if state.step is RotationStep.PROMOTED else None,
            failures=state.failures,
            changed=state.changed,
        )

    def _due(self, about: RotationConfig, last: datetime | None) -> datetime | None:
        """Return when the secret is due: now if it has a schedule, and its age is not known."""
        if last is None and about.every is not None:
            return self._clock()
        return schedule.due_date(about, last)

    def _ended(
        self, about: RotationConfig, ledger: Ledger, state: RotationState | None, before: RotationState | None = None
    ) -> RotationStatus:
        """Return the status after a rotation, and label the secret with the last success and the due date.

        `before` is the state that the call found: of a promoted rotation, the end only revokes the old credential.
        """
        status = self._status(about, ledger, state)
        if state is not None and before is not None and before.step is RotationStep.PROMOTED:
            status = replace(status, only_revoked=state.step is RotationStep.DONE and state.id == before.id)
        if state is not None and state.step in {RotationStep.PROMOTED, RotationStep.DONE}:
            ledger.label({LAST_LABEL: _text(state.last), DUE_LABEL: _text(schedule.due_date(about, state.last))})
        return status

    def _status_at_service(self, about: RotationConfig) -> RotationStatus | None:
        """Return the status if a service rotates the secret. The rotator is opened, which needs its driver."""
        with self._opened(about.path) as (_, rotator):
            if not isinstance(rotator, GuardedServiceRotator):
                return None
            ledger = ServiceLedger(self._chain, about, rotator)
            state, _ = ledger.load()
            found = self._status(about, ledger, state)
            if found.unfinished or rotator.is_finished():
                return found
            return replace(found, state=RotationStep.APPLIED.value, unfinished=True)


def _open_plugin(config: Config, path: str) -> Rotator | ServiceRotator:
    """Return the rotator of a secret as its plugin returns it, which is not connected yet.

    Raises:
        PluginError: the plugin is not installed or broken.
        ConfigurationError: an option is wrong.
        StoreError: the opener raised another exception, or overran.
    """
    about = config.rotations[path].rotator
    opener = plugins.ConfiguredPlugin(config.with_store(about), path, plugins.ROTATORS).open
    opened = open_plugin(opener, about.plugin, "rotator")
    if isinstance(opened, ServiceRotator | Rotator):
        return opened
    raise plugins.broken(about.plugin, opened, "rotator", Rotator)


def check_rotation(config: Config, path: str) -> None:
    """Raise the error in the table of a rotation, if it has one. Nothing is connected."""
    Watchdog(_open_plugin(config, path), config.rotations[path].rotator.plugin, "rotator").close()


def _unknown_age(about: RotationConfig) -> UnsupportedOperationError:
    reason = "its service does not tell when it last rotated the secret, so no schedule can be kept"
    hint = f"Leave `every` out, and run by cron: strongroom rotate {shown(about.path)}"
    return UnsupportedOperationError(about.path, reason, store=about.store, hint=hint)


def _last(state: RotationState | None, secret: Secret) -> datetime | None:
    """Return when the secret was last rotated, or written if it never was."""
    return secret.created if state is None or state.last is None else state.last


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(timespec="seconds")
