"""`strongroom explain`: every store's answer, which is served, and whether the others hold the same."""

import json
from pathlib import Path

import pytest

from strongroom._chain.diagnosis import Explanation, LinkAnswer
from strongroom.errors import Answer, Attempt
from support.command_line import call_on_terminal

CANARY = "canary-7f3a"
CHAIN = """
chain = [{ store = "memory" }, { store = "env" }, { store = "apart", paths = ["other/*"] }]

[secrets]
DB_POOL_SIZE = { at = "database/pool#size", default = 5 }

[stores.apart]
plugin = "memory"

[stores.memory.secrets."database/connection"]
url = "canary-7f3a"
port = 5432
"""


@pytest.fixture
def chain() -> None:
    Path("strongroom.toml").write_text(CHAIN, "utf-8")


def rows(out: bytes) -> list[list[str]]:
    return [line.split("\t") for line in out.decode().splitlines()]


@pytest.mark.usefixtures("chain")
@pytest.mark.parametrize(("held", "compared"), [(CANARY, "same"), ("another-canary", "different")])
def test_a_later_store_is_asked_and_compared(command, monkeypatch, held, compared):
    """And no value is shown, of either."""
    monkeypatch.setenv("DATABASE_URL", held)
    done = command("--verbose", "explain", "database/connection#url")
    assert done.code == 0
    memory, environment, apart = rows(done.out)
    assert (memory[:2], memory[3], memory[5]) == (["memory", "found"], "1", "served")
    assert memory[2].endswith(" ms")
    assert memory[4].endswith(" s ago")
    assert (environment[:2], environment[5]) == (["env", "found"], compared)
    assert apart[:2] == ["apart", "not queried: its paths exclude this one"]
    assert CANARY not in done.out.decode() + done.err
    assert held not in done.out.decode() + done.err
    assert "A running process may serve a cached value" in done.err


@pytest.mark.usefixtures("chain")
def test_a_number_is_the_same_as_its_text(command, monkeypatch):
    """An application that asks for text gets the same from both."""
    monkeypatch.setenv("DB_PORT", "5432")
    answers = json.loads(command("explain", "--json", "database/connection", "port").out)["answers"]
    assert [answer["equals_served"] for answer in answers] == [True, True]


@pytest.mark.usefixtures("chain")
def test_what_no_store_has_ends_as_get_does(command):
    """With every answer first, and the same line on stderr."""
    done, got = command("explain", "database/connection", "nope"), command("get", "database/connection", "nope")
    assert done.code == got.code == 3
    assert done.err.splitlines()[-1] == got.err.splitlines()[-1]
    memory, environment, _ = rows(done.out)
    assert memory[1] == "key missing: it has no key 'nope'"
    assert environment[1].startswith("not found: ")
    assert command("explain", "a//b").code == 6


@pytest.mark.usefixtures("chain")
def test_a_default_has_a_row_of_its_own(command):
    """It is no store's."""
    done = command("explain", "database/pool#size")
    assert done.code == 0
    assert ["default", "found", "", "", "", "served"] in rows(done.out)
    assert json.loads(command("explain", "--json", "database/pool#size").out)["served"] == "default"


@pytest.mark.usefixtures("chain")
def test_json_has_a_version_and_an_object_for_each_store(command):
    """Its shape is documented."""
    document = json.loads(command("explain", "--json", "database/connection").out)
    memory, environment = document.pop("answers")
    assert document == {
        "version": 1,
        "path": "database/connection",
        "key": None,
        "served": "memory",
        "not_asked": ["apart"],
    }
    assert memory.pop("seconds") >= 0
    assert memory.pop("age") >= 0
    assert memory == {
        "store": "memory",
        "answer": "found",
        "reason": "found, version 1",
        "secret_version": 1,
        "served": True,
        "equals_served": True,
        "disk_cache_age": None,
    }
    assert (environment["answer"], environment["served"], environment["equals_served"]) == ("not found", False, None)


@pytest.mark.usefixtures("chain")
def test_a_terminal_shows_a_table(monkeypatch):
    """Without a value, and without colour where none is wanted."""
    monkeypatch.setenv("DATABASE_URL", CANARY)
    code, screen = call_on_terminal(["--no-color", "explain", "database/connection", "url"])
    assert code == 0
    for word in ("status", "took", "served", "same", "not queried"):
        assert word in screen
    assert CANARY not in screen
    assert "\x1b" not in screen


