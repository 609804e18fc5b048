"""`strongroom keys`: the ids of a keyset, and no key."""

import json

import pytest

from strongroom import SecretsManager
from strongroom._cli.options import Invocation
from strongroom.store.memory import MemoryStore

PATH = "columns/customer"
KEYS = {"48291": "canary-" * 6, "61332": "canary/" * 6}


@pytest.fixture
def store(monkeypatch):
    store = MemoryStore()
    monkeypatch.setattr(store, "close", lambda: None)
    monkeypatch.setattr(Invocation, "open", lambda _: SecretsManager(chain=[store]))
    return store


@pytest.mark.parametrize(
    ("named", "lines"),
    [
        ({"primary": "48291"}, ["48291\tencrypts", "61332\tdecrypts"]),
        ({"primary": "48291", "previous": "61332"}, ["48291\tnext", "61332\tencrypts"]),
    ],
)
def test_it_prints_each_key_with_its_use(command, store, named, lines):
    store.write(PATH, {**KEYS, **named})
    done = command("keys", PATH)
    assert done.out.decode().splitlines() == lines
    document = json.loads(command("keys", PATH, "--json").out)
    del document["version"]
    assert document == {
        "path": PATH,
        "store": "memory",
        "encrypting": named.get("previous", "48291"),
        "primary": "48291",
        "previous": named.get("previous"),
        "keys": ["48291", "61332"],
    }
    assert b"canary" not in done.out + command("keys", PATH, "--json").out


def test_a_secret_that_is_no_keyset_is_refused_without_its_values(command, store):
    store.write(PATH, {"password": "canary"})
    done = command("keys", PATH)
    assert done.code == 6
    assert "Invalid data: columns/customer" in done.err
    assert "canary" not in done.err
