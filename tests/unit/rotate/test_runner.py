"""The scheduler, on a controlled clock: each due rotation happens once, whatever the number of replicas."""

import os
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from strongroom._manager import SecretsManager
from strongroom._manager.manager import parts_of
from strongroom.errors import ConfigurationError, RotationError, StoreUnavailableError
from strongroom.rotate.rotations import Rotations
from strongroom.rotate.runner import Runner
from strongroom.rotate.state import pending_path
from strongroom.secret import Secret
from strongroom.store.memory import MemoryStore
from support.scenarios.rotating import Time

DAYS = 60 if "TEST_ROTATION_KILLS" in os.environ else 20
"""Days of the simulation: `nox -s rotation` runs the longer one."""

START = "2026-01-01T00:00:00+00:00"

DAILY = '[rotation.daily]\nrotator = "token"\nevery = "1d"\n'
WEEKLY = '[rotation.weekly]\nrotator = "token"\nevery = "7d"\nwindow = "02:00-05:00"\njitter = "1h"\ngrace = "6h"\n'


class DatedStore(MemoryStore):
    """A memory store whose versions are written at the time of a controlled clock."""

    def __init__(self, time):
        super().__init__()
        self._time = time
        self.dates = {}

    def read(self, path):
        secret = super().read(path)
        return Secret(path, secret.data, secret.version, self.dates[path][secret.version], secret.metadata)

    def write(self, path, data):
        version = super().write(path, data)
        self.dates.setdefault(path, {})[version] = self._time()
        return version


@pytest.fixture
def time():
    return Time(START)


@pytest.fixture
def store(time):
    store = DatedStore(time)
    for path in ("daily", "weekly"):
        store.write(path, {"token": f"first-token-of-{path}"})
    return store


def rotations_of(store, time, tables=DAILY + WEEKLY):
    Path("strongroom.toml").write_text(tables)
    manager = SecretsManager(chain=[store])
    return Rotations(parts_of(manager).chain, parts_of(manager).threads, manager.config, clock=time)


def replica(store, time, tables=DAILY + WEEKLY):
    """The scheduler of one replica."""
    return Runner(rotations_of(store, time, tables))


def test_two_schedulers_rotate_each_secret_once_when_it_is_due(store, time):
    """Two replicas look at the same moment, every two hours for many days."""
    replicas = [replica(store, time) for _ in range(2)]
    done = {"daily": [], "weekly": []}
    failures = []
    for _ in range(DAYS * 12):
        time.move(hours=2)
        outcomes = []
        barrier = threading.Barrier(2)

        def look(runner, outcomes=outcomes, barrier=barrier):
            barrier.wait(60)
            outcomes += runner.run_once()

        threads = [threading.Thread(target=look, args=(runner,)) for runner in replicas]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        failures += [outcome for outcome in outcomes if outcome.error is not None]
        for path, times in done.items():
            if any(o.path == path and o.status and o.status.last_success == time.now for o in outcomes):
                times.append(time.now)
    assert not failures
    assert len(done["daily"]) == DAYS
    assert {later - earlier for earlier, later in zip(done["daily"], done["daily"][1:], strict=False)} == {
        timedelta(days=1)
    }
    assert len(store.dates["daily"]) == 1 + DAYS
    assert len(done["weekly"]) == len(store.dates["weekly"]) - 1 == DAYS // 8
    assert all(2 <= moment.hour < 5 for moment in done["weekly"])
    assert all(7 <= (b - a).days <= 8 for a, b in zip(done["weekly"], done["weekly"][1:], strict=False))


