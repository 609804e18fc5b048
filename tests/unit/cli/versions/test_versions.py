"""`strongroom history`, `diff`, `rollback`, `undelete` and `destroy`: what is said, asked and shown."""

import json
import re
from datetime import datetime
from pathlib import Path

import pytest

from strongroom.errors import PermissionDeniedError, StoreUnavailableError

CANARY = "canary-7f3a"
PATH = "app/config"


@pytest.fixture
def three(kept):
    """A secret with three versions."""
    kept.write(PATH, {"host": "db", "password": f"{CANARY}-1"})
    kept.write(PATH, {"host": "db", "password": f"{CANARY}-2", "port": "5432"})
    kept.write(PATH, {"password": f"{CANARY}-2", "port": 5432})
    return kept


# --- history ----------------------------------------------------------------------------------------------------------


def test_history_is_a_line_a_version_when_piped(command, three):
    """Oldest first, fields with a tab between, and no value."""
    three.destroy(PATH, 1)
    three.delete(PATH)
    done = command("history", PATH)
    assert (done.code, done.err) == (0, "")
    rows = [line.split("\t") for line in done.out.decode().splitlines()]
    assert [(row[0], row[2]) for row in rows] == [("1", "destroyed"), ("2", "readable"), ("3", "deleted")]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", row[1]) for row in rows)
    assert [bool(row[3]) for row in rows] == [False, False, True]


def test_history_as_json_is_one_object(command, three):
    """With the labels, and times that a program reads."""
    three.write_metadata(PATH, {"owner": "billing"})
    document = json.loads(command("history", PATH, "--json").out)
    assert list(document) == ["version", "path", "store", "labels", "versions"]
    assert (document["version"], document["path"], document["store"]) == (1, PATH, "memory")
    assert document["labels"] == {"owner": "billing"}
    assert [(each["secret_version"], each["state"], each["deleted_at"]) for each in document["versions"]] == [
        (1, "readable", None),
        (2, "readable", None),
        (3, "current", None),
    ]
    assert all(datetime.fromisoformat(each["created"]).tzinfo for each in document["versions"])


def test_history_of_what_is_not_there_is_no_empty_list(command, three):
    """Nor of what is denied, or out of reach."""
    assert command("history", "app/other").code == 3
    assert command("history", PATH, "--store", "vault").code == 7
    for error, code in ((PermissionDeniedError, 4), (StoreUnavailableError, 5)):
        three.versions = lambda path, error=error: (_ for _ in ()).throw(error(path))
        done = command("history", PATH)
        assert (done.code, done.out) == (code, b"")


# --- diff -------------------------------------------------------------------------------------------------------------


def test_diff_says_what_became_of_each_key_and_no_value(command, three):
    """Also where the types alone differ; the exit code tells a script."""
    done = command("diff", PATH, "--versions", "1", "2")
    assert (done.code, done.err) == (10, "")
    assert done.out.decode().splitlines() == ["same\thost\ttext", "changed\tpassword\ttext", "added\tport\ttext"]
    done = command("diff", PATH, "--versions", "2", "3")
    assert done.code == 10
    assert done.out.decode().splitlines() == [
        "removed\thost\ttext",
        "same\tpassword\ttext",
        "changed\tport\ttext -> number",
    ]
    done = command("diff", PATH, "--versions", "2", "2")
    assert (done.code, CANARY in done.out.decode()) == (0, False)


def test_diff_reveals_on_demand(command, three):
    """The values of either version."""
    done = command("diff", PATH, "--versions", "1", "2", "--reveal")
    assert done.out.decode().splitlines() == [
        "same\thost\ttext\tdb\tdb",
        f"changed\tpassword\ttext\t{CANARY}-1\t{CANARY}-2",
        "added\tport\ttext\t\t5432",
    ]


def test_diff_as_json(command, three):
    """Values with --reveal alone."""
    done = command("diff", PATH, "--versions", "2", "3", "--json")
    assert done.code == 10
    assert CANARY.encode() not in done.out
    document = json.loads(done.out)
    keys = document.pop("keys")
    assert document == {
        "version": 1,
        "path": PATH,
        "store": "memory",
        "old_version": 2,
        "new_version": 3,
        "different": True,
    }
    assert next(iter(document)) == "version"
    assert keys == [
        {"key": "host", "change": "removed", "old_type": "text", "new_type": None},
        {"key": "password", "change": "same", "old_type": "text", "new_type": "text"},
        {"key": "port", "change": "changed", "old_type": "text", "new_type": "number"},
    ]
    revealed = json.loads(command("diff", PATH, "--versions", "2", "3", "--json", "--reveal").out)["keys"]
    assert revealed[0] == {**keys[0], "old": "db"}
    assert revealed[2] == {**keys[2], "old": "5432", "new": 5432}


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ((PATH,), 2),
        ((PATH, "--versions", "1"), 2),
        ((PATH, "1", "2"), 2),
        ((PATH, "--versions", "1", "9"), 3),
        ((PATH, "--versions", "0", "1"), 3),
        ((PATH, "--versions", "1", "latest"), 3),
        (("app/other", "--versions", "1", "2"), 3),
    ],
)
def test_diff_of_what_is_not_there_is_no_difference(command, three, arguments, code):
    """The exit code is never the one of a difference."""
    done = command("diff", *arguments)
    assert (done.code, done.out, done.err.count("\n")) == (code, b"", 1)


