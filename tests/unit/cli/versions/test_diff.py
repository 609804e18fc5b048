"""`strongroom diff STORE_A STORE_B`: what two stores hold differently, and no value."""

import json
from pathlib import Path

import pytest

from strongroom._boundary.guard import GuardedStore
from strongroom.errors import InvalidPathError, PermissionDeniedError, StoreUnavailableError
from strongroom.migrate import Selection
from strongroom.migrate._execution import parallel
from strongroom.migrate._execution.drift import Drift, drift
from strongroom.migrate.sources import StoreSource
from strongroom.store.memory import MemoryStore
from support.command_line import call_on_terminal

CANARY = "canary-7f3a"
DIFF = ("diff", "json:a.json", "json:b.json")
NAMES = ("left", "right")


@pytest.fixture(autouse=True)
def files():
    """Two files that differ in one secret of three, and each have one of their own."""
    first = {"app/config": {"k": CANARY, "n": 5, "old": "x"}, "same": {"k": CANARY}, "mine": {"k": CANARY}}
    second = {"app/config": {"k": CANARY, "n": "5", "new": "x"}, "same": {"k": CANARY}, "its": {"k": CANARY}}
    for name, data in (("a.json", first), ("b.json", second)):
        file = Path(name)
        file.touch(0o600)
        file.write_text(json.dumps(data), "utf-8")


def test_a_line_for_each_path_and_a_code_for_a_pipeline(command):
    """Types count."""
    done = command(*DIFF)
    assert done.code == 10
    assert done.out.decode().splitlines() == [
        "different\tapp/config\tk same, n changed, new added, old removed\t\t\t",
        "only second\tits\tk added\t\t\t",
        "only first\tmine\tk removed\t\t\t",
        "same\tsame\tk same\t\t\t",
    ]
    assert "same 1, different 1, only in json:a.json 1, only in json:b.json 1" in done.err
    assert CANARY not in done.out.decode() + done.err


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("diff", "json:a.json", "json:a.json"), 0),
        ((*DIFF, "--include", "same"), 0),
        ((*DIFF, "--exclude", "[aim]*"), 0),
        ((*DIFF, "--prefix", "app"), 10),
        ((*DIFF, "--prefix", "none"), 0),
        ((*DIFF, "--history"), 6),
        (("diff", "--history", "json:a.json", "json:b.json"), 6),
        (("diff", "json:none.json", "none:x"), 7),
    ],
)
def test_the_code_is_of_what_is_compared(command, arguments, code):
    """By prefix and pattern; the same is 0, and a failure is never 10."""
    assert command(*arguments).code == code


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("json:a.json",),
        ("json:a.json", "json:b.json", "json:c.json"),
        ("json:a.json", "json:b.json", "--reveal"),
        ("json:a.json", "json:b.json", "--store", "memory"),
        ("app/config", "--versions", "1", "2", "--prefix", "app"),
        ("app/config", "other", "--versions", "1", "2"),
        ("app/config", "--versions"),
        ("app/config", "--versions", "1"),
        ("app/config", "--versions", "1", "2", "--history"),
        ("json:a.json", "json:b.json", "--versions"),
        ("--versions", "json:a.json", "json:b.json"),
    ],
)
def test_two_stores_are_not_confused_with_two_versions(command, arguments):
    """What belongs to the one is refused for the other."""
    done = command("diff", *arguments)
    assert (done.code, done.out) == (2, b"")


def test_the_document_has_states_and_changes(command):
    """Its version first."""
    document = json.loads(command(*DIFF, "--json").out)
    assert next(iter(document.items())) == ("version", 1)
    assert document["counts"] == {"same": 1, "different": 1, "only_first": 1, "only_second": 1, "unknown": 0}
    assert document["secrets"][0] == {
        "path": "app/config",
        "state": "different",
        "keys": [
            {"key": "k", "change": "same"},
            {"key": "n", "change": "changed"},
            {"key": "new", "change": "added"},
            {"key": "old", "change": "removed"},
        ],
        "labels": [],
        "versions": None,
        "error": None,
    }
    assert CANARY not in json.dumps(document)


