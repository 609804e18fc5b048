"""A service with passwords, and a rotator of it: what the tests of rotations rotate without a real server."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest

from strongroom._manager import SecretsManager
from strongroom._manager.manager import parts_of
from strongroom.errors import AuthenticationError, StoreUnavailableError
from strongroom.rotate.guard import GuardedRotator
from strongroom.rotate.ledger import Ledger
from strongroom.rotate.spi import generate
from strongroom.rotate.state import pending_path, pending_secret
from strongroom.rotate.transaction import Transaction
from strongroom.store.memory import MemoryStore

PATH = "database/app"
FIRST = {"username": "app", "password": "first-password", "host": "db.example"}


class Time:
    """The present time, moved by hand."""

    def __init__(self, start="2026-01-01T00:00:00+00:00"):
        self.now = datetime.fromisoformat(start).astimezone(UTC)

    def __call__(self):
        return self.now

    def move(self, **duration):
        """Let this much time pass."""
        self.now += timedelta(**duration)


class Service:
    """Accepts the passwords of one user: two at a time, or one."""

    def __init__(self, *, two=True):
        self.accepted = {FIRST["password"]}
        self.two = two

    def lets_in(self, secret):
        """Return True if the secret's password is accepted."""
        return secret.get("password") in self.accepted


class ServiceUserRotator:
    """Rotates the password of `Service`. `faults` has the error that a method raises, by its name."""

    def __init__(self, service):
        self.service = service
        self.faults = {}
        self.calls = []
        self.after = {}
        self.closed = 0

    def create(self, current):
        self.called("create")
        return {"password": generate()}

    def apply(self, credentials):
        self.called("apply")
        new = credentials.new["password"].reveal()
        self.service.accepted = {*self.service.accepted, new} if self.service.two else {new}
        if "apply" in self.after:
            self.after.pop("apply")()

    def prove(self, credentials):
        self.called("prove")
        if not self.service.lets_in(credentials.new):
            raise AuthenticationError(None, "the service refuses the login")

    def revoke(self, credentials):
        self.called("revoke")
        self.service.accepted -= {credentials.old["password"].reveal()} - {credentials.new["password"].reveal()}
        return ()

    def close(self):
        self.closed += 1

    def called(self, method):
        self.calls.append(method)
        if method in self.faults:
            raise self.faults[method]


class Killed(KeyboardInterrupt):  # the only kind that passes through plugin code
    """Ends a process in the middle of a step, without a chance to give its lease up."""


@contextmanager
def process_killed():
    """Expect `Killed` from a transaction, which keeps its lease then: a killed process does not give it up."""
    with pytest.MonkeyPatch.context() as patches:
        patches.setattr(Transaction, "_release", lambda _transaction: None)  # any exception in a test would release it
        with pytest.raises(Killed):
            yield


class KillableStore(MemoryStore):
    """Kills its process before or after the write of this number, counted from the end of `arm`."""

    left = None

    def arm(self, writes, *, after):
        self.left, self.after = writes, after

    def write_if(self, path, data, expected):
        if self.left is None:
            return super().write_if(path, data, expected)
        self.left -= 1
        if self.left > 0:
            return super().write_if(path, data, expected)
        if self.left < 0 or not self.after:
            raise Killed
        super().write_if(path, data, expected)
        raise Killed


WRITES = 6
"""Of a rotation or its undo: of the state at create, apply, prove, promote and revoke, and of the secret."""


def killed_at_each_write(test):
    """Run a test for each write of a rotation: killed before or after it, with either end, and either service.

    The test takes `two`, `write`, `after` and `finish`, which is the method that another process calls.
    """
    for name, values, ids in (
        ("two", [True, False], ["two credentials", "one credential"]),
        ("write", range(1, WRITES + 1), None),
        ("after", [False, True], ["before", "after"]),
        ("finish", ["resume", "undo"], None),
    ):
        test = pytest.mark.parametrize(name, values, ids=ids)(test)
    return test


class Rotating:
    """A secret in a memory store, the service that checks it, and transactions of them.

    Attributes:
        store, manager, service, rotator, time: the parts.
    """

    def __init__(self, *, two=True, store=None):
        self.store = MemoryStore() if store is None else store
        self.store.write(PATH, FIRST)
        self.manager = SecretsManager(chain=[self.store])
        self.service = Service(two=two)
        self.rotator = ServiceUserRotator(self.service)
        self.time = Time()

    def transaction(self, *, rotator=None, plugin="service", grace=0):
        """Return a new transaction, as another process would make one."""
        return Transaction(
            Ledger(parts_of(self.manager).chain, PATH),
            GuardedRotator(rotator or self.rotator, plugin, PATH),
            grace=timedelta(seconds=grace),
            read=self.manager.get_secret,
            clock=self.time,
        )

    @property
    def secret(self):
        """The secret as it is stored."""
        return self.store.read(PATH).data

    @property
    def document(self):
        """The document of the rotation's state."""
        return self.store.read(pending_path(PATH)).data

    @property
    def pending(self):
        """The pending secret, or None."""
        return pending_secret(self.document)

    def works(self):
        """Return True if a stored credential is accepted: the secret's or the pending one."""
        stored = [self.secret]
        if pending_path(PATH).rpartition("/")[2] in list(self.store.list_entries(f"{PATH}/rotation")):
            stored.append(self.pending or {})
        return any(map(self.service.lets_in, stored))


OUTAGE = StoreUnavailableError(None, "the service does not answer")
