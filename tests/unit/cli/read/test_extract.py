"""`extract` of `[secrets]`: the value of a row is a part of another value."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from strongroom import ConfigurationError, SecretsManager, required_secrets
from strongroom._chain.answer import DEFAULT_STORE, Resolution
from strongroom._chain.resolver import extracted
from strongroom.errors import InvalidDataError, SecretNotFoundError
from strongroom.logging import fingerprints, masked
from strongroom.required_secrets import Requirement, RequirementState
from support.scenarios.redaction import forget_values

CANARY = "canary-7f3a"
# https://www.rfc-editor.org/rfc/rfc6901#section-5
RFC = {"foo": ["bar", "baz"], "": 0, "a/b": 1, "c%d": 2, "e^f": 3, "g|h": 4, "i\\j": 5, 'k"l': 6, " ": 7, "m~n": 8}
DOCUMENT = {"database": {"user": "app", "password": CANARY, "ports": [5432]}}


def found(value: Any) -> Resolution:
    return Resolution("a/b", "c", value, "s", version=3, age=1.0, cached=True, stale=False, attempts=(), ttl=9.0)


@pytest.mark.parametrize("form", [dict, json.dumps], ids=["nested", "text"])
@pytest.mark.parametrize(
    ("pointer", "part"),
    [("/foo", ["bar", "baz"]), ("/foo/0", "bar"), ("/", 0), ("/a~1b", 1), ("/c%d", 2), ("/e^f", 3), ("/g|h", 4),
     ("/i\\j", 5), ('/k"l', 6), ("/ ", 7), ("/m~0n", 8)],
)  # fmt: skip
def test_a_pointer_means_what_the_standard_says(form, pointer, part):
    answer = extracted(found(form(RFC)), pointer, "ROW")
    assert answer.value == part
    assert (answer.path, answer.key, answer.store, answer.version, answer.ttl) == ("a/b", "c", "s", 3, 9.0)


@pytest.mark.parametrize("pointer", ["/none", "/foo/2", "/foo/-", "/foo/00", "/foo/-1", "/foo/bar", "/foo/0/0", "/ /x"])
def test_a_pointer_to_nothing_is_an_absence_that_names_the_row(pointer):
    with pytest.raises(SecretNotFoundError) as caught:
        extracted(found(json.dumps({**RFC, "foo": [CANARY, CANARY]})), pointer, "ROW")
    assert str(caught.value) == f"Secret not found: a/b (store s: ROW: key 'c' has nothing at {pointer!r})"


@pytest.mark.parametrize("text", [CANARY, f'{{"a": "{CANARY}"', f'{{"a": NaN, "b": "{CANARY}"}}', ""])
def test_a_document_that_is_not_json_is_an_error_without_its_text(text):
    with pytest.raises(InvalidDataError, match="ROW: key 'c': ") as caught:
        extracted(found(text), "/a", "ROW")
    assert CANARY not in repr(caught.value)


# --- rows -------------------------------------------------------------------------------------------------------------


def answers(rows: dict[str, Any], **secrets: Any) -> dict[str, Requirement]:
    """Resolve these rows with a store that has these values as the keys of `app`."""
    content = {"chain": ["memory"], "secrets": rows, "stores": {"memory": {"secrets": {"app": secrets}}}}
    with SecretsManager.from_config(content) as manager:
        return {one.variable: one for one in required_secrets.resolve(manager.config.secrets, manager.resolve)}


def test_two_rows_read_parts_of_one_document_and_a_third_is_composed_of_them():
    rows = {
        "DB_USER": {"at": "app#config", "extract": "/database/user"},
        "DB_PASSWORD": {"at": "app#config", "extract": "/database/password"},
        "PORT": {"at": "app#config", "extract": "/database/ports/0", "type": "int"},
        "URL": {"at": "app#url", "compose": "pg://{DB_USER}:{DB_PASSWORD}@db"},
        "CONFIG": "app#config",
    }
    values = {name: one.resolution and one.resolution.value for name, one in answers(rows, config=DOCUMENT).items()}
    assert values == {
        "DB_USER": "app", "DB_PASSWORD": CANARY, "PORT": 5432, "URL": f"pg://app:{CANARY}@db", "CONFIG": DOCUMENT,
    }  # fmt: skip


def test_a_default_stands_for_the_part_and_not_for_the_document():
    rows = {
        "REQUIRED": {"at": "app#config", "extract": "/none"},
        "OPTIONAL": {"at": "app#config", "extract": "/none", "required": False},
        "DEFAULT": {"at": "app#config", "extract": "/none", "default": "d"},
        "WITHOUT": {"at": "app#other", "extract": "/none", "default": "e"},
        "OTHER": {"at": "app#other", "required": False},
    }
    found = answers(rows, config=DOCUMENT)
    assert {name: one.state.value for name, one in found.items()} == {
        "REQUIRED": "missing", "OPTIONAL": "absent", "DEFAULT": "default", "WITHOUT": "default", "OTHER": "absent",
    }  # fmt: skip
    assert [found[name].resolution.value for name in ("DEFAULT", "WITHOUT")] == ["d", "e"]  # type: ignore[union-attr]
    assert found["DEFAULT"].resolution.store == DEFAULT_STORE  # type: ignore[union-attr]
    assert found["REQUIRED"].is_transient


def test_a_type_is_that_of_the_part():
    rows = {"PORT": {"at": "app#config", "extract": "/database/user", "type": "int"}}
    assert answers(rows, config=DOCUMENT)["PORT"].state is RequirementState.FAILED


def test_the_secret_itself_is_read_unchanged():
    rows = {"PORT": {"at": "app#config", "extract": "/port", "type": "int", "default": 5}}
    content = {"chain": ["memory"], "secrets": rows, "stores": {"memory": {"secrets": {"app": {"config": DOCUMENT}}}}}
    with SecretsManager.from_config(content) as manager:
        assert manager.get_secret("app") == {"config": DOCUMENT}
        with pytest.raises(SecretNotFoundError):
            manager.get_secret("app", "port")


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"extract": "a"}, "a JSON pointer"),
        ({"extract": ""}, "a JSON pointer"),
        ({"extract": "/a~2"}, "a JSON pointer"),
        ({"extract": "/a", "generate": "hex"}, "must not stand beside `extract`"),
        ({"extract": "/a", "compose": "{OTHER}"}, "must not stand beside `extract`"),
    ],
    ids=str,
)
def test_a_mistake_in_the_file_is_named(settings, fault):
    with pytest.raises(ConfigurationError, match=fault):
        answers({"OTHER": "a#b", "ROW": {"at": "app#config", **settings}})


@pytest.mark.parametrize("variable", ["VAULT_TOKEN", "a-b"])
def test_its_variable_has_the_name_of_one(variable):
    with pytest.raises(ConfigurationError, match="secrets"):
        answers({variable: {"at": "app#config", "extract": "/a"}})


def test_its_variable_is_no_name_of_the_document_in_the_environment(monkeypatch):
    monkeypatch.setenv("PART", "a part")
    content = {"chain": ["env"], "secrets": {"PART": {"at": "app#config", "extract": "/a"}}}
    with SecretsManager.from_config(content) as manager, pytest.raises(SecretNotFoundError):
        manager.get_secret("app", "config")


# --- commands ---------------------------------------------------------------------------------------------------------

CONFIGURATION = f"""
chain = ["memory"]

