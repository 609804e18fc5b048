"""`strongroom set`: where a value may come from, and where it may never stand."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

CANARY = "canary-7f3a"


def test_a_piped_value_loses_one_newline_and_nothing_else(command, kept):
    """`echo value | strongroom set …` stores what was meant; a second newline is part of the value."""
    assert command("set", "app/config", "plain", piped=b"value").code == 0
    assert command("set", "app/config", "echoed", piped=b"value\n").code == 0
    assert command("set", "app/config#lines", piped=b" one\r\ntwo\n\n").code == 0
    assert kept.read("app/config").data == {"plain": "value", "echoed": "value", "lines": " one\r\ntwo\n"}


def test_what_is_not_text_is_stored_as_bytes_whole(command, kept):
    """The newline at the end of a binary file belongs to it."""
    assert command("set", "keys/tls", "der", piped=b"\xff\x00\n").code == 0
    assert kept.read("keys/tls").data == {"der": b"\xff\x00\n"}


def test_the_other_keys_stay(command, kept):
    """Unless they are given up by name."""
    kept.write("app/config", {"host": "db", "password": "old"})
    done = command("set", "app/config", "password", piped=b"new")
    assert (done.code, done.out) == (0, b"")
    assert done.err.splitlines() == [
        "strongroom: Writing password at app/config to store memory",
        "strongroom: Stored password at app/config, version 2",
    ]
    assert kept.read("app/config").data == {"host": "db", "password": "new"}
    assert command("set", "app/config", "password", "--replace", piped=b"new").code == 0
    assert kept.read("app/config").data == {"password": "new"}


def test_the_url_of_the_secret_follows_a_new_password(command, kept):
    kept.write("database/connection", {"url": "postgresql://u:old@db/n", "password": "old"})
    assert command("set", "database/connection", "password", piped=b"new").code == 0
    assert kept.read("database/connection").data == {"url": "postgresql://u:new@db/n", "password": "new"}


def test_a_store_is_named_or_refused(command, kept):
    """A write goes nowhere else than where it was sent."""
    assert command("set", "a", "b", "--store", "memory", piped=b"x").code == 0
    refused = command("set", "a", "b", "--store", "vault", piped=b"y")
    assert refused.code == 7
    assert "no store 'vault' in the chain" in refused.err
    assert kept.read("a").data == {"b": "x"}


@pytest.mark.parametrize(
    "words",
    [
        ("app/config", f"password={CANARY}"),
        ("app/config", f"url=postgres://u:p@h/{CANARY}#x"),
        (f"app/config#url=postgres://h/{CANARY}#x",),
        (f"app/config#password={CANARY}",),
        (f"password={CANARY}",),
        ("app/config", "password", CANARY),
        ("app/config", "password", f"-{CANARY}"),
        ("app/config", f"-p{CANARY}"),
        ("app/config", "password", f"--value={CANARY}"),
        ("app/config", "password", "-"),
        ("app/config", "-"),
        ("--", "app/config", "password", f"-{CANARY}"),
        ("app/config", "password", "--value", CANARY),
        ("app/config", "tls=@tls.pem", f"password={CANARY}"),
        ("app/config", f"password={CANARY}=@tls.pem"),
    ],
)
def test_a_value_on_the_command_line_is_refused_and_not_repeated(command, kept, words):
    """It was seen by every process already; it must not stand in a CI log too. The message says how to do it."""
    done = command("set", *words, piped=b"other")
    assert (done.code, done.out) == (2, b"")
    assert done.err.count("\n") == 1
    assert "pipe it (`… | strongroom set PATH KEY`)" in done.err
    assert CANARY not in done.err
    assert list(kept.list_entries("")) == []


@pytest.mark.parametrize("option", ["--yess", "--emty", "--jsn=-"])
def test_a_mistyped_option_is_no_value(command, kept, option):
    """What was meant is named; what was typed is not repeated, to be sure."""
    done = command("set", "a", "b", option, piped=b"x")
    assert (done.code, done.out) == (2, b"")
    assert done.err.startswith("strongroom: No such option. Did you mean '--")
    assert option not in done.err
    assert list(kept.list_entries("")) == []


def test_a_path_and_a_key_may_begin_with_a_hyphen(command, kept):
    """Behind `--`, as with any command."""
    Path("file").write_bytes(b"1")
    assert command("set", "--", "-a/x", "k", piped=b"1").code == 0
    assert command("set", "--yes", "--", "b", "-k", piped=b"1").code == 0
    assert command("set", "--", "-c#-k", piped=b"1").code == 0
    assert command("set", "--", "-d", "-k=@file").code == 0
    assert command("set", "--from-json", "-", "--", "-e", piped=b'{"-k": "1"}').code == 0
    assert {path: kept.read(path).data for path in ("-a/x", "b", "-c", "-d", "-e")} == {
        "-a/x": {"k": "1"}, "b": {"-k": "1"}, "-c": {"-k": "1"}, "-d": {"-k": "1"}, "-e": {"-k": "1"},
    }  # fmt: skip


@pytest.mark.parametrize("words", [(), ("app/config",), ("--store", "memory")])
def test_a_missing_word_is_a_usage_error(command, kept, words):
    """PATH and KEY are both needed."""
    assert command("set", *words, piped=b"x").code == 2
    assert list(kept.list_entries("")) == []


@pytest.mark.parametrize("piped", [b"", b"\n"])
def test_an_empty_stdin_is_refused_unless_it_is_meant(command, kept, piped):
    """The program that should have printed the value has probably failed; `echo "$UNSET"` prints a newline."""
    refused = command("set", "a", "b", piped=piped)
    assert refused.code == 2
    assert "Stdin is empty: use --empty to allow an empty value" in refused.err
    assert "Writing" not in refused.err
    assert list(kept.list_entries("")) == []
    assert command("set", "a", "b", "--empty", piped=piped).code == 0
    assert kept.read("a").data == {"b": ""}


def test_an_empty_file_is_refused_unless_it_is_meant(command, kept):
    """As one that was never written; nothing is stored of the other files either. A newline in a file is a value."""
    Path("empty").touch()
    Path("newline").write_bytes(b"\n")
    refused = command("set", "a", "b=@newline", "c=@empty")
    assert refused.code == 2
    assert "The file of c is empty: use --empty to allow an empty value" in refused.err
    assert list(kept.list_entries("")) == []
    assert command("set", "a", "b=@newline", "c=@empty", "--empty").code == 0
    assert kept.read("a").data == {"b": "\n", "c": ""}


@pytest.mark.usefixtures("configured")
@pytest.mark.parametrize("words", [("a", "b"), ("a", "--from-json", "-")])
def test_stdin_has_the_limit_of_a_file(script, words):
    """A wrong redirection must not take the machine's memory."""
    endless = 'ulimit -v 1000000; exec "$0" set "$@" </dev/zero'
    done = subprocess.run(["sh", "-c", endless, script, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "Stdin is larger than 33,554,432 bytes" in done.stderr


@pytest.mark.parametrize(("path", "key"), [("../x", "k"), ("a//b", "k"), ("a", "new\nline")])
def test_an_impossible_path_or_key_is_refused_before_the_value_is_asked_for(command, kept, path, key):
    """The same code as every other thing that cannot be done."""
    done = command("set", path, key, piped=b"x")
    assert (done.code, done.err.count("\n")) == (6, 1)


# --- files and documents ----------------------------------------------------------------------------------------------


def test_a_file_is_stored_byte_for_byte(command, kept):
    """Several in one write; a newline at the end of a file is part of it."""
    Path("tls.crt").write_text("one\r\ntwo\n\n", "utf-8", newline="")
    Path("tls.der").write_bytes(b"\xff\x00\n")
    kept.write("services/web", {"owner": "web"})
    done = command("set", "services/web", "crt=@tls.crt", "der=@tls.der")
    assert (done.code, done.out) == (0, b"")
    assert "Writing crt and der at services/web to store memory" in done.err
    assert kept.read("services/web").data == {"owner": "web", "crt": "one\r\ntwo\n\n", "der": b"\xff\x00\n"}
    assert kept.read("services/web").version == 2
    assert command("get", "services/web", "der").out == b"\xff\x00\n"
    assert command("set", "services/api#crt=@tls.crt").code == 0
    assert kept.read("services/api").data == {"crt": "one\r\ntwo\n\n"}


@pytest.mark.parametrize("name", [CANARY, ".", f"{CANARY}\0"])
def test_a_file_that_cannot_be_read_is_named_by_its_key(command, kept, name):
    """What follows the @ may be a value that begins with one."""
    done = command("set", "a", f"b=@{name}")
    assert (done.code, done.out, done.err.count("\n")) == (2, b"", 1)
    assert "The file of b cannot be read: " in done.err
    assert CANARY not in done.err
    assert list(kept.list_entries("")) == []


def test_one_key_twice_is_refused(command, kept):
    """Which of the two counts would be a guess."""
    Path("f").touch()
    assert command("set", "a", "b=@f", "b=@f").code == 2
    assert list(kept.list_entries("")) == []


def test_a_document_sets_many_keys_in_one_version(command, kept):
    """What `get` prints where it is piped, `set --from-json -` takes: every type comes back as it was."""
    data = {"text": "a\n", "port": 5432, "on": True, "none": None, "list": [1, "two"], "raw": b"\xff"}
    kept.write("a", data)
    printed = command("get", "a").out
    kept.write("b", {"other": "stays"})
    done = command("set", "b", "--from-json", "-", "--json", piped=printed)
    assert done.code == 0
    assert json.loads(done.out) == {
        "version": 1, "path": "b", "store": "memory", "keys": list(data), "secret_version": 2,
    }  # fmt: skip
    assert kept.read("b").data == {"other": "stays", **data}
    assert kept.read("b").version == 2
    Path("c.json").write_bytes(printed)
    assert command("set", "c", "--from-json", "c.json").code == 0
    assert kept.read("c").data == data


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (b'{"a": "canary-7f3a", "a": "x"}', "the name 'a' appears twice"),
        (b'{"a": "canary-7f3a"', "line 1, column 20: it is not JSON"),
        (b'["canary-7f3a"]', "not a JSON object"),
        (b'"canary-7f3a"', "not a JSON object"),
        (b"{}", "no key"),
        (b"", "it is not JSON"),
        (b'{"canary-7f3a": "\xff"}', "not UTF-8"),
        (b'{"canary-7f3a": ' + b"9" * 5000 + b"}", "a number has too many digits"),
        (b'{"price": 12345678901234567890.5}', "key 'price': a number would be rounded"),
        (b'{"a": NaN}', "NaN is not JSON"),
        (b'{"canary-7f3a":' + b"[" * 50_000, "too deeply"),
    ],
)
def test_a_document_that_is_none_is_refused_without_showing_it(command, kept, document, said):
    """On stdin and in a file alike."""
    Path("document.json").write_bytes(document)
    for where, piped in (("-", document), ("document.json", b"")):
        done = command("set", "a", "--from-json", where, piped=piped)
        assert (done.code, done.out) == (2, b"")
        assert said in done.err
        assert CANARY not in done.err
    assert list(kept.list_entries("")) == []


