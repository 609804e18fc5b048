"""`strongroom import-config`: `[secrets]` from the files of other tools."""

import tomllib
from pathlib import Path

import pytest

SECRETSPEC = """
[project]
name = "my app"
revision = "1.0"

[profiles.default]
DATABASE_URL = { description = "The \\"main\\" database", required = true }
STRIPE_WEBHOOK = { description = "Webhook", required = false }
POOL = { default = "5" }
SESSION_KEY = { description = "Signs sessions", type = "hex", generate = true }
SSH_KEY = { type = "rsa_private_key", generate = true }

[profiles.production]
STRIPE_WEBHOOK = { required = true }
"""
SCHEMA = """
# @defaultSensitive=true
# @defaultRequired=true
# ---

# The key for
# the API of OpenAI
# @type=string(startsWith=sk-)
OPENAI_API_KEY=

# @required=false @type=number
RETRY_SECRET=exec('op read x')

# @sensitive=false
LOG_LEVEL=info
# @public
REGION=eu
"""


def imported(command, name: str, text: str, *options: str) -> tuple[dict, str]:
    Path(name).write_text(text, "utf-8")
    done = command("import-config", name, *options)
    assert done.code == 0, done.err
    Path("strongroom.toml").write_text('chain = ["env"]\n' + done.out.decode(), "utf-8")
    assert command("config", "check").code == 0
    return tomllib.loads(done.out.decode())["secrets"], done.err


def test_secretspec(command):
    rows, notes = imported(command, "secretspec.toml", SECRETSPEC)
    assert rows == {
        "DATABASE_URL": {"at": "database/connection#url", "description": 'The "main" database'},
        "STRIPE_WEBHOOK": {"at": "my-app#stripe_webhook", "description": "Webhook", "required": False},
        "POOL": {"at": "my-app#pool", "default": "5"},
        "SESSION_KEY": {"at": "my-app#session_key", "description": "Signs sessions", "generate": "hex"},
        "SSH_KEY": "my-app#ssh_key",
    }
    assert "SSH_KEY: generate of the type rsa_private_key has no counterpart" in notes


MORE = """
[project]
name = "shop"
extends = ["../shared"]

[providers]
op = "onepassword://Production"

[profiles.default]
DB_USER = { description = "User" }
DB_PASSWORD = { ref = { item = "myapp/config", field = "password", version = "2" }, providers = ["op", "env"] }
DATABASE_URL = { composed = "postgres://${DB_USER}:${DB_PASSWORD}@db/app?o={x}&p=$$" }
WITH_FILE = { composed = "file://${TLS_KEY}" }
OTHER = { composed = "${NONE}" }
TLS_KEY = { as_path = true, required = true }
PART = { extract = { format = "json", pointer = "/a~1b/0" }, as_path = false }
INI = { extract = { format = "ini", pointer = "/a/b" } }
TITLE = { ref = { item = "db" } }

[profiles.default.defaults]
required = false
"""


def test_every_field_of_secretspec_is_translated_or_named(command):
    """A field with a counterpart is translated; no field is dropped without a message."""
    rows, notes = imported(command, "secretspec.toml", MORE)
    assert rows == {
        "DB_USER": {"at": "database/connection#user", "description": "User"},
        "DB_PASSWORD": "myapp/config#password",
        "DATABASE_URL": {
            "at": "database/connection#url",
            "compose": "postgres://{DB_USER}:{DB_PASSWORD}@db/app?o={{x}}&p=$",
        },
        "OTHER": "shop#other",
        "TLS_KEY": {"at": "shop#tls_key", "as_path": True},
        "WITH_FILE": "shop#with_file",
        "PART": {"at": "shop#part", "extract": "/a~1b/0"},
        "INI": "shop#ini",
        "TITLE": "shop#title",
    }
    assert [line.removeprefix("strongroom: note: ") for line in sorted(notes.splitlines())] == [
        "DATABASE_URL: values in a composed URL are percent-encoded here",
        "DB_PASSWORD: providers has no counterpart: order the stores in chain, and give a link its paths",
        "DB_PASSWORD: version of ref has no counterpart",
        "INI: extract has no counterpart unless it has a pointer into JSON",
        "OTHER: composed has no counterpart unless each ${NAME} is another secret, and no file",
        "TITLE: ref has no counterpart without a path as its item and a key as its field",
        "WITH_FILE: composed has no counterpart unless each ${NAME} is another secret, and no file",
        "[providers] has no counterpart: configure each as [stores.NAME]",
        "defaults of a profile have no counterpart: write them into each row",
        "extends: the files that it names are not read. Import them too",
    ]


def test_text_with_a_delete_character_is_escaped(command):
    """TOML forbids it in a string, and JSON does not."""
    text = '[profiles.default]\nPOOL = { description = "of \\u007f", default = "\\u007f" }\n'
    rows, _ = imported(command, "secretspec.toml", text)
    assert rows == {"POOL": {"at": "app#pool", "description": "of \x7f", "default": "\x7f"}}


def test_a_profile_of_secretspec_is_laid_over_the_default(command):
    rows, _ = imported(command, "secretspec.toml", SECRETSPEC, "--profile", "production", "--path", "shop/app")
    assert rows["STRIPE_WEBHOOK"] == {"at": "shop/app#stripe_webhook", "description": "Webhook"}
    assert command("import-config", "secretspec.toml", "--profile", "none").code == 7


def test_env_schema(command):
    rows, notes = imported(command, ".env.schema", SCHEMA)
    assert rows == {
        "OPENAI_API_KEY": {"at": "api-keys/openai#key", "description": "The key for the API of OpenAI"},
        "RETRY_SECRET": {"at": "app#retry_secret", "required": False, "type": "int"},
    }
    assert "RETRY_SECRET: its value is not copied" in notes
    assert "LOG_LEVEL: it is not sensitive" in notes
    assert "REGION: it is not sensitive" in notes


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("other.json", "{}"),
        ("teller.yml", "providers: {}"),
        ("secretspec.toml", "a ="),
        (".env.schema", "# nothing\n"),
    ],
)
def test_a_file_that_declares_nothing_is_an_error(command, name, text):
    Path(name).write_text(text, "utf-8")
    assert command("import-config", name).code == 7