[secrets]
DB_PASSWORD = {{ at = "app#config", extract = "/database/password" }}
DB_PORTS = {{ at = "app#config", extract = "/database/ports" }}
GONE = {{ at = "app#config", extract = "/gone", required = false }}

[stores.memory.secrets]
app = {{ config = '{json.dumps(DOCUMENT)}' }}
"""


@pytest.fixture
def configuration():
    Path("strongroom.toml").write_text(CONFIGURATION, "utf-8")


@pytest.mark.usefixtures("configuration")
def test_export_and_check_have_the_parts(command):
    assert json.loads(command("export", "--format", "json").out) == {"DB_PASSWORD": CANARY, "DB_PORTS": [5432]}
    checked = command("check")
    assert checked.code == 0
    assert CANARY.encode() not in checked.out + checked.err.encode()


@pytest.mark.usefixtures("configuration")
def test_redaction_knows_a_part_of_a_document_that_is_text():
    forget_values()
    try:
        fingerprints()
        with SecretsManager() as manager:
            required_secrets.resolve(manager.config.secrets, manager.resolve)
        assert CANARY not in masked(f"password is {CANARY}")
    finally:
        forget_values()


@pytest.mark.usefixtures("configuration")
def test_a_module_of_types_leaves_the_row_out(command):
    assert b"db_password" not in command("types").out