@pytest.mark.usefixtures("chain")
def test_a_terminal_shows_in_colour_what_is_served_and_what_differs(monkeypatch):
    """And dims what is not asked; the words are there without it."""
    monkeypatch.setenv("DATABASE_URL", "another-canary")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    _, screen = call_on_terminal(["explain", "database/connection", "url"])
    for coloured in ("\x1b[1;32mserved", "\x1b[33mdifferent", "\x1b[32mfound", "\x1b[2mapart"):
        assert coloured in screen


@pytest.mark.parametrize(
    ("ttl", "max_stale", "said"),
    [
        ("5m", "1h", "for 5 min, and for 1 h more"),
        ("90s", "150m", "for 90 s, and for 2.5 h more"),
        ("1d", "0", "for 1 d"),
    ],
)
def test_how_long_a_process_may_serve_what_it_has_cached(command, ttl, max_stale, said):
    """In the largest unit that says it."""
    Path("strongroom.toml").write_text(f'cache = {{ ttl = "{ttl}", max_stale = "{max_stale}" }}\n{CHAIN}', "utf-8")
    line = command("explain", "database/connection", "url").err.strip()
    assert line == (
        f"strongroom: A running process may serve a cached value of a remote store {said}"
        + " during an outage" * (max_stale != "0")
    )


@pytest.mark.vault
@pytest.mark.parametrize(
    ("first", "code", "answer"),
    [("memory", 3, "key missing: "), ("vault", 5, "unavailable: ")],
)
def test_in_production_a_missing_key_and_an_outage_end_the_read(command, monkeypatch, first, code, answer):
    """What the next store has is shown, and not served."""
    text = CHAIN.replace('chain = [{ store = "memory" }, ', f'production = true\nchain = [{{ store = "{first}" }}, ')
    Path("strongroom.toml").write_text(text.replace("[secrets]", '[secrets]\nDB_OTHER = "database/connection#other"'))
    monkeypatch.setenv("VAULT_ADDR", "http://127.0.0.1:1")
    monkeypatch.setenv("VAULT_TOKEN", CANARY)
    monkeypatch.setenv("DB_OTHER", CANARY)
    done = command("explain", "database/connection", "other")
    assert done.code == command("get", "database/connection", "other").code == code
    failed, environment, _ = rows(done.out)
    assert failed[1].startswith(answer)
    assert (environment[:2], environment[5]) == (["env", "found"], "")
    assert CANARY not in done.out.decode() + done.err


# --- equality ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("served", "held", "equal"),
    [
        ("a", "a", True), ("a", "b", False), ("a", "aa", False), ("", None, False), ("null", None, False),
        (5, "5", True), (True, "true", True), (b"\xff", b"\xff", True), (b"\xff", "\u00ff", False),
        ({"a": "1", "b": None}, {"b": None, "a": 1}, True), ({"a": "1"}, {"a": "1", "b": "2"}, False), ({}, {}, True),
        ({"a": "1", "b": "2"}, {"a": "2", "b": "1"}, False), ({"a": [1]}, {"a": "[1]"}, True),
        ([{"a": 1, "b": [2]}], [{"b": [2], "a": 1}], True), ({"a": {"b": 1, "c": 2}}, {"a": {"c": 2, "b": 1}}, True),
        ([1, 2], [2, 1], False), ([1], ["1"], False), ([{"a": 1}], [{"a": 2}], False), ([1], "[1]", True),
        ([], {}, False),
    ],
)  # fmt: skip
def test_values_are_equal_where_an_application_reads_the_same(served, held, equal):
    """Text, and whole secrets, lists and tables whatever the order of their names."""
    attempt = Attempt("second", Answer.FOUND)
    found = LinkAnswer(attempt, found=True, value=served)
    answer = LinkAnswer(attempt, found=True, value=held)
    assert Explanation((answer,), served=found).equals_served(answer) is equal
    assert Explanation((answer,)).equals_served(answer) is None


def test_no_value_is_in_a_repr():
    """Of an answer, nor of the explanation that holds it."""
    attempt = Attempt("first", Answer.FOUND)
    found = LinkAnswer(attempt, found=True, value=CANARY)
    assert CANARY not in repr(Explanation((LinkAnswer(attempt, found=True, value=CANARY),), served=found))
