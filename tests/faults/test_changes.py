"""Every kind of change while a cluster loses its leader: each is made, and no caller sees an unknown outcome."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest

from strongroom.errors import SecretNotFoundError
from strongroom.store import time_limit

CALL = 10.0
"""Seconds that a call has by default."""
OUT = 5.0
"""Seconds from the loss of the leader to the end of the load: an election takes two to four."""


def delete(front, path, number):
    front.write(path, {"n": number})
    front.delete(path)
    with pytest.raises(SecretNotFoundError):
        front.read(path)


def undelete(front, path, number):
    version = front.write(path, {"n": number})
    front.delete(path)
    front.undelete(path, version)
    assert front.read(path).data == {"n": number}


def destroy(front, path, number):
    version = front.write(path, {"n": number})
    front.destroy(path, version)
    assert front.versions(path)[-1].destroyed


def label(front, path, number):
    if number == 0:
        front.write(path, {"n": number})
    front.write_metadata(path, {"n": str(number)})
    assert front.read_metadata(path) == {"n": str(number)}


def batch(front, path, number):
    items = {f"{path}/{each}": {"n": number} for each in range(20)}
    written = dict(front.write_many(items.items()))
    assert set(written.values()) <= {None, number + 1}, written
    assert {each: secret.data for each, secret in front.read_many(items)} == items


def write(front, path, number):
    front.write(path, {"n": number})
    assert front.read(path).data == {"n": number}


KINDS = [(2, delete), (2, undelete), (2, destroy), (2, label), (2, batch), (1, write), (1, delete), (1, batch)]


@pytest.mark.parametrize("blow", ["kill", "pause", "step_down"])
def test_every_kind_of_change_is_made_while_the_leader_is_lost(cluster, open_guarded, blow):
    """The caller reads back what it was told."""
    fronts = {version: open_guarded(mount=cluster.fresh_mount(version=version)) for version in (1, 2)}
    stopping, rounds = threading.Event(), {}

    def work(version, kind):
        path = kind.__name__
        for number in count():
            with time_limit(CALL):
                kind(fronts[version], path, number)
            rounds[version, kind] = number
            if stopping.wait(0.01):
                return

    with ThreadPoolExecutor(len(KINDS)) as threads:
        running = [threads.submit(work, *one) for one in KINDS]
        try:
            while len(rounds) < len(KINDS) and not any(one.done() for one in running):
                time.sleep(0.05)
            cluster.step_down() if blow == "step_down" else getattr(cluster, blow)(cluster.leader())
            before = dict(rounds)
            stopping.wait(OUT)
        finally:
            stopping.set()
        for one in running:
            one.result()
    assert all(rounds[one] > before[one] for one in KINDS)
