"""`strongroom mapping export`: where each variable goes, as a file to be edited."""

import json
from pathlib import Path

import pytest

CANARY = "canary-7f3a"
EXPORT = ("mapping", "export", "m.json", "--env-file", ".env")


@pytest.fixture(autouse=True)
def dotenv():
    """A `.env` with a variable that has a place, one that has none, and a credential."""
    Path(".env").touch(0o600)
    Path(".env").write_text(f"STRIPE_API_KEY={CANARY}\nLEGACY={CANARY}\nVAULT_TOKEN={CANARY}\n", "utf-8")


def variables(name="m.json"):
    """The entries of the file."""
    return json.loads(Path(name).read_text("utf-8"))["variables"]


@pytest.mark.parametrize("arguments", [EXPORT, ("migrate", "--env-file", ".env", "--export-mapping", "m.json")])
def test_each_variable_of_the_file_has_an_entry(command, arguments):
    """Empty where it is to be filled in; what opens a store has none, and no value is there."""
    done = command(*arguments)
    assert (done.code, done.out) == (0, b"")
    assert variables()["STRIPE_API_KEY"] == {"to": "api-keys/stripe#key"}
    assert variables()["LEGACY"] == {"to": ""}
    assert "VAULT_TOKEN" not in variables()
    assert "not migrated until filled in: LEGACY" in done.err
    assert CANARY not in Path("m.json").read_text("utf-8") + done.err


def test_a_file_that_is_there_is_refused(command):
    """As something else may have the name."""
    assert command(*EXPORT).code == 0
    Path("m.json").write_text("{}", "utf-8")
    done = command(*EXPORT)
    assert (done.code, "--update" in done.err) == (7, True)
    assert Path("m.json").read_text("utf-8") == "{}"


def test_an_update_keeps_what_was_edited(command):
    """And adds what came since."""
    command(*EXPORT)
    document = json.loads(Path("m.json").read_text("utf-8"))
    document["variables"]["LEGACY"] = {"to": "old/things#legacy", "note": "ask Ann"}
    Path("m.json").write_text(json.dumps(document), "utf-8")
    with Path(".env").open("a", encoding="utf-8") as file:
        file.write("NEWER=1\n")
    done = command(*EXPORT, "--update", "--json")
    assert done.code == 0
    assert json.loads(done.out) == {"version": 1, "file": "m.json", "added": 1, "to_be_filled_in": ["NEWER"]}
    assert variables()["LEGACY"] == {"to": "old/things#legacy", "note": "ask Ann"}
    assert command("mapping", "export", "none.json", "--update").code == 7


def test_without_a_file_the_shells_own_variables_are_no_entries(command, monkeypatch):
    """Those of the environment that have a place are."""
    monkeypatch.setenv("ACME_API_KEY", CANARY)
    done = command("mapping", "export", "m.toml")
    assert done.code == 0
    text = Path("m.toml").read_text("utf-8")
    assert "[variables.ACME_API_KEY]" in text
    assert "PATH]" not in text
    assert command("mapping").code == 2
    assert command("mapping", "export", "x.json", "--env-file", "none.env").code == 7