# --- rollback and undelete --------------------------------------------------------------------------------------------


def test_rollback_writes_an_old_version_as_a_new_one(command, three):
    """And says where first."""
    done = command("rollback", PATH, "1")
    assert (done.code, done.out) == (0, b"")
    assert done.err.splitlines() == [
        f"strongroom: Rolling {PATH} back to version 1 in store memory",
        f"strongroom: Restored version 1 of {PATH}, as version 4",
    ]
    assert three.read(PATH).data == {"host": "db", "password": f"{CANARY}-1"}
    assert len(three.versions(PATH)) == 4


def test_rollback_brings_back_a_deleted_secret(command, three):
    """As `undelete` does, which makes no new version."""
    command("delete", PATH)
    assert command("rollback", PATH, "2").code == 0
    assert three.read(PATH).version == 4
    command("delete", PATH)
    done = command("undelete", PATH, "4")
    assert done.err.splitlines() == [
        f"strongroom: Undeleting version 4 of {PATH} in store memory",
        f"strongroom: Undeleted version 4 of {PATH}",
    ]
    assert three.read(PATH).version == 4


@pytest.mark.parametrize("name", ["rollback", "undelete"])
@pytest.mark.parametrize(
    ("words", "code"), [((PATH, "9"), 3), (("app/other", "1"), 3), ((PATH,), 2), ((PATH, "1\n2"), 6)]
)
def test_what_is_not_there_cannot_come_back(command, three, name, words, code):
    """Nothing is changed."""
    done = command(name, *words)
    assert (done.code, len(three.versions(PATH))) == (code, 3)
    assert CANARY not in done.err


# --- destroy ----------------------------------------------------------------------------------------------------------


def test_destroy_without_a_terminal_needs_yes(command, three):
    """Always: nothing brings it back."""
    refused = command("destroy", PATH, "1")
    assert refused.code == 2
    assert "Destroyed versions cannot be restored: without a terminal this needs --yes" in refused.err
    assert not any(info.destroyed for info in three.versions(PATH))
    done = command("destroy", PATH, "1", "2", "1", "--yes")
    assert (done.code, done.out) == (0, b"")
    assert done.err.splitlines() == [
        f"strongroom: Destroying versions 1 and 2 of {PATH} in store memory",
        f"strongroom: Destroyed versions 1 and 2 of {PATH}",
    ]
    assert [info.destroyed for info in three.versions(PATH)] == [True, True, False]


def test_one_version_that_is_not_there_keeps_all(command, three):
    """A typing error destroys nothing."""
    done = command("destroy", PATH, "1", "20", "--yes")
    assert done.code == 3
    assert "there is no version 20" in done.err
    assert not any(info.destroyed for info in three.versions(PATH))
    assert command("destroy", PATH, "--yes").code == 2


def test_what_was_destroyed_before_it_failed_is_said(command, three):
    """It cannot be taken back."""
    destroy = three.destroy

    def failing(path, version):
        if version == 2:
            raise StoreUnavailableError(path)
        destroy(path, version)

    three.destroy = failing
    done = command("destroy", PATH, "1", "2", "3", "--yes")
    assert done.code == 8
    assert "Destroyed before the failure: 1 of versions 1, 2 and 3\n" in done.err
    assert [info.destroyed for info in three.versions(PATH)] == [True, False, False]
    assert command("destroy", PATH, "2", "3", "--yes").code == 5  # none was: what failed is all there is to say


def test_what_was_done_is_said_in_json_on_demand(command, three):
    """One object on stdout, when it is done."""

    def document(*arguments):
        done = command(*arguments, "--json")
        assert done.code == 0
        return json.loads(done.out)

    about = {"version": 1, "path": PATH, "store": "memory"}
    assert document("rollback", PATH, "1") == {**about, "from_version": 1, "secret_version": 4}
    command("delete", PATH)
    assert document("undelete", PATH, "4") == {**about, "secret_version": 4}
    assert document("destroy", PATH, "2", "1", "--yes") == {**about, "secret_versions": [2, 1]}
    assert command("destroy", PATH, "9", "--yes", "--json").out == b""


# --- what is asked ----------------------------------------------------------------------------------------------------


@pytest.fixture
def production(monkeypatch):
    """The commands' environment is one of production."""
    Path("strongroom.toml").write_text('[environments.prod]\nproduction = true\nchain = ["memory"]\n', "utf-8")
    monkeypatch.setenv("STRONGROOM_ENVIRONMENT", "prod")


@pytest.mark.usefixtures("production")
@pytest.mark.parametrize("name", ["rollback", "undelete", "destroy"])
def test_in_production_a_change_without_a_terminal_needs_yes(command, three, name):
    """It says what it would have done; and looking is free."""
    refused = command(name, PATH, "1")
    assert (refused.code, refused.out) == (2, b"")
    assert "in store memory, environment prod, production" in refused.err
    assert "This is production" in refused.err
    assert len(three.versions(PATH)) == 3
    assert command(name, PATH, "1", "--yes").code == 0
    assert command("history", PATH).code == 0
    assert command("diff", PATH, "--versions", "2", "3").code == 10
