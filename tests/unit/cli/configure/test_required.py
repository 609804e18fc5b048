"""`strongroom generate` and `strongroom types`, and the types and dates in `check`."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from strongroom._cli.configure.types import module_lines
from strongroom._config.file import read_file

ROWS = """
chain = ["json"]
[secrets]
DB_PASSWORD = { at = "database/connection#password", generate = "password" }
PLAIN = { at = "monitoring/sentry#dsn", required = false }
[stores.json]
file = "secrets.json"
"""


def configure(text: str) -> None:
    Path("strongroom.toml").write_text(text, "utf-8")


def test_generate_creates_what_is_missing_and_shows_no_value(command):
    configure(ROWS)
    done = command("generate", "--json")
    assert done.code == 0
    assert json.loads(done.out) == {"version": 1, "created": ["DB_PASSWORD"]}
    held = json.loads(Path("secrets.json").read_text("utf-8"))["database/connection"]
    assert list(held) == ["password"]
    assert held["password"] not in done.err + done.out.decode()
    assert json.loads(command("generate", "--json").out)["created"] == []
    assert json.loads(Path("secrets.json").read_text("utf-8"))["database/connection"] == held


def test_generate_without_a_rule_is_a_mistake(command):
    configure(ROWS.replace(', generate = "password"', ""))
    assert command("generate").code == 7


def test_types_is_a_module_that_reads_each_secret(command, monkeypatch):
    configure(
        'chain = ["env"]\n[secrets]\n'
        'DB_POOL_SIZE = { at = "database/pool#size", type = "int" }\n'
        'KEY_FILE = { at = "tls/key#file", type = "Path", required = false, description = \'A "quoted" \\ text.\' }\n'
        'class = "a/b#c"\n'
    )
    done = command("types")
    assert done.code == 0
    names: dict = {}
    exec(compile(done.out, "app_secrets.py", "exec"), names)  # as an application imports it
    monkeypatch.setenv("DB_POOL_SIZE", "5")
    from strongroom import close

    try:
        assert names["db_pool_size"]() == 5
        assert names["key_file"]() is None
    finally:
        close()
    assert names["key_file"].__doc__ == 'KEY_FILE: A "quoted" \\ text.'
    assert "class_" in names


def test_a_row_cannot_write_code_into_the_module():
    rows = read_file({"secrets": {"A B": {"at": "a'b#c\"d", "description": '"""\nimport os'}}}, "x").secrets
    text = "\n".join(module_lines(rows))
    assert [line for line in text.splitlines() if line.startswith("import")] == []
    compile(text, "app_secrets.py", "exec")


def test_check_fails_a_value_of_another_type(command, monkeypatch):
    configure('chain = ["env"]\n[secrets]\nDB_POOL_SIZE = { at = "database/pool#size", type = "int" }\n')
    monkeypatch.setenv("DB_POOL_SIZE", "hunter2")
    done = command("check", "--json")
    assert done.code == 6
    assert json.loads(done.out)["secrets"][0]["state"] == "failed"
    assert "hunter2" not in done.out.decode() + done.err


@pytest.mark.parametrize(
    ("days", "words", "expiring"),
    [(-2, "expired 2 days ago", 10), (0, "expires today", 10), (12, "expires in 12 days", 0), (90, "", 0)],
)
def test_check_warns_of_a_secret_that_expires(command, monkeypatch, days, words, expiring):
    day = (datetime.now(UTC) + timedelta(days=days)).date()
    configure(f'chain = ["env"]\n[secrets]\nSTRIPE_API_KEY = {{ at = "api-keys/stripe#key", expires = {day} }}\n')
    monkeypatch.setenv("STRIPE_API_KEY", "x")
    done = command("check")
    if datetime.now(UTC).date() != day - timedelta(days=days):
        pytest.skip("midnight passed while the test ran")
    assert done.code == 0
    assert words in done.err
    assert ("STRIPE_API_KEY" in done.err) is bool(words)
    assert command("check", "--expiring", "7d").code == expiring
