"""The fields of each document that `--json` prints, and their types: a script of an earlier release reads them.

A field that is new is added to `json_documents.txt`. If one was removed or changed, the version of its document rises:
`write_document(fields, version=…)`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from strongroom._cli import registry
from support.cli_fixtures import command

from .test_landed_formats import RELEASES, release

__all__ = ["command", "release"]

_SNAPSHOT = Path(__file__).with_name("json_documents.txt")

_DONE, _PENDING = "rotated/done", "rotated/created"
_MIGRATION = ("--from", "old", "--on-conflict", "overwrite")

COMMANDS: dict[str, tuple[str, ...]] = {
    "audit verify": ("audit.jsonl", "--key-file", "audit.key"),
    "audit head": ("audit.jsonl", "--key-file", "audit.key"),
    "migrate plan": (*_MIGRATION, "--to", "reviewed"),
    "migrate apply": ("plan.json",),
    "migrate verify": (),
    "migrate undo": ("RUN", "--yes"),
    "migrate resume": (),
    "migrate report": (),
    "migrate report --list": (),
    "migrate": (*_MIGRATION, "--to", "reviewed", "--yes"),
    "migrate delete-source": ("LAST", "--yes"),
    "rotate status": (),
    "rotate resume": ("--take-over", _PENDING),
    "rotate undo": (_DONE, "--yes"),
    "rotate now": (_DONE,),
    "rotate history": (_DONE,),
    "rotate run --once": (),
    "get": ("app/cached", "password"),
    "list": (),
    "explain": ("app/cached", "password"),
    "set": ("app/cached", "other=@head"),
    "history": ("app/cached",),
    "diff": ("vaulted", "reviewed"),
    "diff --versions": ("1", "2", "app/cached"),
    "rollback": ("app/cached", "1"),
    "check": (),
    "agent check": ("GET", "https://api.example.com/"),
    "scan": ("rotations.jsonl",),
    "copy": ("app/cached", "--from", "vaulted", "--to", "finished", "--yes"),
    "delete": ("app/cached", "--yes"),
    "undelete": ("app/cached", "3"),
    "destroy": ("app/cached", "2", "--yes"),
    "vault policy": ("--store", "vault"),
    "config show": (),
    "config check": (),
    "doctor": (),
    "status": (),
    "stores": (),
    "plugins": (),
    "generate": ("--yes",),
    "mapping export": ("mapping.json",),
    "new-plugin": ("billing", "--store"),
    "cache status": (),
    "cache verify": (),
    "cache rotate-key": (),
    "cache clear": (),
}
"""The arguments of each command, in the order in which they run."""

_ELSEWHERE = {
    "agent log": "it prints the lines of a log: tests/unit/agents/test_session_log.py",
    "helper key": "its fields are those of OAuth 2.0: tests/unit/cli/helper/test_helper.py",
    "keys": "it needs a keyset: tests/unit/cli/rotate/test_keys.py",
    "vault setup": "it needs a server: tests/integration/vault/test_setup.py",
}

_BY_NAME = {"settings", "stores", "secrets", "stores.*.options", "policies[].path"}
"""The mappings whose keys are names of the configuration or of a policy."""

_CONFIGURATION = """
[stores.vault]
plugin = "vault"
address = "http://127.0.0.1:1"

[secrets]
TOKEN = "app/cached#password"
LOST = { at = "app/lost#key", generate = "password" }

[agents.rules]
read = { secret = "app/cached#password", variable = "READ", hosts = ["api.example.com"], methods = ["GET"] }
write = { secret = "app/cached#password", variable = "WRITE", hosts = ["api.example.com"], methods = ["POST"] }
"""


def fields(value: object, path: str = "") -> Iterator[str]:
    """Yield each field below a path with its type, such as `items[].path: str`."""
    if isinstance(value, dict) and value:
        for name, each in value.items():
            below = "*" if path in _BY_NAME else name
            yield from fields(each, f"{path}.{below}" if path else below)
    elif isinstance(value, list) and value:
        for each in value:
            yield from fields(each, f"{path}[]")
    elif path == "version":
        yield f"version = {value}"
    else:
        yield f"{path}: {'null' if value is None else type(value).__name__}"


def with_json(name: str, found: click.Command) -> Iterator[str]:
    """Yield the commands that take `--json`."""
    if any("--json" in parameter.opts for parameter in found.params):
        yield name
    if isinstance(found, click.Group):
        for below, each in found.commands.items():
            yield from with_json(f"{name} {below}", each)


def test_every_command_with_json_is_compared():
    every = {name for known in registry.names() for name in with_json(known, registry.load(known))}
    assert every == {name.partition(" --")[0] for name in COMMANDS} | _ELSEWHERE.keys()


@pytest.mark.parametrize("release", RELEASES[-1:], indirect=True)
def test_documents_keep_their_fields_under_one_version(release, command):
    with (release / "strongroom.toml").open("a", encoding="utf-8") as file:
        file.write(_CONFIGURATION)
    runs = release / "state/strongroom/migrations"
    names = {"RUN": max(run.name for run in runs.glob("2*"))}
    found: list[str] = []
    for name, arguments in COMMANDS.items():
        done = command(*name.split(), *(names.get(argument, argument) for argument in arguments), "--json")
        assert done.out, (name, done.code, done.err)
        document = json.loads(done.out)
        if name in {"plugins", "stores"}:  # the others depend on the installed packages
            document["plugins"] = [row for row in document["plugins"] if row["name"] in {"memory", "shelf"}]
        names["LAST"] = max(run.name for run in runs.glob("2*"))
        found += [f"# {name}", *sorted(set(fields(document)))]
    assert found == _SNAPSHOT.read_text("utf-8").splitlines()
