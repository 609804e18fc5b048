"""Every command with a long path and a long key in a pipe: each is whole wherever it is named."""

import json
import re
import sys
from pathlib import Path

import pytest

from strongroom.store.memory import MemoryStore

START = "team-with-a-long-name"
LONG = "/".join([START, *(f"folder-{number:02}-of-many" for number in range(15))])[:294] + "/db-one"
KEY_START = "password-of-the-primary"
KEY = KEY_START + "-x" * 140

CONFIGURATION = f"""
chain = ["memory"]
[stores.memory]
[secrets]
PASSWORD = "{LONG}#{KEY}"
MISSING = "{LONG}-2#{KEY}"
"""

PLAN = ("migrate", "plan", "--from", "json:source.json", "--to", "json:target.json")
MIGRATE = ("migrate", "--from", "json:source.json", "--to", "json:target.json", "--yes")

COMMANDS = {
    "get of an absent path": ("get", f"{LONG}-2", KEY),
    "get of an absent key": ("get", LONG, f"{KEY}-2"),
    "get of an invalid path": ("get", f"{LONG}//x"),
    "get of a reference": ("get", f"{LONG}#{KEY}"),
    "list": ("list", START),
    "list of all": ("list", "--recursive"),
    "list as JSON": ("list", "--recursive", "--json"),
    "explain": ("explain", LONG, KEY),
    "explain of an absent path": ("explain", f"{LONG}-2"),
    "check": ("check",),
    "check with values": ("check", "--json"),
    "doctor": ("doctor",),
    "run": ("run", "--", sys.executable, "-c", ""),
    "export": ("export", "--format", "json"),
    "set": ("set", LONG, KEY, "--yes"),
    "set of an invalid path": ("set", f"{LONG}/..", KEY, "--yes"),
    "delete": ("delete", LONG, "--yes"),
    "delete of an absent path": ("delete", f"{LONG}-2", "--yes"),
    "history": ("history", LONG),
    "history of an absent path": ("history", f"{LONG}-2"),
    "diff of versions": ("diff", LONG, "--versions", "1", "2"),
    "diff of stores": ("diff", "memory", "json:source.json"),
    "rollback": ("rollback", LONG, "1", "--yes"),
    "undelete": ("undelete", LONG, "1", "--yes"),
    "destroy": ("destroy", LONG, "1", "--yes"),
    "copy": ("copy", LONG, "--from", "json:source.json", "--to", "memory", "--yes"),
    "copy of an absent path": ("copy", f"{LONG}-2", "--from", "json:source.json", "--to", "memory", "--yes"),
    "plan": PLAN,
    "plan with cautions": (*PLAN[:4], "--to", "memory", "--on-conflict", "overwrite"),
    "plan with a conflict": (*PLAN[:4], "--to", "memory"),
    "migrate": MIGRATE,
    "migrate with a report": (*MIGRATE, "--json"),
    "config show": ("config", "show"),
    "config check": ("config", "check"),
}

SILENT = {"get of a reference", "list", "explain", "history", "doctor", "config check"}
"""They name neither the path nor the key if all is well."""

AFTER_A_RUN = {
    "report": ("migrate", "report"),
    "report as JSON": ("migrate", "report", "--json"),
    "verify": ("migrate", "verify"),
    "undo": ("migrate", "undo", "RUN", "--yes"),
    "delete-source": ("migrate", "delete-source", "RUN", "--yes"),
}


@pytest.fixture
def stores(monkeypatch):
    """A configured store in memory that all commands of a test share, and a file; both have the long path."""
    store = MemoryStore()
    for value in ("1", "2"):
        store.write(LONG, {KEY: value})
    monkeypatch.setattr(store, "close", lambda: None)
    monkeypatch.setattr("strongroom.store.memory.open_memory", lambda: store)
    Path("strongroom.toml").write_text(CONFIGURATION)
    Path("source.json").write_text(f'{{"{LONG}": {{"{KEY}": "3"}}}}')
    Path("source.json").chmod(0o600)
    return store


def assert_whole(text):
    """Every path and key in the text is whole, and on one line."""
    for start, whole in ((START, LONG), (KEY_START, KEY)):
        for found in re.finditer(re.escape(start), text):
            rest = text[found.start() :]
            if not rest.startswith(start + "\n") and not rest.startswith(start + "/\n"):
                assert rest.startswith(whole), rest[:400]
    assert "…" not in text


@pytest.mark.parametrize("name", [*COMMANDS, *AFTER_A_RUN])
def test_a_path_of_300_characters_is_whole_in_a_pipe(stores, command, name):
    arguments = AFTER_A_RUN.get(name) or COMMANDS[name]
    if name in AFTER_A_RUN:
        run = json.loads(command(*MIGRATE, "--json").out)["run"]
        arguments = tuple(run if word == "RUN" else word for word in arguments)
    done = command(*arguments, piped=b"value")
    text = done.out.decode() + done.err
    named = START in text or KEY_START in text
    assert named or name in SILENT, text
    assert_whole(text)


def test_a_file_name_of_1000_characters_is_whole_in_an_error(command):
    """A path of a file is a path too."""
    file = Path("/".join(["folder-with-a-long-name"] * 45), "plan.json")
    done = command("migrate", "apply", str(file))
    assert str(file) in done.err


@pytest.mark.usefixtures("configured")
@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ("migrate --export-mapping {}", "File name too long"),
        ("diff memory json:{}", "There is no {}"),
        ("copy odd/values --from memory --to json:{}", "File name too long"),
    ],
)
def test_name_of_a_file_that_is_too_long_is_named(command, monkeypatch, arguments, fault):
    """Neither Strongroom nor a plugin has a bug."""
    monkeypatch.setattr("strongroom.migrate._execution.parallel.RETRY_DELAYS", ())
    name = "x" * 300
    refused = command(*arguments.format(name).split())
    assert refused.code != 0
    assert fault.format(name) in refused.err
