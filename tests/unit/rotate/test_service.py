"""A rotation that a service carries out is a transaction in which create, promote and revoke do nothing."""

from datetime import timedelta

import pytest

from strongroom._config import RotationConfig
from strongroom._manager import SecretsManager
from strongroom._manager.manager import parts_of
from strongroom.errors import ConflictError, StoreUnavailableError, UnsupportedOperationError
from strongroom.rotate import service
from strongroom.rotate.ledger import Ledger
from strongroom.rotate.service import GuardedServiceRotator, ServiceLedger
from strongroom.rotate.state import LEASE, RotationStep
from strongroom.rotate.transaction import Transaction
from strongroom.store.memory import MemoryStore
from support.scenarios.rotating import PATH, Killed, Time, process_killed
from support.stores import RemoteStore


class Engine:
    """A service that is asked this often whether it has finished, and calls a function each time."""

    starts_once = False

    def __init__(self, time):
        self.time = time
        self.started = []
        self.questions = 0
        self.meanwhile = lambda: None
        self.fault = None

    def start(self, store, path):
        if self.fault is not None:
            raise self.fault
        self.started.append(self.time())

    def finished(self, store, path):
        self.questions -= 1
        if self.questions >= 0:
            self.meanwhile()
        return self.questions < 0

    def last_rotation(self, store, path):
        return self.started[-1] if self.started else None

    def close(self):
        pass


@pytest.fixture
def time():
    return Time()


@pytest.fixture
def engine(time, monkeypatch):
    monkeypatch.setattr(service, "_PAUSE", 0)
    return Engine(time)


@pytest.fixture
def transaction(time, engine):
    """Return a function that returns a new transaction, as another process would make one."""
    with SecretsManager(chain=[MemoryStore()]) as manager:
        about = RotationConfig(PATH, "engine", every=timedelta(days=30).total_seconds())

        def made():
            rotator = GuardedServiceRotator(engine, "engine", about, parts_of(manager).chain)
            ledger = ServiceLedger(parts_of(manager).chain, about, rotator)
            return Transaction(ledger, rotator, read=manager.get_secret, clock=time)

        made.record = lambda: Ledger(parts_of(manager).chain, PATH).load()[0]
        yield made


def test_the_lease_is_kept_while_the_service_works(transaction, engine, time):
    engine.questions = 5

    def others_wait():
        time.move(seconds=LEASE.total_seconds() * 0.6)
        with pytest.raises(ConflictError, match="is rotating it"):
            transaction().rotate()

    engine.meanwhile = others_wait
    state = transaction().rotate()
    assert (state.step, state.owner, len(engine.started)) == (RotationStep.DONE, "", 1)
    assert transaction.record() == state


def test_a_process_that_was_suspended_does_not_start_a_second_rotation(transaction, engine, time):
    """Another one has taken over, and finished."""
    engine.questions = 1

    def suspended():
        engine.meanwhile = lambda: None
        time.move(minutes=10)
        assert transaction().rotate().step is RotationStep.DONE

    engine.meanwhile = suspended
    with pytest.raises(ConflictError, match="taken the rotation over"):
        transaction().rotate()
    assert len(engine.started) == 1
    assert transaction.record().failures == 0


@pytest.mark.parametrize("asked", [False, True], ids=["before", "after"])
def test_a_rotation_of_a_killed_process_is_resumed(transaction, engine, time, asked, monkeypatch):
    """Killed before or after its request: it is started again only if the service has not rotated since."""

    def die(*_):
        if asked:
            engine.started.append(time())
        raise Killed

    transaction().rotate()
    time.move(days=31)
    with monkeypatch.context() as patches:
        patches.setattr(engine, "start", die)
        with process_killed():
            transaction().rotate()
    with pytest.raises(ConflictError, match="is rotating it"):
        transaction().resume()
    assert transaction().resume(take_over=True).step is RotationStep.DONE
    assert len(engine.started) == 2


def test_a_failure_is_raised_as_it_is_and_counted(transaction, engine, time):
    """Nothing has to be undone: no credential of ours has changed."""
    engine.fault = StoreUnavailableError(PATH, "the engine does not answer")
    with pytest.raises(StoreUnavailableError, match="the engine does not answer"):
        transaction().rotate()
    state = transaction.record()
    assert (state.step, state.failures, state.owner, engine.started) == (RotationStep.UNDONE, 1, "", [])
    engine.fault = None
    assert transaction().rotate().failures == 0


def test_it_cannot_be_undone(transaction, engine, time):
    transaction().rotate()
    with pytest.raises(UnsupportedOperationError, match="'engine' leaves the rotation to the service"):
        transaction().undo()
    assert len(engine.started) == 1


def test_a_read_while_the_service_works_does_not_keep_the_old_credential(engine):
    store = RemoteStore({PATH: {"password": "old-password"}})
    engine.starts_once, engine.questions = True, 1
    with SecretsManager(chain=[store], cache_ttl=300) as manager:

        def read_and_change():
            assert manager.get_secret(PATH, "password") == "old-password"
            store.write(PATH, {"password": "new-password"})

        engine.meanwhile = read_and_change
        about = RotationConfig(PATH, "engine")
        rotator = GuardedServiceRotator(engine, "engine", about, parts_of(manager).chain)
        Transaction(ServiceLedger(parts_of(manager).chain, about, rotator), rotator, read=manager.get_secret).rotate()
        assert manager.get_secret(PATH, "password") == "new-password"
