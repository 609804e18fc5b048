"""`strongroom copy`: one secret, with its labels."""

import json
from dataclasses import replace
from pathlib import Path

import pyrage
import pytest

from strongroom._boundary.guard import GuardedStore
from strongroom.errors import PermissionDeniedError, StoreError
from strongroom.migrate import runs
from strongroom.migrate.endpoints import Endpoints
from strongroom.migrate.sources import StoreSource
from strongroom.store.memory import MemoryStore
from support.scenarios.migrations import held, write

CANARY = "canary-7f3a"
PATH = "app/config"


@pytest.fixture(autouse=True)
def files():
    """A file with a secret, and one with another value for a key of it."""
    for name, data in (("a.json", {"k": CANARY, "n": 5}), ("b.json", {"k": f"{CANARY}-b", "mine": "x"})):
        write(name, json.dumps({PATH: data}))


@pytest.fixture
def two(monkeypatch):
    """Two stores in memory that outlive a command, as `left` and `right`."""
    stores = {"left": MemoryStore(), "right": MemoryStore()}
    Path("strongroom.toml").write_text(
        'chain = ["env"]\n[stores.left]\nplugin = "memory"\n[stores.right]\nplugin = "memory"\n', "utf-8"
    )
    monkeypatch.setattr(Endpoints, "source", lambda self, name: StoreSource(GuardedStore(stores[name], name), name))
    monkeypatch.setattr(Endpoints, "target", lambda self, name: GuardedStore(stores[name], name))
    return stores["left"], stores["right"]


COPY = ("copy", PATH, "--from", "left", "--to", "right")


def test_a_copy_says_where_it_writes(command):
    """And the names of the keys, when it is done; a second one has nothing to do."""
    done = command("copy", PATH, "--from", "json:a.json", "--to", "json:c.json")
    assert (done.code, done.out) == (0, b"")
    assert done.err.splitlines() == [
        f"strongroom: copying {PATH} from json:a.json to store json:c.json",
        f"strongroom: copied k, n to {PATH}. To roll back: `strongroom migrate undo {runs()[-1].name}`",
    ]
    assert held("c.json") == held("a.json")
    assert Path("c.json").stat().st_mode & 0o777 == 0o600
    done = command("copy", PATH, "--from", "json:a.json", "--to", "json:c.json")
    assert (done.code, "the target has all of it already" in done.err) == (0, True)


def test_a_copy_may_have_another_path(command):
    """What is at the old one stays as it is."""
    done = command("copy", PATH, "--from", "json:a.json", "--to", "json:b.json", "--as", "app/other", "--json")
    assert done.code == 0
    document = json.loads(done.out)
    assert next(iter(document.items())) == ("version", 2)
    assert (document["new_path"], document["keys"], document["written"]) == ("app/other", ["k", "n"], True)
    assert held("b.json")[PATH] == {"k": f"{CANARY}-b", "mine": "x"}
    assert held("b.json")["app/other"] == {"k": CANARY, "n": 5}


@pytest.mark.parametrize(
    ("policy", "code", "after"),
    [
        ("fail", 6, {"k": f"{CANARY}-b", "mine": "x"}),
        ("skip", 0, {"k": f"{CANARY}-b", "mine": "x"}),
        ("merge", 0, {"k": f"{CANARY}-b", "mine": "x", "n": 5}),
        ("overwrite", 0, {"k": CANARY, "mine": "x", "n": 5}),
    ],
)
def test_another_value_at_the_target_is_as_the_policy_says(command, policy, code, after):
    """The key is named, and no value."""
    done = command("copy", PATH, "--from", "json:a.json", "--to", "json:b.json", "--on-conflict", policy, "--yes")
    assert (done.code, held("b.json")[PATH]) == (code, after)
    assert ("another value for k)" in done.err) is (policy == "fail")
    assert ("copied k, n to" in done.err) is (policy == "overwrite")
    assert ("copied n to" in done.err) is (policy == "merge")
    assert CANARY not in done.err