@pytest.mark.parametrize("hours", [1, 12], ids=["in the grace time", "after it"])
def test_a_rotation_that_was_undone_is_due_again_after_one_interval(store, time, hours):
    """Not at the next look: an operator undoes it since it broke an application. By hand it is rotated at once."""
    rotations = rotations_of(store, time, f'{DAILY}grace = "6h"\n')
    time.move(days=1)
    rotated = time.now
    rotations.rotate_if_due("daily")
    time.move(hours=hours)
    rotations.rotate_if_due("daily")
    undone = rotations.undo("daily")
    assert (undone.state, undone.last_success, undone.due) == ("undone", rotated, rotated + timedelta(days=1))
    assert (undone.overdue, undone.failures) == (False, 0)
    assert rotations.rotate_if_due("daily") is None
    assert rotations.rotate("daily").state == "promoted"
    rotations.undo("daily")
    time.move(days=1)
    assert rotations.rotate_if_due("daily").state == "promoted"


def test_what_a_dead_process_has_left_is_finished(store, time):
    runner = replica(store, time, DAILY)
    time.move(days=1)
    store.fail_at = 3
    written = store.write_if

    def write_if(path, data, expected):
        store.fail_at -= 1
        if store.fail_at < 0:
            raise StoreUnavailableError(None, "connection refused")
        return written(path, data, expected)

    store.write_if = write_if
    [outcome] = runner.run_once()
    assert isinstance(outcome.error, RotationError)
    del store.write_if
    assert runner.run_once() == []  # its lease
    time.move(minutes=3)
    [outcome] = runner.run_once()
    assert outcome.status.state == "done"


def test_a_failed_rotation_is_repeated_after_a_pause(store, time):
    """The program of `apply` fails; one that works in its place is tried when the pause is over, not before."""
    tables = '[rotation.daily]\nrotator = "command"\nkey = "token"\nevery = "1d"\nprove = ["true"]\napply = '
    time.move(days=1)
    [outcome] = replica(store, time, f'{tables}["false"]').run_once()
    assert isinstance(outcome.error, RotationError)
    assert "at step apply" in str(outcome.error)
    healed = replica(store, time, f'{tables}["true"]')
    assert healed.run_once() == []
    time.move(minutes=1)
    [outcome] = healed.run_once()
    assert (outcome.status.state, outcome.status.failures) == ("done", 0)


def test_without_a_schedule_a_secret_is_left_alone(store, time):
    runner = replica(store, time, '[rotation.daily]\nrotator = "token"\n')
    time.move(days=1000)
    assert runner.run_once() == []


def test_an_error_does_not_end_the_round(store, time):
    store.delete("daily")
    runner = replica(store, time)
    time.move(days=30, hours=3)
    assert [(o.path, o.error is None) for o in runner.run_once()] == [("daily", False), ("weekly", True)]


def test_it_runs_until_it_is_stopped_and_finishes_what_it_has_begun(store, time):
    stop = threading.Event()
    runner = Runner(rotations_of(store, time), report=lambda outcome: stop.set())
    time.move(days=30, hours=3)
    runner.run(stop)
    assert len(store.dates["daily"]) == 2
    assert len(store.dates["weekly"]) == 1


def test_status_tells_what_is_due_and_overdue(store, time):
    rotations = rotations_of(store, time)
    daily, weekly = rotations.status()
    assert (daily.state, daily.due, daily.overdue) == ("never", datetime(2026, 1, 2, tzinfo=UTC), False)
    assert weekly.due.hour in {2, 3}
    time.move(days=2)
    assert [status.overdue for status in rotations.status()] == [True, False]
    with pytest.raises(ConfigurationError, match=r'add \[rotation\."other"\]; known: daily, weekly'):
        rotations.status(["other"])
    Runner(rotations).run_once()
    assert [status.state for status in rotations.status()] == ["done", "never"]
    assert store.read_metadata("daily") == {
        "rotated-at": "2026-01-03T00:00:00+00:00",
        "rotate-by": "2026-01-04T00:00:00+00:00",
    }
    assert "new" not in str(store.read(pending_path("daily")).data)


def test_a_rotator_that_is_not_there_is_named(store, time):
    runner = replica(store, time, '[rotation.daily]\nrotator = "tokn"\nevery = "1d"\n')
    [outcome] = runner.run_once()
    assert 'did you mean "token"' in str(outcome.error)
