"""Migrations to and from stores of this machine: the hard values arrive exactly, are verified and undone."""

import os
import secrets
from functools import partial

import pytest

from strongroom._boundary.guard import GuardedStore
from strongroom.migrate import ItemState, OnConflict, PlannedState, runs
from strongroom.secret import Secret, same
from strongroom.store.memory import open_memory
from strongroom_local.command.plugin import open_command
from strongroom_local.keyring_store import open_keyring
from strongroom_local.sops_store import open_sops
from support.scenarios.migrations import HARD, apply, failed, plan, undo, verify

pytestmark = pytest.mark.long

_REAL = pytest.mark.skipif("TEST_KEYRING" not in os.environ, reason="a real keyring: nox -s keyring")


@pytest.fixture(params=[pytest.param("keyring", marks=_REAL), "pass", "sops.yaml", "sops.json"])
def local(request, tmp_path):
    """An empty store, and the paths of the hard values that it cannot hold."""
    if request.param == "pass":
        gpg = request.getfixturevalue("gpg_home")
        return open_command(profile="pass", location=str(gpg.init(tmp_path / "store"))), set()
    if request.param == "keyring":
        request.getfixturevalue("session_keyring")
        return open_keyring(service=f"strongroom-{secrets.token_hex(4)}"), set()
    key = request.getfixturevalue("age_key")
    return open_sops(file=tmp_path / request.param, encrypt_to=[key.recipient], identity=key.file), set()


def held(store):
    """All secrets of a store."""
    guarded = GuardedStore(store, "local")
    return {path: secret.data for path, secret in guarded.read_many(guarded.walk()) if isinstance(secret, Secret)}


def test_hard_values_there_and_back_and_undone(local, tmp_path):
    """A plan names what the store cannot hold. The rest arrives, comes back, and an undo restores what was there."""
    store, cannot_hold = local
    source, back, home = open_memory(), open_memory(), tmp_path / "home"
    for path, data in HARD.items():
        source.write(path, data)
    before = {"plain": {"password": "old"}, "untouched": {"own": "value"}}
    for path, data in before.items():
        store.write(path, data)
    stores = {"source": source, "local": store, "back": back}

    planned = plan("source", "local", on_conflict=OnConflict.OVERWRITE, stores=stores, state_folder=home)
    impossible = {item.path: item.reason for item in planned.items if item.state is PlannedState.IMPOSSIBLE}
    assert impossible.keys() == cannot_hold
    assert all(impossible.values())
    for step in (partial(apply, planned), verify):
        report = (
            failed(step, stores=stores, state_folder=home) if cannot_hold else step(stores=stores, state_folder=home)
        )
        assert report.count(ItemState.DONE) == len(HARD) - len(cannot_hold)
    arrived = {path: data for path, data in HARD.items() if path not in cannot_hold}
    assert same(held(store), {**arrived, "untouched": before["untouched"]})

    (run,) = (each.name for each in runs(home))
    apply(plan("local", "back", stores=stores, state_folder=home), stores=stores, state_folder=home)
    assert same(held(back), held(store))
    undo(run, stores=stores, state_folder=home)
    assert held(store) == before
