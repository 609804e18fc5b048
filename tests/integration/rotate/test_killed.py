"""Rotations, resumes and undos that kill -9 ends at any step: a stored credential works, and the end is clean."""

from __future__ import annotations

import itertools
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from programs import rotation_process
from strongroom.rotate.state import KEY, pending_path
from support.scenarios.rotate_settings import BY_ADMIN, OWN_PASSWORD, PATH, TWO_USERS

pytestmark = pytest.mark.long

ROUNDS = int(os.environ.get("TEST_ROTATION_KILLS", "0"))
"""Rounds with random kills. `nox -s rotation` runs 100; the suite kills at each boundary once."""

MOST_BOUNDARIES = 60
FIRST_HALF = range(1, 13)


class Process:
    """Runs commands of a rotation in children of one process, which die at a boundary."""

    def __init__(self, config):
        command = [sys.executable, rotation_process.__file__, str(config), PATH]
        environment = {**os.environ, "PYTHONPATH": str(Path(rotation_process.__file__).parents[1])}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def __call__(self, command, boundary=0):
        """Return `done`, `killed` or an error. Boundary 0 kills nothing."""
        print(command, boundary, file=self._process.stdin, flush=True)
        return self._process.stdout.readline().strip()

    def close(self):
        self._process.communicate(timeout=30)


@pytest.fixture
def killable(configured):
    """Return a function that takes settings, and returns what they configure and a process to kill."""
    processes = []

    def start(settings):
        there = configured(settings)
        processes.append(Process(there.config))
        return there, processes[-1]

    yield start
    for process in processes:
        process.close()


def stored(there):
    """The secret, and the pending secret if there is one."""
    return there.read(PATH), {key: value for key, value in there.read(pending_path(PATH)).items() if key != KEY}


def check_usable(there):
    """At this moment a stored credential works."""
    assert any(map(there.works, stored(there)))


def check_clean(there):
    """The secret works, and nothing is left of the rotation but its state without values."""
    secret, pending = stored(there)
    assert there.works(secret)
    assert not pending
    state = there.read(pending_path(PATH)).get(KEY, {"step": "done"})
    assert state["step"] in {"done", "undone"}
    assert not {"new", "old"} & state.keys()
    accepted = [user for user in there.users if there.works({**secret, "user": user})]
    assert accepted == [secret["user"]]


def is_under_way(there):
    state = there.read(pending_path(PATH)).get(KEY)
    return state is not None and state["step"] not in {"done", "undone"}


def finish(there, process, command):
    """Let another process resume or undo, if there is anything to do; the former credential is back after an undo."""
    if is_under_way(there):
        assert process(command) == "done"
    check_clean(there)


@pytest.mark.parametrize(
    ("settings", "boundaries"),
    [
        pytest.param(TWO_USERS, FIRST_HALF, id="two users, until it is proved"),
        pytest.param(TWO_USERS, range(13, MOST_BOUNDARIES), id="two users, from then on"),
        pytest.param(OWN_PASSWORD, range(1, MOST_BOUNDARIES) if ROUNDS else [5, 6, 7, 14, MOST_BOUNDARIES], id="own"),
        pytest.param(BY_ADMIN, range(1, MOST_BOUNDARIES) if ROUNDS else [6, 14, MOST_BOUNDARIES], id="admin"),
    ],
)
def test_a_rotation_that_is_killed_at_any_boundary_can_be_finished_or_undone(killable, settings, boundaries):
    """The suite kills at each boundary once; with one user, around its change and after its promotion."""
    there, process = killable(settings)
    ways = itertools.cycle(["resume", "undo"])
    for boundary in boundaries:
        if (answer := process("rotate", boundary)) == "done":
            assert boundary > 20, "the kills have missed most of the steps"
            break
        assert answer == "killed"
        check_usable(there)
        finish(there, process, next(ways))
    assert answer == "done" or boundaries == FIRST_HALF, "the rotation never ends"
    check_clean(there)


@pytest.mark.parametrize("command", ["resume", "undo"])
def test_a_resume_or_an_undo_can_be_killed_too(killable, command):
    there, process = killable(TWO_USERS)
    for boundary in range(1, MOST_BOUNDARIES, 1 if ROUNDS else 7):
        assert process("rotate", 9) == "killed"  # before the new credential is proved
        assert is_under_way(there)
        answer = process(command, boundary)
        check_usable(there)
        if answer == "done":
            break
        assert answer == "killed"
        finish(there, process, command)
    else:
        pytest.fail("it never ends")
    check_clean(there)


def test_an_undo_of_a_rotation_that_is_done_can_be_killed_too(killable):
    """The suite kills around the change of the password and after the promotion; the last undo is not killed."""
    there, process = killable(TWO_USERS)
    before = there.read(PATH)
    ways = itertools.cycle(["resume", "undo"])
    for boundary in range(1, MOST_BOUNDARIES) if ROUNDS else [3, 4, 10, MOST_BOUNDARIES]:
        assert process("rotate") == "done"
        if (answer := process("undo", boundary)) == "done":
            break
        assert answer == "killed"
        check_usable(there)
        finish(there, process, next(ways))
        before = there.read(PATH)
    assert answer == "done", "it never ends"
    check_clean(there)
    assert there.read(PATH) == before


@pytest.mark.skipif(not ROUNDS, reason="a long proof: nox -s rotation")
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("settings", [TWO_USERS, OWN_PASSWORD, BY_ADMIN], ids=["two users", "own", "admin"])
def test_random_kills_never_lose_the_credential(killable, settings):
    """Each round kills a rotation, and then its resume or undo, up to three times at random boundaries."""
    there, process = killable(settings)
    draw = random.Random(12)
    for number in range(ROUNDS):
        if process("rotate", draw.randint(1, 24)) == "done":
            check_clean(there)
            continue
        check_usable(there)
        for _ in range(draw.randint(0, 3)):
            if is_under_way(there):
                assert process(draw.choice(["resume", "undo"]), draw.randint(1, 16)) in {"killed", "done"}, number
                check_usable(there)
        finish(there, process, draw.choice(["resume", "undo"]))