def test_variables_are_compared_as_the_secrets_that_they_are(command):
    """Those that are none are listed, and no difference."""
    for name, text in ((".env", f"STRIPE_API_KEY={CANARY}\nLEGACY=x\nVAULT_TOKEN={CANARY}\n"),):
        Path(name).touch(0o600)
        Path(name).write_text(text, "utf-8")
    Path("c.json").touch(0o600)
    Path("c.json").write_text(json.dumps({"api-keys/stripe": {"key": CANARY}}), "utf-8")
    done = command("diff", "dotenv:.env", "json:c.json")
    assert done.code == 0
    assert {line.split("\t")[1] for line in done.out.decode().splitlines() if line.startswith("unmapped")} == {
        "LEGACY",
        "VAULT_TOKEN",
    }


def test_a_terminal_has_a_table_of_what_differs(monkeypatch):
    """What is the same is counted."""
    monkeypatch.setenv("COLUMNS", "80")
    code, shown = call_on_terminal(["--no-color", *DIFF])
    words = " ".join(shown.split())
    assert code == 10
    assert "app/config different changed n added new removed old same k" in words
    assert "mine only in json:a.json k" in words
    assert CANARY not in shown


# --- the comparison ---------------------------------------------------------------------------------------------------


@pytest.fixture
def two():
    """Two stores with versions and labels, alike."""
    stores = MemoryStore(), MemoryStore()
    for store in stores:
        store.write("a", {"k": "1"})
        store.write("a", {"k": "2"})
    return stores


def compared(two, **options):
    """The only difference that there is."""
    left, right = (StoreSource(GuardedStore(store, name), name) for store, name in zip(two, NAMES, strict=True))
    (found,) = drift(left, right, Selection(), **options)
    return found


def test_labels_are_compared(two):
    """But for those that say how a store keeps a secret."""
    two[0].write_metadata("a", {"owner": "billing", "strongroom:fold": "text"})
    two[1].write_metadata("a", {"owner": "billing"})
    assert compared(two).state is Drift.SAME
    two[1].write_metadata("a", {"owner": "payments", "tier": "1"})
    found = compared(two)
    assert (found.state, dict(found.labels)) == (Drift.DIFFERENT, {"owner": "changed", "tier": "added"})


def test_history_is_compared_on_demand(two):
    """By what the versions that can be read hold."""
    assert compared(two, history=True).state is Drift.SAME
    two[0].destroy("a", 1)
    assert compared(two).state is Drift.SAME
    found = compared(two, history=True)
    assert (found.state, found.history) == (Drift.DIFFERENT, (1, 2))


@pytest.mark.parametrize(("listed", "state"), [(False, Drift.ONLY_FIRST), (True, Drift.UNKNOWN)])
def test_a_name_that_a_store_cannot_have_is_absent_there(two, monkeypatch, listed, state):
    """Unless the store lists it all the same: then nobody knows."""
    if not listed:
        two[1].delete("a")
    error = InvalidPathError("a", "no name here is so short")

    def refuse(path):
        raise error

    monkeypatch.setattr(two[1], "read", refuse)
    monkeypatch.setattr(two[1], "read_many", lambda paths: ((path, error) for path in paths))
    found = compared(two)
    assert (found.state, repr(found.error)) == (state, repr(error.copy(store="right") if listed else None))


@pytest.mark.parametrize("error", [PermissionDeniedError, StoreUnavailableError])
def test_no_answer_is_no_absence(two, monkeypatch, error):
    """Nor is it a difference."""
    monkeypatch.setattr(parallel, "RETRY_DELAYS", ())

    def failing(path):
        raise error(path)

    monkeypatch.setattr(two[1], "read", failing)
    monkeypatch.setattr(two[1], "read_many", lambda paths: ((path, error(path)) for path in paths))
    found = compared(two)
    assert (found.state, type(found.error)) == (Drift.UNKNOWN, error)