@pytest.mark.parametrize("asked", [("a",), ("a", "port")])
def test_what_get_prints_with_json_is_no_secret(command, kept, asked):
    """Its own fields, such as the path, would be stored as keys: it is refused, and the way to do it is named."""
    kept.write("a", {"port": CANARY})
    printed = command("get", *asked, "--json").out
    Path("a.json").write_bytes(printed)
    for where, piped in (("-", printed), ("a.json", b"")):
        done = command("set", "b", "--from-json", where, piped=piped)
        assert (done.code, done.out) == (2, b"")
        assert "`strongroom get PATH | strongroom set PATH --from-json -`" in done.err
        assert CANARY not in done.err
    assert list(kept.list_entries("")) == ["a"]


@pytest.mark.parametrize("words", [(), ("a", "b"), ("a", f"b={CANARY}"), ("--nonsense",)])
def test_a_document_stands_beside_a_path_alone(command, kept, words):
    """It has the keys already."""
    done = command("set", *words, "--from-json", "-", piped=b'{"a": 1}')
    assert (done.code, CANARY in done.err) == (2, False)
    assert list(kept.list_entries("")) == []


# --- delete -----------------------------------------------------------------------------------------------------------


def test_delete_removes_the_secret_and_says_from_where(command, kept):
    """A store with versions keeps them, and nobody is asked."""
    kept.write("app/config", {"password": CANARY})
    done = command("delete", "app/config")
    assert (done.code, done.out) == (0, b"")
    assert done.err.splitlines() == [
        "strongroom: Deleting app/config from store memory",
        "strongroom: Deleted app/config from store memory",
    ]
    assert list(kept.list_entries("")) == []
    kept.undelete("app/config", 1)
    assert kept.read("app/config").data == {"password": CANARY}


