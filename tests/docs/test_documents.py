"""What a page must name: every field that a command prints with `--json`, every capability that a store may have.

And a page that lists messages has those of the code.
"""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from strongroom import store
from strongroom._cli.app import run
from support.scenarios import pages

PAGES = sorted((pages.DOCS / "reference" / "command-line").glob("*.md"))

CONFIGURATION = """
chain = ["memory", "env"]

[rotation."database/connection"]
rotator = "password"
key = "host"
every = "30d"

[secrets]
DB_PORT = { at = "database/connection#port", generate = "hex", expires = 2020-01-31 }

[stores.memory.secrets."database/connection"]
host = "db.example"
port = 5432
"""

COMMANDS = [
    ("get", "get --json database/connection"),
    ("get", "get --json database/connection#port"),
    ("set", "set database/connection --from-json document.json --json"),
    ("delete", "delete database/connection --json"),
    ("history", "history database/connection --json"),
    ("diff", "diff database/connection --versions 1 1 --json --reveal"),
    ("diff", "diff memory memory --json"),
    ("copy", "copy database/connection --from memory --to json:copy.json --json"),
    ("migrate", "migrate --from memory --to json:copy.json --yes --json"),
    ("migrate", "migrate plan --from memory --to memory --json"),
    ("migrate", "migrate report --list --json"),
    ("mapping", "mapping export mapping.json --json"),
    ("rollback", "rollback database/connection 1 --json"),
    ("undelete", "undelete database/connection 1 --json"),
    ("destroy", "destroy database/connection 1 --json --yes"),
    ("list", "list --json"),
    ("check", "check --json"),
    ("rotate", "rotate database/connection --json"),
    ("rotate", "rotate status --json"),
    ("rotate", "rotate history database/connection --json"),
    ("rotate", "rotate run --once --json"),
    ("check", "check --expiring 1d --json"),
    ("explain", "explain --json database/connection port"),
    ("doctor", "doctor --json"),
    ("status", "status --json"),
    ("generate", "generate --json --yes"),
    ("scan", "scan --json strongroom.toml"),
    ("config", "config show --json"),
    ("config", "config check --json"),
    ("stores", "stores --json"),
    ("cache", "cache status --json"),
    ("cache", "cache verify --json"),
    ("cache", "cache rotate-key --json"),
    ("cache", "cache clear --json"),
]

BY_NAME = {"data", "labels", "facts", "settings", "secrets", "stores", "options"}
"""Fields whose objects are by name, a user's or a store's, where they are no arrays."""


def fields(value: object) -> Iterator[str]:
    """The fields of a document, at every depth."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield name
            yield from fields(list(item.values()) if name in BY_NAME and isinstance(item, dict) else item)
    elif isinstance(value, list):
        for item in value:
            yield from fields(item)


@pytest.mark.parametrize(("section", "line"), COMMANDS, ids=[line for _, line in COMMANDS])
def test_every_field_is_documented(section, line, capsysbinary):
    """A document that grows is described anew."""
    Path("strongroom.toml").write_text(CONFIGURATION, "utf-8")
    Path("document.json").write_text('{"password": "hunter2"}', "utf-8")
    assert run(line.split()) == (10 if "--expiring" in line or "scan" in line else 0)
    texts = [page.read_text("utf-8").partition(f"\n## {section}\n")[2].partition("\n## ")[0] for page in PAGES]
    (text,) = filter(None, texts)
    printed = set(fields(json.loads(capsysbinary.readouterr().out)))
    assert "version" in printed
    assert printed - set(re.findall(r"`(\w+)`", text)) == set()


def test_every_capability_is_in_the_table_for_authors():
    """A protocol of `strongroom.store` that the page does not name would be known to us alone."""
    protocols = {name for name in vars(store) if name.endswith("Store")}
    table = re.findall(r"^\| `(\w+Store)` \|", pages.page("store-interface.md").read_text("utf-8"), re.MULTILINE)
    assert sorted(table) == sorted(protocols - {"SecretStore"})  # the interface itself


def literals(file: Path) -> Iterator[str]:
    """Every text in a module, with `…` in the place of each expression in it."""
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)


@pytest.mark.long
def test_every_message_of_the_page_for_troubleshooting_is_in_the_code():
    """Each part between two `…`, and between the words that the code joins: `: `, ` (`, `. ` and so on."""
    sources = [file for folder in ("core", "backends") for file in sorted((pages.ROOT / folder).rglob("*.py"))]
    known = "\n".join(text for file in sources for text in literals(file))
    shown = [line for block in pages.blocks(pages.page("troubleshooting.md"), "text") for line in block.splitlines()]
    parts = {part.strip(" .,") for line in shown for part in re.split(r"…|: | \(|\)|\. |; ", line)}
    assert len(shown) > 15
    assert {part for part in parts if part not in known} == set()
