"""The rotator of keysets: no order of kills, undo and take-over loses a key that a process may have encrypted with."""

import itertools
from contextlib import suppress
from datetime import timedelta

import pytest

from strongroom._manager import SecretsManager
from strongroom._manager.manager import parts_of
from strongroom.encryption import PREVIOUS, Keyset
from strongroom.errors import RotationError, StrongroomError, UnsupportedOperationError
from strongroom.rotate.guard import GuardedRotator
from strongroom.rotate.ledger import Ledger
from strongroom.rotate.spi import RestoringRotator
from strongroom.rotate.state import RotationStep
from strongroom.rotate.transaction import Transaction
from strongroom.store.memory import MemoryStore
from strongroom.testing import RotatorContract
from strongroom_rotators.encryption_key import open_encryption_key
from support.scenarios.rotating import Killed, Time, process_killed

PATH = "columns/customer"
ONE = {"key": "a-single-key-of-at-least-32-characters"}
TWO = {"primary": "48291", "48291": "k" * 43, "61332": "o" * 43}
WRITES = 7
"""Of a rotation: of the state at create, apply, prove, promote and revoke, and twice of the secret."""

BOUNDARIES = [None, *itertools.product(range(1, WRITES + 1), (False, True))]
"""No kill, or one before or after a write."""


class Keysets(MemoryStore):
    """Records each keyset that was stored, and calls `intrude` once before or after the write of a number."""

    def __init__(self, first):
        super().__init__()
        self.stored = [first]
        self.write(PATH, first)
        self.arm(None, None)

    def arm(self, boundary, intrude):
        self.left, self.after = boundary or (0, False)
        self.intrude = intrude

    def write_if(self, path, data, expected):
        self.left -= 1
        mine = self.left == 0
        if mine and not self.after:
            self.intrude()
        version = super().write_if(path, data, expected)
        if path == PATH:
            self.stored.append({key: str(value) for key, value in data.items()})
        if mine and self.after:
            self.intrude()
        return version


class Rotated:
    """A keyset, and processes that rotate it."""

    def __init__(self, first=TWO, *, restoring=True):
        self.store = Keysets(first)
        self.chain = parts_of(SecretsManager(chain=[self.store])).chain
        self.time = Time()
        self.rotator = open_encryption_key()
        self.restoring = restoring

    def transaction(self, grace=0):
        rotator = GuardedRotator(self.rotator, "encryption-key", PATH)
        if not self.restoring:
            rotator.restored = lambda _stored, old: old
        return Transaction(
            Ledger(self.chain, PATH), rotator, grace=timedelta(seconds=grace), read=dict, clock=self.time
        )

    def run(self, command, boundary=None):
        """Run a command when the lease has ended, perhaps to its kill. An error about nothing to do is ignored."""
        self.time.move(minutes=10)
        options = {} if command == "rotate" else {"take_over": True}
        transaction = self.transaction()
        if boundary is None:
            with suppress(UnsupportedOperationError):
                getattr(transaction, command)(**options)
            return
        self.store.arm(boundary, self.kill)
        try:
            with process_killed():
                with suppress(StrongroomError):
                    getattr(transaction, command)(**options)
                raise Killed  # it has fewer writes
        finally:
            self.store.arm(None, None)

    def kill(self):
        raise Killed

    def check(self):
        """No key that was ever stored is lost, and each one could be read by every process before it encrypted."""
        keysets = [Keyset.parse(stored) for stored in self.store.stored]
        for before, after in itertools.pairwise(keysets):
            assert after.encrypting in before.keys
            assert set(before.keys) <= set(after.keys)


@pytest.mark.parametrize("first", [ONE, TWO], ids=["one key", "two keys"])
@pytest.mark.parametrize("command", ["resume", "undo"])
@pytest.mark.parametrize("seconds", [[None], pytest.param(BOUNDARIES, marks=pytest.mark.long)], ids=["one", "two"])
def test_no_order_of_kills_and_an_end_loses_a_key(first, command, seconds):
    """Each kill of a rotation, then perhaps each kill of its resume or undo, then either end."""
    for boundary, second, end in itertools.product(BOUNDARIES, seconds, ["resume", "undo", "rotate"]):
        rotated = Rotated(first)
        rotated.run("rotate", boundary)
        rotated.run(command, second)
        rotated.run(end)
        rotated.check()


@pytest.mark.parametrize("other", ["resume", "undo"])
@pytest.mark.parametrize(("write", "after"), BOUNDARIES[1:])
def test_a_process_that_was_taken_over_and_wakes_up_loses_no_key(other, write, after):
    """It was suspended before or after a write, and another process ended the rotation meanwhile."""
    rotated = Rotated()
    rotated.store.arm((write, after), lambda: rotated.run(other))
    with suppress(StrongroomError):
        rotated.transaction().rotate()
    rotated.check()
    rotated.run("rotate")
    rotated.check()


def test_without_the_rule_for_undo_a_kill_at_the_end_loses_the_new_key():
    """The rule is needed: the tests above fail without it."""
    rotated = Rotated(restoring=False)
    rotated.run("rotate", (6, True))
    rotated.run("undo")
    with pytest.raises(AssertionError):
        rotated.check()


def test_the_former_key_encrypts_until_the_grace_time_is_over():
    rotated = Rotated()
    state = rotated.transaction(grace=60).rotate()
    assert state.step is RotationStep.PROMOTED
    keyset = Keyset.parse(rotated.store.stored[-1])
    assert keyset.encrypting == keyset.previous == "48291"
    assert keyset.primary not in TWO
    rotated.time.move(seconds=61)
    rotated.transaction(grace=60).resume()
    assert PREVIOUS not in rotated.store.stored[-1]
    assert Keyset.parse(rotated.store.stored[-1]).encrypting == keyset.primary


@pytest.mark.parametrize("first", [ONE, TWO], ids=["one key", "two keys"])
def test_an_undo_of_a_rotation_that_is_done_lets_the_former_key_encrypt(first):
    rotated = Rotated(first)
    rotated.run("rotate")
    rotated.transaction().undo()
    keyset = Keyset.parse(rotated.store.stored[-1])
    assert keyset.encrypting == Keyset.parse(first).encrypting
    assert len(keyset.keys) == len(Keyset.parse(first).keys) + 1
    rotated.check()


def test_an_undo_to_a_key_that_was_dropped_is_refused():
    rotated = Rotated()
    rotated.run("rotate")
    rotated.store.write(PATH, {key: value for key, value in rotated.store.stored[-1].items() if key != "48291"})
    rotated.store.stored = [dict(rotated.store.read(PATH).data)]
    with pytest.raises(RotationError, match="'primary' names a key that it does not have"):
        rotated.transaction().undo()
    rotated.check()
    assert PREVIOUS not in rotated.store.read(PATH).data


class TestContract(RotatorContract):
    local = True
    impossible = frozenset({"unreachable"})

    @pytest.fixture
    def rotator(self):
        return open_encryption_key()

    @pytest.fixture
    def current(self):
        return TWO


def test_it_declares_what_its_undo_stores():
    assert isinstance(open_encryption_key(), RestoringRotator)