def test_json_is_a_switch_of_set_as_elsewhere(command, kept):
    """Wherever the values come from."""
    done = command("set", "a", "b", "--json", piped=b"c")
    assert (done.code, kept.read("a").data) == (0, {"b": "c"})
    shown = {"version": 1, "path": "a", "store": "memory", "keys": ["b"], "secret_version": 1}
    assert json.loads(done.out) == shown


def test_delete_as_json_says_what_was_done(command, kept):
    """On stdout; what it is about to do is said on stderr, as ever."""
    kept.write("a", {"b": CANARY})
    done = command("delete", "a", "--json")
    assert (done.code, json.loads(done.out)) == (0, {"version": 1, "path": "a", "store": "memory"})
    assert "strongroom: Deleting a from store memory" in done.err


def test_delete_of_what_is_not_there_is_not_found(command, kept):
    """A typing error in the path must not look like success."""
    kept.write("app/config", {"a": "b"})
    assert command("delete", "app/confg").code == 3
    assert command("delete", "app/config#a").code == 3
    assert command("delete", "app/config", "--store", "none").code == 7
    assert list(kept.list_entries("")) == ["app/"]


# --- what is asked ----------------------------------------------------------------------------------------------------


@pytest.fixture
def production(monkeypatch):
    """The commands' environment is one of production."""
    Path("strongroom.toml").write_text('[environments.prod]\nproduction = true\nchain = ["memory"]\n', "utf-8")
    monkeypatch.setenv("STRONGROOM_ENVIRONMENT", "prod")