def test_an_overwrite_without_versions_is_asked_about(command):
    """A file keeps no versions."""
    done = command("copy", PATH, "--from", "json:a.json", "--to", "json:b.json", "--on-conflict", "overwrite")
    assert (done.code, held("b.json")[PATH]["k"]) == (2, f"{CANARY}-b")
    assert f"This overwrites {PATH} in store json:b.json, which keeps no versions: without a terminal" in done.err


def test_a_copy_can_be_undone(command):
    """It is a migration of one secret."""
    before = held("b.json")
    command("copy", PATH, "--from", "json:a.json", "--to", "json:b.json", "--on-conflict", "overwrite", "--yes")
    assert held("b.json") != before
    assert command("migrate", "undo", runs()[-1].name, "--yes").code == 0
    assert held("b.json") == before


def test_what_is_not_there_is_not_copied(command):
    """And nothing is made of it."""
    done = command("copy", "app/none", "--from", "json:a.json", "--to", "json:c.json")
    assert (done.code, Path("c.json").exists()) == (3, False)
    assert command("copy", PATH, "--from", "json:a.json").code == 2
    assert command("copy", PATH, "--from", "none", "--to", "json:c.json").code == 7


@pytest.mark.parametrize(
    ("policy", "owner", "lost"),
    [("fail", "nobody", ["labels, for which the target keeps its own text: owner"]), ("overwrite", "billing", [])],
)
def test_labels_come_along_and_the_targets_stay(command, two, policy, owner, lost):
    """Even if the data is equal already. The policy decides about a label with another text."""
    left, right = two
    left.write(PATH, {"k": CANARY})
    left.write_metadata(PATH, {"owner": "billing", "team": "a"})
    right.write(PATH, {"k": CANARY})
    right.write_metadata(PATH, {"tier": "1", "owner": "nobody"})
    done = command(*COPY, "--on-conflict", policy, "--json")
    assert (done.code, json.loads(done.out)["lost"]) == (0, lost)
    assert right.read_metadata(PATH) == {"tier": "1", "owner": owner, "team": "a"}
    assert len(right.versions(PATH)) == 1


def test_labels_come_along_that_a_read_leaves_out(command, two, monkeypatch):
    left, right = two
    left.write(PATH, {"k": CANARY})
    left.write_metadata(PATH, {"owner": "billing"})
    real = left.read
    monkeypatch.setattr(left, "read", lambda path: replace(real(path), metadata={}))
    assert command(*COPY).code == 0
    assert right.read_metadata(PATH) == {"owner": "billing"}


@pytest.mark.parametrize("error", [PermissionDeniedError, StoreError])
def test_labels_that_cannot_be_written_leave_it_done_in_part(command, two, monkeypatch, error):
    """Exit code 8, with the reason."""
    left, right = two
    left.write(PATH, {"k": CANARY})
    left.write_metadata(PATH, {"owner": "billing"})

    def failing(path, labels):
        raise error(path)

    monkeypatch.setattr(right, "write_metadata", failing)
    done = command(*COPY)
    assert (done.code, "copied in part: " in done.err) == (8, True)
    assert right.read(PATH).data == {"k": CANARY}


def test_a_copy_that_fails_names_the_command_that_continues_it(command, two, monkeypatch):
    left, right = two
    left.write(PATH, {"k": CANARY})
    with monkeypatch.context() as patch:
        patch.setattr(right, "write_if", lambda path, *_: (_ for _ in ()).throw(PermissionDeniedError(path)))
        done = command(*COPY)
    assert done.code == 4
    assert f"`strongroom migrate resume {runs()[-1].name}`" in done.err
    assert command("migrate", "resume", runs()[-1].name).code == 0
    assert right.read(PATH).data == {"k": CANARY}


def test_a_copy_is_encrypted_to_recipients_of_the_command_line(command):
    recipient = str(pyrage.x25519.Identity.generate().to_public())
    done = command("copy", PATH, "--from", "json:a.json", "--to", "json:sealed.json", "--encrypt-to", recipient)
    assert done.code == 0
    assert Path("sealed.json").read_bytes().startswith(b"age-encryption.org/v1\n")