@pytest.mark.usefixtures("production")
@pytest.mark.parametrize("arguments", [("set", "a", "b"), ("set", "a", "--from-json", "-"), ("delete", "a")])
def test_in_production_a_write_without_a_terminal_needs_yes(command, kept, arguments):
    """It says what it would have done, and does nothing."""
    kept.write("a", {"old": "value"})
    refused = command(*arguments, piped=b'{"b": "new"}')
    assert (refused.code, refused.out) == (2, b"")
    assert "at a to" in refused.err or "Deleting a from" in refused.err
    assert "store memory, environment prod, production" in refused.err
    assert "This is production: without a terminal this needs --yes" in refused.err
    assert kept.read("a").data == {"old": "value"}
    assert command(*arguments, "--yes", piped=b'{"b": "new"}').code == 0
    assert arguments[0] == "delete" or kept.read("a").data.keys() == {"old", "b"}


def test_a_delete_that_takes_all_versions_needs_yes(command, kept):
    """Also where the store keeps what is overwritten, which is why taking keys away needs none."""
    kept.traits = kept.traits._replace(final_deletes=True)
    kept.write("a", {"old": "value"})
    assert command("set", "a", "b", "--replace", piped=b"new").code == 0
    refused = command("delete", "a")
    assert (refused.code, refused.out) == (2, b"")
    assert "Store memory deletes all versions too, so this cannot be undone: without" in refused.err
    assert kept.read("a").data == {"b": "new"}
    assert command("delete", "a", "--yes").code == 0
    assert command("get", "a").code == 3


def test_a_write_says_the_file(command):
    """Of a store that is one."""
    Path("strongroom.toml").write_text('chain = ["json"]\n[stores.json]\nfile = "kept.json"\n', "utf-8")
    done = command("set", "a", "b", piped=b"c")
    assert done.err.splitlines()[0] == f"strongroom: Writing b at a to store json (file {Path('kept.json').absolute()})"


PROGRAM = """
import sys
from strongroom import SecretsManager
from strongroom._cli.options import Invocation
from strongroom._cli.app import run
from strongroom.store.memory import MemoryStore

store = MemoryStore()
store.close = lambda: None
Invocation.open = Invocation.open_to_write = lambda _: SecretsManager(chain=[store])
code = run(["set", "app/config", "password"])
print("stored what was typed:", code == 0 and store.read("app/config").data["password"] == sys.argv[1])
"""


def test_on_a_terminal_the_value_is_typed_without_echo(terminal):
    """It is asked for by path and key, and never shown."""
    screen = terminal(sys.executable, "-c", PROGRAM, f" {CANARY} ")
    screen.waits_for("Value of app/config#password: ")
    screen.types(f" {CANARY} ")
    code, rest = screen.ended()
    assert code == 0
    assert "stored what was typed: True" in rest
    assert CANARY not in rest
